"""The application: routes, pages and files joined, with the guard in front of all of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.formparsers import MultiPartParser

from index.web import api, pages, problems, static
from index.web.guard import LIMIT, Guard
from index.web.service import Service
from vsearch import distribution


def make_app(service: Service) -> FastAPI:
    """Return the application without its guard."""
    MultiPartParser.spool_max_size = LIMIT  # a picture that is sent stays in memory: it is never written to a disk
    app = FastAPI(
        title="vsearch",
        version=distribution.version(),
        description="Search a library of photos by words, by pictures and by both.",
        docs_url=None,  # both load scripts from the network
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app, partial(pages.problem_page, service), service.say)
    for part in (api, pages, static):
        app.include_router(part.router)
    whole = app.openapi
    app.openapi = lambda: described(whole())  # type: ignore[method-assign]
    return app


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a description in which errors are what they are, `application/problem+json`."""
    for path in schema["paths"].values():
        for operation in path.values():
            for code, response in operation["responses"].items():
                if code >= "400" and "application/json" in response.get("content", {}):
                    response["content"] = {"application/problem+json": response["content"].pop("application/json")}
    return schema


def make_guarded(service: Service, hosts: frozenset[str], key: str, cookie: str) -> Guard:
    """Return the application as it is served."""
    return Guard(make_app(service), hosts, key, cookie)
