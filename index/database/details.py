"""What a library knows of pictures next to vectors and captions: their size, when and by what they were taken.

A library of an older format has none of it until its next build, which reads the heads of the files for it. n is a
number of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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
        sql = "SELECT DISTINCT camera FROM details WHERE camera IS NOT NULL ORDER BY camera"
        return [str(row[0]) for row in self._connection.rows(sql)] if self.known() else []

    def ids_where(self, camera: str | None = None, text: str | None = None) -> NDArray[np.int64]:
        """Return the ids of pictures of a camera, and with a text in their captions: int64 (n,), ascending."""
        tables, wanted, values = "pictures p", ["true"], list[Any]()
        if camera is not None:
            if not self.known():
                return np.empty(0, np.int64)
            tables += " JOIN details d ON d.id = p.id"
            wanted.append("d.camera = ?")
            values.append(camera)
        if text is not None:
            wanted.append("instr(lower(p.caption), ?) > 0")
            values.append(text.lower())
        rows = self._connection.rows(f"SELECT p.id FROM {tables} WHERE {' AND '.join(wanted)} ORDER BY p.id", values)
        return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))

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
