"""Find pictures like a photo; if the library has the photo as it is, its stored vector is used."""

from __future__ import annotations

import os

from index.database.database import Database
from index.database.read import Picture
from index.model import Model, Photo
from index.paths import absolute, file_of
from index.search.query import Filter, Query, make_query
from index.search.searcher import Hit, Searcher


def similar(searcher: Searcher, model: Model, photo: Photo, k: int, only: Filter) -> list[Hit]:
    """Return the k pictures nearest to a photo, the best first, the photo itself left out.

    Raises LibraryError if the library was made by another model, VsearchError if the photo cannot be read.
    """
    database = searcher.database
    mine = database.read.picture(absolute(photo)) if isinstance(photo, str | os.PathLike) else None
    query = _stored(database, mine, model) or make_query(model, None, photo)
    found = searcher.search(query, k + 1, only)
    return [hit for hit in found if mine is None or hit.id != mine.id][:k]


def _stored(database: Database, picture: Picture | None, model: Model) -> Query | None:
    """Return the vector that the library has of a picture; None if its file is not as it was."""
    if picture is None:
        return None
    try:
        file = os.stat(file_of(picture.path))
    except OSError:
        return None
    if (file.st_size, file.st_mtime_ns) != (picture.size, picture.mtime_ns):
        return None
    with database.snapshot():
        database.check_identity(model.identity)
        _, vectors = database.read.vectors([picture.id])
    return Query(vectors[0], "picture", (), model.identity) if len(vectors) else None
