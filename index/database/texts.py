"""The words of pictures, searched as text: captions, keywords, names of files, and what is written in the picture.

SQLite keeps them in an index of full text (FTS5) with one row a picture. Whatever changes words deletes that row (the
triggers in `schema`), and `fill` writes the rows that are missing: so a row is either right or not there. n is a number
of pictures.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index import remedies
from index.database.connection import Connection
from vsearch.errors import LibraryError, QueryError

FIELDS = ("caption", "keywords", "name", "picture")  # the columns of `texts`, in their order
SAID = {"caption": "caption", "keywords": "keywords", "name": "name", "picture": "in the picture"}  # for people
_ROWS = 1_000  # written or compared at a time
_WORDS = 12  # of a snippet, at most
_MOST = 50  # parts of a text that is looked for; SQLite gives up at some hundred
_PART = re.compile(r'"([^"]*)"(\*?)|([^\s"]+)')
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_SOURCE = (
    "SELECT p.id, p.path, p.caption, n.title, n.description, n.keywords, o.text FROM pictures p"
    " LEFT JOIN notes n ON n.id = p.id LEFT JOIN ocr o ON o.hash = p.hash"
)


class Match(NamedTuple):
    """Where a picture says most of what was looked for: one of FIELDS, and some words around it."""

    field: str
    snippet: str


class Unread(NamedTuple):
    """A content whose text was not read yet, and a file that has it."""

    hash: bytes
    path: str
    size: int
    mtime_ns: int


class Texts:
    """Writes and searches the words of pictures. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self) -> bool:
        """Tell whether there is an index of words; a library of format 1 to 3 has none."""
        return self._connection.value("SELECT 1 FROM sqlite_master WHERE name = 'texts'") is not None

    # ---- write

    def fill(self, after: int = 0) -> int:
        """Write the words of all pictures above an id that have none yet; return how many these are."""
        there = "SELECT id FROM texts_docsize WHERE id > ?"  # smaller than the table itself
        sql, count = f"{_SOURCE} WHERE p.id > ? AND p.id NOT IN ({there}) ORDER BY p.id LIMIT ?", 0
        while rows := self._connection.rows(sql, (after, after, _ROWS)):
            after = rows[-1][0]
            count += len(rows)
            with self._connection.writing():
                self._insert(rows)
        return count

    def put(self, id_: int) -> None:
        """Write the words of one picture, if it has none yet."""
        there = "SELECT id FROM texts_docsize WHERE id = ?"
        for row in self._connection.rows(f"{_SOURCE} WHERE p.id = ? AND p.id NOT IN ({there})", (id_, id_)):
            self._insert([row])

    def _insert(self, rows: Iterable[Sequence[Any]]) -> None:
        insert = "INSERT INTO texts (rowid, caption, keywords, name, picture) VALUES (?, ?, ?, ?, ?)"
        self._connection.execute_many(insert, [(row[0], *_words(*row[1:])) for row in rows])

    def unread(self) -> list[Unread]:
        """Return the contents in whose pictures no text was looked for yet, the oldest first."""
        sql = (
            "SELECT hash, path, size, mtime_ns, min(id) FROM pictures WHERE hash NOT IN (SELECT hash FROM ocr)"
            " GROUP BY hash ORDER BY min(id)"
        )
        return [Unread(row[0], os.fsdecode(row[1]), row[2], row[3]) for row in self._connection.rows(sql)]

    def note_read(self, rows: Iterable[tuple[bytes, str]]) -> None:
        """Write what was read in pictures, by content, and put it among their words, in one transaction."""
        with self._connection.writing():
            found = [(content, _joined([text])) for content, text in rows]
            self._connection.execute_many("INSERT OR REPLACE INTO ocr VALUES (?, ?)", found)
            self.fill()

    # ---- search

    def ids(self, text: str) -> NDArray[np.int64]:
        """Return the ids of the pictures that say a text, see `expression`: int64 (n,), ascending.

        Raises QueryError if there is no word in it.
        """
        rows = self._matching("SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid", text)
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def best(self, text: str, k: int) -> list[int]:
        """Return the ids of the `k` pictures that say a text, those that say little else first (bm25)."""
        sql = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank, rowid LIMIT ?"
        return [row[0] for row in self._matching(sql, text, k)]

    def where(self, text: str, ids: Sequence[int]) -> dict[int, Match]:
        """Return where each of these pictures says a text, by id; those that do not are left out."""
        parts = ", ".join(f"snippet(texts, {n}, char(2), char(3), '…', {_WORDS})" for n in range(len(FIELDS)))
        found = {}
        for start in range(0, len(ids), _ROWS // 2):
            part = ids[start : start + _ROWS // 2]
            sql = f"SELECT rowid, {parts} FROM texts WHERE texts MATCH ? AND rowid IN ({', '.join('?' * len(part))})"
            for id_, *snippets in self._matching(sql, text, *part):
                told = max(range(len(FIELDS)), key=lambda n: snippets[n].count("\2"))
                snippet = " ".join(snippets[told].replace("\2", "").replace("\3", "").split())
                found[int(id_)] = Match(FIELDS[told], snippet)
        return found

    def _matching(self, sql: str, text: str, *values: int) -> list[Any]:
        wanted = expression(text)
        if not self.known():
            remedy = f"make it: {remedies.build(self._connection.path, remedies.FOLDER)}"
            raise LibraryError(f"{self._connection.path} has no index of words yet", remedy)
        return self._connection.rows(sql, (wanted, *values))

    # ---- for `index.check`

    def missing(self) -> int:
        """Count the pictures whose words are not in the index."""
        sql = "SELECT count(*) FROM pictures WHERE id NOT IN (SELECT id FROM texts_docsize)"
        return int(self._connection.value(sql)) if self.known() else 0

    def wrong(self) -> int:
        """Count the pictures whose words in the index are not their own."""
        if not self.known():
            return 0
        columns = ", ".join(f"t.{field}" for field in FIELDS)
        source = _SOURCE.replace(" FROM", f", {columns} FROM").replace(
            "pictures p", "pictures p JOIN texts t ON t.rowid = p.id"
        )
        last, count = 0, 0
        while rows := self._connection.rows(f"{source} WHERE p.id > ? ORDER BY p.id LIMIT ?", (last, _ROWS)):
            last = rows[-1][0]
            count += sum(_words(*row[1:7]) != tuple(row[7:]) for row in rows)
        return count


def expression(text: str) -> str:
    """Return what FTS5 is asked for a text: its words, which all have to be there, in any order and any field.

    Words in double quotes have to follow each other; a star at the end of a word, or after the quotes, stands for any
    ending. Everything else of FTS5's own language is taken as text. Raises QueryError if a quote is left open, if there
    is no word, or if there are too many.
    """
    given = text.translate(_QUOTES)
    if given.count('"') % 2:
        raise QueryError("a quote is left open", 'close it, as in "stop sign", or leave it out')
    parts = []
    for phrase, star, word in _PART.findall(given):
        said, ending = (word.rstrip("*"), word.endswith("*")) if word else (phrase, bool(star))
        if any(unicodedata.category(letter)[0] in "LN" for letter in said):
            parts.append(f'"{said}"' + (" *" if ending else ""))
    if not parts:
        raise QueryError(f"there is no word in {text!r}", "give letters or digits to look for, as in stop")
    if len(parts) > _MOST:
        raise QueryError(f"{len(parts)} words are too many", f"give {_MOST} at most")
    return " ".join(parts).replace("\0", " ")


def _words(
    path: bytes, caption: str | None, title: str | None, description: str | None, keywords: str | None, seen: str | None
) -> tuple[str, str, str, str]:
    """Return the row of a picture: FIELDS. Its name is that of the file without its ending, and that of its folder.

    What a damaged library has in place of text is left out; `check` finds it.
    """
    caption, title, description, keywords, seen = (
        given if isinstance(given, str) else None for given in (caption, title, description, keywords, seen)
    )
    folder, name = os.path.split(path)
    names = [os.path.splitext(name)[0], os.path.basename(folder)]
    told = _joined(text for text in (caption, title, description) if text)
    listed = _joined(_keywords(keywords))
    return told, listed, "\n".join(part.decode("utf-8", "replace") for part in names), _joined([seen or ""])


def _keywords(listed: str | None) -> list[str]:
    """Return the keywords of a JSON list; what is none counts as one keyword."""
    try:
        found = json.loads(listed or "[]")
    except ValueError:
        found = listed
    return [str(one) for one in found] if isinstance(found, list) else [str(found)]


def _joined(parts: Iterable[str]) -> str:
    """Return lines of text that SQLite takes: without halves of surrogate pairs and without zeros."""
    return "\n".join(parts).encode("utf-8", "replace").decode().replace("\0", " ")
