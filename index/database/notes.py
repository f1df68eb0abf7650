"""What others wrote about pictures: titles, descriptions, keywords, stars; from the files and XMP files next to them.

A library of an older format has none of it until its next build. n is a number of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Connection


class Note(NamedTuple):
    """Of one picture. A rating is -1 (rejected) or 1 to 5 stars; `sidecar` is the time (nanoseconds since 1970) of
    the XMP file that was read, too.
    """

    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None
    sidecar: int | None = None


NOTHING = Note()


class Notes:
    """Reads and writes notes. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self) -> bool:
        """Tell whether there is a table for notes; a library of format 1 to 3 has none."""
        return self._connection.value("SELECT 1 FROM sqlite_master WHERE name = 'notes'") is not None

    def of(self, ids: Iterable[int]) -> dict[int, Note]:
        """Return the notes on these ids, by id; those without are left out."""
        if not self.known():
            return {}
        rows = self._connection.rows_in(
            "SELECT id, title, description, keywords, rating, sidecar FROM notes WHERE id IN ({})", ids
        )
        return {row[0]: Note(row[1], row[2], _keywords(row[3]), *row[4:]) for row in rows}

    def put(self, rows: Sequence[tuple[int, Note]]) -> None:
        """Write the notes on pictures, in one transaction, in place of older ones; empty ones leave no row."""
        sql = "INSERT INTO notes SELECT id, ?, ?, ?, ?, ? FROM pictures WHERE id = ?"
        with self._connection.writing():
            self._connection.execute_many("DELETE FROM notes WHERE id = ?", [(id_,) for id_, _ in rows])
            values = [
                (note.title, note.description, json.dumps(note.keywords, ensure_ascii=False), *note[3:], id_)
                for id_, note in rows
                if note != NOTHING
            ]
            self._connection.execute_many(sql, values)

    def sidecars(self) -> dict[int, int]:
        """Return the times of the XMP files that were read, by the picture's id."""
        if not self.known():
            return {}
        return dict(self._connection.rows("SELECT id, sidecar FROM notes WHERE sidecar IS NOT NULL"))

    def ids_where(self, keywords: Iterable[str] = (), rating: int | None = None) -> NDArray[np.int64]:
        """Return the ids of pictures with all of these keywords, in whatever case, and at least so many stars: int64
        (n,), ascending.
        """
        wanted = {keyword.casefold() for keyword in keywords}
        rows = self._connection.rows("SELECT id, keywords, rating FROM notes ORDER BY id") if self.known() else []
        kept = [
            id_
            for id_, words, stars in rows
            if (rating is None or (stars is not None and stars >= rating))
            and (not wanted or wanted <= {word.casefold() for word in _keywords(words)})
        ]
        return np.array(kept, np.int64)


def _keywords(text: object) -> tuple[str, ...]:
    """Return the keywords of a row; a row that is damaged has none."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return ()
    return tuple(str(word) for word in found) if isinstance(found, list) else ()
