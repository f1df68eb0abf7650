"""Where vectors live: in the SQLite file of a library, or in a Milvus that many machines make up."""

from __future__ import annotations

import os

from index.stores.protocol import Store


def open_store(store: str | os.PathLike[str] | None = None, *, create: bool = False) -> Store:
    """Open a store: `milvus://host:port/collection`, or the path of a library, by default the user's own.

    `create` opens it for writing, and makes a library where there is none; a collection is made by `Store.adopt`.
    Raises LibraryError if it cannot be opened, VsearchError for a URL that names none.
    """
    from index.stores.sqlite import SQLiteStore

    return SQLiteStore.open(store, create=create)
