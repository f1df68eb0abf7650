"""Errors as answers: RFC 9457 for programs, a page for people; what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from index.database.database import NoLibraryError, OtherModelError
from vsearch.errors import LibraryError, ModelError, PictureError, QueryError, VsearchError

_STATUS: tuple[tuple[type[VsearchError], int], ...] = (
    (QueryError, 400),
    (NoLibraryError, 404),
    (OtherModelError, 409),
    (PictureError, 415),
    (ModelError, 501),
    (LibraryError, 503),
)


class Problem(VsearchError):
    """An expected error with the status code of its own that answers it."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def answer(status: int, detail: str, hint: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return a problem as RFC 9457 writes it, with the remedy as `hint`."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "hint": hint}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def status_of(error: VsearchError) -> int:
    """Return the status code that says best what kind of error this is."""
    if isinstance(error, Problem):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def install(app: FastAPI, page: Callable[[int, str, str], Response], say: Callable[[str], str]) -> None:
    """Let all errors of the application be answered here, as `say` puts them; for people by `page`."""

    def reply(request: Request, status: int, detail: str, hint: str = "") -> Response:
        detail, hint = say(detail), say(hint)
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api"):
            return page(status, detail, hint)
        return answer(status, detail, hint)

    @app.exception_handler(VsearchError)
    def _(request: Request, error: VsearchError) -> Response:
        return reply(request, status_of(error), str(error), error.hint)

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first.get("loc", ())[1:])
        return reply(request, 422, f"{where}: {first.get('msg', '')}".strip(": "), "see /openapi.json")

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        found = reply(request, error.status_code, str(error.detail))
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(Exception)
    def _(request: Request, error: Exception) -> Response:
        return reply(request, 500, f"the server failed: {type(error).__name__}", "its terminal says more")
