"""What people said about pictures: which ones fit a query and which do not, and captions that they wrote.

Both belong to the content of a picture (its hash), not to its row: they outlive a move, a new caption and another
model. A library of an older format has none of it until its next build.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from index.database.connection import Connection


class Vote(NamedTuple):
    """Whether the picture with this content fits a query."""

    query: str
    hash: bytes
    good: bool


class Opinions:
    """Reads and writes votes and captions by hand. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self) -> bool:
        """Tell whether there are tables for them; a library of format 1 or 2 has none."""
        return self._connection.value("SELECT 1 FROM sqlite_master WHERE name = 'votes'") is not None

    def votes(self, query: str | None = None) -> list[Vote]:
        """Return all votes on a query, or all there are, in the order in which they came."""
        if not self.known():
            return []
        only = "" if query is None else "WHERE query = ?"
        sql = f"SELECT query, hash, good FROM votes {only} ORDER BY id"
        rows = self._connection.rows(sql, () if query is None else (query,))
        return [Vote(row[0], row[1], bool(row[2])) for row in rows]

    def vote(self, query: str, content: bytes, good: bool) -> None:
        """Write a vote in place of an older one on the same picture and query."""
        sql = (
            "INSERT INTO votes (query, hash, good) VALUES (?, ?, ?)"
            " ON CONFLICT (query, hash) DO UPDATE SET good = excluded.good"
        )
        self._connection.execute(sql, (query, content, int(good)))

    def withdraw(self, query: str, content: bytes) -> None:
        """Forget a vote, if there is one."""
        self._connection.execute("DELETE FROM votes WHERE query = ? AND hash = ?", (query, content))

    def captions(self, contents: Iterable[bytes]) -> dict[bytes, str]:
        """Return the captions that were written by hand for these contents, by content."""
        if not self.known() or self._connection.value("SELECT 1 FROM written LIMIT 1") is None:
            return {}
        sql = "SELECT caption FROM written WHERE hash = ?"
        found = {content: self._connection.value(sql, (content,)) for content in dict.fromkeys(contents)}
        return {content: str(caption) for content, caption in found.items() if caption is not None}

    def write_caption(self, content: bytes, caption: str) -> None:
        """Keep a caption for all pictures with this content; builds give it in place of the model's."""
        self._connection.execute("INSERT OR REPLACE INTO written VALUES (?, ?)", (content, caption))

    def drop_caption(self, content: bytes) -> None:
        """Forget the caption by hand of a content, if there is one."""
        self._connection.execute("DELETE FROM written WHERE hash = ?", (content,))
