"""What a library has learned from votes, see `index.teach.correction`; n votes, vectors of D numbers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Connection
from index.database.schema import pack, unpack

Vectors = NDArray[np.float32]


class Learned(Protocol):
    """Weights (n,), queries (n, D) and pictures (n, D)."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of the votes."""

    @property
    def queries(self) -> Vectors:
        """Unit vectors."""

    @property
    def pictures(self) -> Vectors:
        """Unit vectors."""


class Taught:
    """Reads and writes what was learned. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count(self) -> int:
        """Return from how many votes the library has learned; 0 if from none, or if it has an older format."""
        if self._connection.value("SELECT 1 FROM sqlite_master WHERE name = 'taught'") is None:
            return 0
        return int(self._connection.value("SELECT count(*) FROM taught"))

    def read(self, identity: str, dim: int) -> tuple[NDArray[np.float64], Vectors, Vectors] | None:
        """Return weights, queries and pictures as a model of this identity learned them, None if it learned nothing."""
        if not self.count() or self._connection.value("SELECT value FROM meta WHERE key = 'taught'") != identity:
            return None
        rows = self._connection.rows("SELECT weight, query, picture FROM taught ORDER BY id")
        weights = np.array([row[0] for row in rows], np.float64)
        return weights, unpack([row[1] for row in rows], dim), unpack([row[2] for row in rows], dim)

    def put(self, identity: str, learned: Learned) -> None:
        """Write what a model has learned, in place of what was there."""
        rows = zip(learned.weights.tolist(), learned.queries, learned.pictures, strict=True)
        with self._connection.writing():
            self.forget()
            values = [(weight, pack(query), pack(picture)) for weight, query, picture in rows]
            self._connection.execute_many("INSERT INTO taught (weight, query, picture) VALUES (?, ?, ?)", values)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('taught', ?)", (identity,))

    def forget(self) -> None:
        """Forget what was learned; votes stay."""
        with self._connection.writing():
            self._connection.execute("DELETE FROM taught")
            self._connection.execute("DELETE FROM meta WHERE key = 'taught'")
