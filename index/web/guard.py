"""Who may ask: the right host, the same origin, the holder of the key; and what every answer carries.

A page of another site can make a browser send requests here. It cannot read the answers (no CORS header is ever sent),
but a name of its own that resolves to 127.0.0.1 would make it the same origin (DNS rebinding): so the Host must be
ours, with the port. Other users of the machine can reach the port, too: they lack the key.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.web.problems import answer

LIMIT = 32 << 20  # bytes of a request's body
AT_ONCE = 2  # uploads
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE = ("GET", "HEAD", "OPTIONS")
_PRIVATE = ("/api", "/thumb", "/photo")
_OPEN = ("/healthz",)  # needs no key: says nothing
_HINT = "open the address that the server has printed"


def allowed_hosts(port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """Return the values of Host that are ours: this machine, and `names` of a proxy, with or without port."""
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    return frozenset(own | {host for name in names for host in (name.lower(), f"{name.lower()}:{port}")})


class Guard:
    """ASGI middleware around the whole application: refuses, or passes on and adds the headers of security."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], key: str, cookie: str) -> None:
        self._app, self._hosts, self._key, self.cookie = app, hosts, key, cookie
        self._uploads = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
        elif scope["method"] == "POST" and scope["path"] == "/api/search":
            async with self._uploads:
                await self._app(scope, _counted(receive), guarded)
        else:
            await self._app(scope, _counted(receive), guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused, or sent on with its key as a cookie; None: it may pass."""
        headers, path = Headers(scope=scope), scope["path"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return answer(421, "this server answers to its own address only", _HINT)
        if path in _OPEN:
            return None
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if scope["method"] == "GET" and "key" in given and not path.startswith(_PRIVATE):
            return self._with_cookie(path, given)
        if not self._knows_key(headers):
            return _asked_for_key(headers)
        if (scope["method"] not in _SAFE or path.startswith(_PRIVATE)) and not _same_origin(headers, hosts[0]):
            return answer(403, "another site sent this request", _HINT)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LIMIT:
            return answer(413, f"more than {LIMIT >> 20} MB", "send a smaller picture")
        return None

    def _with_cookie(self, path: str, given: dict[str, str]) -> Response:
        if not hmac.compare_digest(given.pop("key").encode(), self._key.encode()):
            return PlainTextResponse(f"This key is not known: {_HINT}.\n", 401)
        place = "/" + path.lstrip("/")  # never //another.host
        response = RedirectResponse(place + ("?" + urlencode(given) if given else ""), 303)
        response.set_cookie(self.cookie, self._key, httponly=True, samesite="strict", path="/")
        return response

    def _knows_key(self, headers: Headers) -> bool:
        """Tell whether the key comes with the request: as a cookie, or as `Authorization: Bearer KEY`."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token if kind.lower() == "bearer" else cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return hmac.compare_digest(given.encode(), self._key.encode())


def _asked_for_key(headers: Headers) -> Response:
    if "text/html" in headers.get("accept", ""):
        return PlainTextResponse(f"This page needs a key: {_HINT}.\n", 401)
    return answer(401, "the key is missing", _HINT, {"WWW-Authenticate": "Bearer"})


def _same_origin(headers: Headers, host: str) -> bool:
    """Tell whether a request comes from a page of ours, from the address bar, or from no browser at all."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _counted(receive: Receive) -> Receive:
    """Return `receive`, which ends with 413 where a body is longer than it may be, whatever its head said."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LIMIT:
            raise HTTPException(413, f"more than {LIMIT >> 20} MB")
        return message

    return counting
