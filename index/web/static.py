"""Styles and scripts, read once: a name that is not one of these is not there, whatever the disk holds."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from index.page.grid import rules
from index.web.problems import Problem

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHARED = ("palette.css", "grid.css")
_FOREVER = "private, max-age=31536000, immutable"
router = APIRouter(include_in_schema=False)


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """Return content and type of each file, by name. Colours and grid are those of the page of results."""
    here = Path(__file__).parent
    found = [*sorted((here / "static").iterdir()), *(here.parent / "page" / name for name in _SHARED)]
    read = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in found if path.suffix in _TYPES}
    return read | {"shapes.css": (rules().encode(), _TYPES[".css"])}


@functools.cache
def version() -> str:
    """Return what changes with any of the files: it is part of their addresses."""
    digest = hashlib.blake2b(digest_size=6)
    for name, (data, _) in sorted(files().items()):
        digest.update(name.encode() + data)
    return digest.hexdigest()


@router.get("/static/{v}/{name}", response_class=Response)
def get_static(v: str, name: str) -> Response:
    """Give a style or a script."""
    if v != version() or name not in files():
        raise Problem(404, "there is no such file")
    data, kind = files()[name]
    return Response(data, media_type=f"{kind}; charset=utf-8", headers={"Cache-Control": _FOREVER})
