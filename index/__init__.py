"""The library of pictures: found on disk, embedded once, searched by vectors. Knows no torch.

Everything here is imported when it is first asked for, so that `import index` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.library import Library
    from index.search.query import Filter, Query
    from index.search.searcher import Hit

__all__ = ["Filter", "Hit", "Library", "Query"]

_HOMES = {
    "Filter": "index.search.query",
    "Hit": "index.search.searcher",
    "Library": "index.library",
    "Query": "index.search.query",
}


def __getattr__(name: str) -> Any:
    """Import the public name `name` from the module that it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
