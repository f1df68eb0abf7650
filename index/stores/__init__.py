"""Where vectors live: in the SQLite file of a library, or in a Milvus that many machines make up."""

from __future__ import annotations

import os

from index.paths import is_url
from index.stores.protocol import Store
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError


def open_store(store: str | os.PathLike[str] | None = None, *, create: bool = False) -> Store:
    """Open a store: `milvus://host:port/collection`, or the path of a library, by default the user's own.

    `create` opens it for writing, and makes a library where there is none; a collection is made by `Store.adopt`.
    Raises LibraryError if it cannot be opened, VsearchError for a URL that names none.
    """
    if isinstance(store, str) and is_url(store):
        return _milvus(store)
    from index.stores.sqlite import SQLiteStore

    return SQLiteStore.open(store, create=create)


def _milvus(url: str) -> Store:
    """Open a store on Milvus. Raises VsearchError without pymilvus."""
    from index.stores.address import parse

    parse(url)  # a URL that is none is told before a package that is missing
    try:
        from index.stores.milvus import MilvusStore
    except ModuleNotFoundError as error:
        if error.name not in ("pymilvus", "grpc", "pandas"):
            raise
        raise VsearchError("a store on Milvus needs pymilvus", f"install the extra: {install_hint('milvus')}") from None
    return MilvusStore.open(url)
