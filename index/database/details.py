"""What a library knows of pictures next to vectors and captions: their size, when and by what they were taken.

A library of an older format has none of it until its next build, which reads the heads of the files for it. n is a
number of pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Connection


class Detail(NamedTuple):
    """Of one picture: width and height in pixels, upright (0 if not known); nanoseconds since 1970; maker and model,
    lens; where it was taken, in degrees, north and east above zero.
    """

    width: int
    height: int
    taken: int | None = None
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class Catalogue(NamedTuple):
    """All pictures by id, int64 (n,) each: the id, and when it was taken (else when its file changed) in nanoseconds
    since 1970."""

    ids: NDArray[np.int64]
    when: NDArray[np.int64]


class Details:
    """Reads and writes the details of pictures. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self) -> bool:
        """Tell whether there is a table for details as they are here; a library of an older format has none."""
        return self._connection.value("SELECT 1 FROM pragma_table_info('details') WHERE name = 'lens'") is not None

    def of(self, ids: Iterable[int]) -> dict[int, Detail]:
        """Return the details of these ids, by id; those without are left out."""
        if not self.known():
            return {}
        sql = "SELECT id, width, height, taken, camera, lens, latitude, longitude FROM details WHERE id IN ({})"
        return {row[0]: Detail(*row[1:]) for row in self._connection.rows_in(sql, ids)}

    def catalogue(self) -> Catalogue:
        """Return the dates of all pictures."""
        if self.known():
            columns = "p.id, coalesce(d.taken, p.mtime_ns)"
            rows = self._connection.rows(f"SELECT {columns} FROM pictures p LEFT JOIN details d ON d.id = p.id")
        else:
            rows = self._connection.rows("SELECT id, mtime_ns FROM pictures")
        table = np.array(sorted(rows), np.int64).reshape(-1, 2)
        return Catalogue(*(np.ascontiguousarray(column) for column in table.T))

    def cameras(self) -> list[str]:
        """Return the cameras that pictures were taken with, sorted."""
        sql = "SELECT DISTINCT camera FROM details WHERE camera IS NOT NULL"  # sorting there takes twice as long
        return sorted(str(row[0]) for row in self._connection.rows(sql)) if self.known() else []

    def cameras_with(self, text: str) -> list[str]:
        """Return the cameras with this text in their maker or model, in whatever case, sorted."""
        return [camera for camera in self.cameras() if text.casefold() in camera.casefold()]

    def ids_where(
        self,
        cameras: Collection[str] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> NDArray[np.int64]:
        """Return the ids of pictures by one of some cameras, and taken in [since, until) (ns; where that is not known:
        whose file changed then): int64 (n,), ascending.
        """
        known = self.known()
        if cameras is not None and not known:
            return np.empty(0, np.int64)
        when = "coalesce(d.taken, p.mtime_ns)" if known else "p.mtime_ns"
        wanted: dict[str, str | int] = {"?": 1}
        if cameras is not None:
            wanted["d.camera IN (SELECT value FROM json_each(?))"] = json.dumps(list(cameras))
        if since is not None:
            wanted[f"{when} >= ?"] = since
        if until is not None:
            wanted[f"{when} < ?"] = until
        tables = "pictures p LEFT JOIN details d ON d.id = p.id" if known else "pictures p"
        sql = f"SELECT p.id FROM {tables} WHERE {' AND '.join(wanted)} ORDER BY p.id"
        return _ids(self._connection.rows(sql, list(wanted.values())))

    def places(self, south: float, north: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the pictures taken between two latitudes (degrees): ids int64 (n,), ascending, and latitudes and
        longitudes float64 (n, 2).
        """
        sql = "SELECT id, latitude, longitude FROM details WHERE latitude BETWEEN ? AND ? ORDER BY id"
        rows = self._connection.rows(sql, (south, north)) if self.known() else []
        return _ids(rows), np.array([row[1:] for row in rows], np.float64).reshape(-1, 2)

    def when(self, ids: Iterable[int]) -> dict[int, int]:
        """Return when these pictures were taken, else when their files changed, in nanoseconds since 1970, by id."""
        if self.known():
            sql = "SELECT p.id, coalesce(d.taken, p.mtime_ns) FROM pictures p LEFT JOIN details d ON d.id = p.id"
        else:
            sql = "SELECT p.id, p.mtime_ns FROM pictures p"
        return dict(self._connection.rows_in(f"{sql} WHERE p.id IN ({{}})", ids))

    def has_places(self) -> bool:
        """Tell whether it is known of some picture where it was taken."""
        sql = "SELECT 1 FROM details WHERE latitude IS NOT NULL LIMIT 1"
        return self.known() and self._connection.value(sql) is not None

    def counted(self) -> tuple[int, int]:
        """Return how many pictures have a date of their own, and how many a place."""
        if not self.known():
            return 0, 0
        [row] = self._connection.rows("SELECT count(taken), count(latitude) FROM details")
        return int(row[0]), int(row[1])

    def count_missing(self) -> int:
        """Return the number of pictures that have no details."""
        sql = "SELECT count(*) FROM pictures p LEFT JOIN details d ON d.id = p.id WHERE d.id IS NULL"
        return int(self._connection.value(sql))

    def missing(self, after: int, limit: int) -> list[tuple[int, str, int, int]]:
        """Return (id, path, size, mtime_ns) of at most `limit` pictures above an id that have no details, by id."""
        sql = (
            "SELECT p.id, p.path, p.size, p.mtime_ns FROM pictures p LEFT JOIN details d ON d.id = p.id"
            " WHERE p.id > ? AND d.id IS NULL ORDER BY p.id LIMIT ?"
        )
        rows = self._connection.rows(sql, (after, limit))
        return [(id_, os.fsdecode(path), size, mtime) for id_, path, size, mtime in rows]

    def put(self, rows: Sequence[tuple[int, Detail]]) -> None:
        """Write the details of pictures, in one transaction; those that are gone are left out."""
        sql = "INSERT OR REPLACE INTO details SELECT id, ?, ?, ?, ?, ?, ?, ? FROM pictures WHERE id = ?"
        with self._connection.writing():
            self._connection.execute_many(sql, [(*detail, id_) for id_, detail in rows])


def _ids(rows: list[Any]) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
