"""Hits in the order of their dates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

from index.database.database import Database
from index.search.searcher import Hit
from vsearch.errors import QueryError

Sort: TypeAlias = Literal["score", "taken", "oldest"]


def in_order(database: Database, hits: Iterable[Hit], sort: Sort, *, by_file_time: bool = False) -> list[Hit]:
    """Return hits as they come, best first ("score"), or by when they were taken: the latest first ("taken") or the
    earliest ("oldest"). Where that is not known, the last change of the file counts; with `by_file_time`, everywhere.

    Raises QueryError for another order.
    """
    if sort not in get_args(Sort):
        raise QueryError(f"cannot sort by {sort!r}", f"sort by one of {', '.join(get_args(Sort))}")
    found = list(hits)
    if sort == "score":
        return found
    ids = [hit.id for hit in found]
    if by_file_time:
        when = {id_: picture.mtime_ns for id_, picture in database.read.pictures(ids).items()}
    else:
        when = database.details.when(ids)
    return sorted(found, key=lambda hit: when.get(hit.id, 0), reverse=sort == "taken")
