"""Write what a library says. Every method is one transaction, or part of the one that is open.

Paths go in as `os.fsencode` makes them, so that every name that a file system can hold comes back as it was.
D is the length of a vector.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Connection
from index.database.read import Reading
from index.database.schema import (
    APPLICATION,
    BY_CONTENT,
    CAPTION_VECTORS,
    DETAILS,
    FORGET,
    FORMAT,
    OF_PICTURES,
    OPINIONS,
    REWORD,
    SCHEMA,
    TEXTS,
    pack,
)
from index.database.texts import Texts
from index.paths import below

_ROWS = 10_000  # captions embedded at a time
_INSERT = "INSERT INTO pictures (path, size, mtime_ns, hash, caption)"


class NewPicture(NamedTuple):
    """A row to be written; vector float32 (D,), and that of the caption, None where it has none."""

    path: str
    size: int
    mtime_ns: int
    hash: bytes
    vector: NDArray[np.float32] | NDArray[np.float16]
    caption: str | None
    caption_vector: NDArray[np.float32] | NDArray[np.float16] | None = None


class Writing:
    """Every change of a library. Each method raises LibraryError if the file fails or is open for reading only."""

    def __init__(self, connection: Connection, reading: Reading) -> None:
        self._connection = connection
        self._reading = reading

    # ---- the library itself

    def make_tables(self) -> None:
        """Make an empty library of an empty file, unless another process was faster."""
        with self._connection.writing():
            if not self._reading.tables():
                for statement in SCHEMA:
                    self._connection.execute(statement)
                self.mark()
                self.note("format", str(FORMAT))

    def mark(self) -> None:
        """Note in the file's header that this is a library of vsearch; those made before this was done lack it."""
        if self._connection.value("PRAGMA application_id") != APPLICATION:
            self._connection.execute(f"PRAGMA application_id = {APPLICATION}")

    def note(self, key: str, value: str) -> None:
        """Keep a small fact about the library itself."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def start_run(self) -> None:
        """Mark that pictures are about to change: caches made from now on name this run."""
        token = secrets.token_hex(8)
        with self._connection.writing():
            self._connection.execute("INSERT INTO runs VALUES (?)", (token,))
            self.note("run", token)

    def set_model(self, identity: str, dim: int) -> None:
        """Write down whose vectors follow, and start a run."""
        with self._connection.writing():
            self.start_run()
            self.note("identity", identity)
            self.note("dim", str(dim))

    def clear(self, identity: str, dim: int) -> None:
        """Forget every picture, and with them all caches, and begin again with another model; folders stay known."""
        with self._connection.writing():
            there = self._reading.tables()
            if "texts" in there:  # row by row it would take seconds
                for statement in ("DROP TABLE texts", TEXTS):
                    self._connection.execute(statement)
            first = [table for table in (*OF_PICTURES, "taught", "caption_vectors", "removed") if table in there]
            for table in (*first, "pictures", "removed", "vectors", "skipped", "runs"):  # the trigger fills removed
                self._connection.execute(f"DELETE FROM {table}")
            self.set_model(identity, dim)

    def upgrade(self, embed: Callable[[Sequence[str]], Sequence[NDArray[np.float32] | None]]) -> None:
        """Bring a library of an older format up to date; no picture is opened.

        Captions of a library of format 1 get their vectors from `embed`. Details are read by the build that follows.
        """
        before = self._reading.noted("format")
        if before == str(FORMAT):
            return
        with self._connection.writing():
            if before == "1":
                self._connection.execute(CAPTION_VECTORS)
                self._embed_captions(embed)
            opinions = ["DROP TABLE details"] if before == "3" else OPINIONS
            for statement in ("DROP TRIGGER forget", *opinions, *DETAILS, *REWORD, FORGET):
                self._connection.execute(statement)
            Texts(self._connection).fill()
            self.note("format", str(FORMAT))

    def _embed_captions(self, embed: Callable[[Sequence[str]], Sequence[NDArray[np.float32] | None]]) -> None:
        last, sql = 0, "SELECT id, caption FROM pictures WHERE id > ? AND caption IS NOT NULL ORDER BY id LIMIT ?"
        while rows := self._connection.rows(sql, (last, _ROWS)):
            last = rows[-1][0]
            vectors = embed([caption for _, caption in rows])
            packed = [(row[0], pack(v)) for row, v in zip(rows, vectors, strict=True) if v is not None]
            self._connection.execute_many("INSERT INTO caption_vectors VALUES (?, ?)", packed)

    # ---- pictures

    def put(self, new: NewPicture) -> None:
        """Write a picture under a new id; whatever was known at its path is forgotten."""
        path = os.fsencode(new.path)
        with self._connection.writing():
            self.remove([new.path])
            values = (path, new.size, new.mtime_ns, new.hash, new.caption)
            id_ = self._connection.execute(f"{_INSERT} VALUES (?, ?, ?, ?, ?)", values)
            self._put_vectors(id_, pack(new.vector), new.caption_vector)

    def copy(self, id_: int, path: str, size: int, mtime_ns: int) -> bool:
        """Write a second picture with the content of another; return False if that other one is gone."""
        blob = os.fsencode(path)
        with self._connection.writing():
            if self._connection.value("SELECT 1 FROM pictures WHERE id = ? AND path != ?", (id_, blob)) is None:
                return False
            self.remove([path])
            sql = f"{_INSERT} SELECT ?, ?, ?, hash, caption FROM pictures WHERE id = ?"
            new = self._connection.execute(sql, (blob, size, mtime_ns, id_))
            for table in ("vectors", "caption_vectors"):
                sql = f"INSERT INTO {table} SELECT ?, vector FROM {table} WHERE id = ?"
                self._connection.execute(sql, (new, id_))
        return True

    def touch(self, id_: int, path: str, size: int, mtime_ns: int) -> bool:
        """Give a picture a new path or date; it keeps id, vector, caption. Return False if it is gone."""
        blob = os.fsencode(path)
        with self._connection.writing():
            if self._connection.value("SELECT 1 FROM pictures WHERE id = ?", (id_,)) is None:
                return False
            self._connection.execute("DELETE FROM skipped WHERE path = ?", (blob,))
            self._connection.execute("DELETE FROM pictures WHERE path = ? AND id != ?", (blob, id_))
            sql = "UPDATE pictures SET path = ?, size = ?, mtime_ns = ? WHERE id = ?"
            self._connection.execute(sql, (blob, size, mtime_ns, id_))
            if (texts := Texts(self._connection)).known():
                texts.put(id_)  # a new path takes its words away, and `fill` comes late for a picture that is not new
        return True

    def renew(self, id_: int, size: int, mtime_ns: int, digest: bytes) -> None:
        """Note that the file of a picture has other bytes and shows the same: it keeps id, vectors and caption.

        What people said about its content goes with it, and stays where other pictures have that content.
        """
        with self._connection.writing():
            old = self._connection.value("SELECT hash FROM pictures WHERE id = ?", (id_,))
            sql = "UPDATE pictures SET size = ?, mtime_ns = ?, hash = ? WHERE id = ?"
            self._connection.execute(sql, (size, mtime_ns, digest, id_))
            tables = self._reading.tables()
            for table, columns in BY_CONTENT.items():
                if table in tables and old not in (None, digest):
                    sql = f"INSERT OR IGNORE INTO {table} ({columns}, hash) SELECT {columns}, ? FROM {table}"
                    self._connection.execute(f"{sql} WHERE hash = ?", (digest, old))
                    other = "NOT EXISTS (SELECT 1 FROM pictures p WHERE p.hash = ?)"
                    self._connection.execute(f"DELETE FROM {table} WHERE hash = ? AND {other}", (old, old))

    def set_caption(self, id_: int, caption: str | None, vector: NDArray[np.float32] | None = None) -> None:
        """Write the caption of a picture that is there, and its vector (D,). It gets a new id, see `schema`.

        What else is known of it is kept.
        """
        with self._connection.writing():
            found = self._reading.pictures([id_]).get(id_)
            if found is None:
                return
            own = self._connection.value("SELECT vector FROM vectors WHERE id = ?", (id_,))
            self._rename(id_, -id_)
            self._connection.execute("DELETE FROM pictures WHERE id = ?", (id_,))
            values = (os.fsencode(found.path), found.size, found.mtime_ns, found.hash, caption)
            new = self._connection.execute(f"{_INSERT} VALUES (?, ?, ?, ?, ?)", values)
            self._put_vectors(new, own, vector)
            self._rename(-id_, new)

    def _rename(self, old: int, new: int) -> None:
        """Give what is known of a picture to another id; no picture has one below zero."""
        there = self._reading.tables()
        for table, column in OF_PICTURES.items():
            if table in there and table != "texts":
                self._connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, old))

    def _put_vectors(self, id_: int, packed: bytes, caption: NDArray[np.float32] | NDArray[np.float16] | None) -> None:
        self._connection.execute("INSERT INTO vectors VALUES (?, ?)", (id_, packed))
        if caption is not None:
            self._connection.execute("INSERT INTO caption_vectors VALUES (?, ?)", (id_, pack(caption)))

    # ---- files and folders

    def skip(self, path: str, size: int, mtime_ns: int, reason: str) -> None:
        """Remember that this file is no readable picture; a picture known at its path is forgotten."""
        with self._connection.writing():
            self.remove([path])
            values = (os.fsencode(path), size, mtime_ns, reason)
            self._connection.execute("INSERT INTO skipped VALUES (?, ?, ?, ?)", values)

    def remove(self, paths: Iterable[str]) -> None:
        """Forget the pictures and the skipped files at these paths."""
        blobs = [(os.fsencode(path),) for path in paths]
        with self._connection.writing():
            self._connection.execute_many("DELETE FROM pictures WHERE path = ?", blobs)
            self._connection.execute_many("DELETE FROM skipped WHERE path = ?", blobs)

    def remove_below(self, folder: str) -> None:
        """Forget the pictures and the skipped files below a folder."""
        with self._connection.writing():
            for table in ("pictures", "skipped"):
                self._connection.execute(f"DELETE FROM {table} WHERE path >= ? AND path < ?", below(folder))

    def drop_orphans(self) -> dict[str, int]:
        """Forget votes, captions by hand and texts of contents that no picture has any more; return how many of each.

        The index of words is written again without those of pictures that are gone, which SQLite only marks as gone.
        """
        there, gone = self._reading.tables(), {}
        with self._connection.writing():
            for table in BY_CONTENT:
                where = "WHERE hash NOT IN (SELECT hash FROM pictures)"
                gone[table] = 0
                if table in there:
                    gone[table] = int(self._connection.value(f"SELECT count(*) FROM {table} {where}"))
                    self._connection.execute(f"DELETE FROM {table} {where}")
            if "texts" in there:
                self._connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")
        return gone

    def forget_skipped(self) -> None:
        """Let every skipped file be tried again."""
        self._connection.execute("DELETE FROM skipped")

    def set_folders(self, folders: Iterable[str], mounts: Iterable[str]) -> None:
        """Remember these folders as scanned, and replace the list of mount points."""
        with self._connection.writing():
            self._connection.execute_many("INSERT OR IGNORE INTO folders VALUES (?)", _blobs(folders))
            self._connection.execute("DELETE FROM mounts")
            self._connection.execute_many("INSERT OR IGNORE INTO mounts VALUES (?)", _blobs(mounts))

    def set_excludes(self, patterns: Iterable[str]) -> None:
        """Replace the patterns of what builds leave out."""
        with self._connection.writing():
            self._connection.execute("DELETE FROM excludes")
            self._connection.execute_many("INSERT INTO excludes VALUES (?)", [(pattern,) for pattern in patterns])

    def forget_folders(self, folders: Iterable[str], mounts: Iterable[str]) -> None:
        """Forget that these folders were scanned, and that these were mount points."""
        with self._connection.writing():
            self._connection.execute_many("DELETE FROM folders WHERE path = ?", _blobs(folders))
            self._connection.execute_many("DELETE FROM mounts WHERE path = ?", _blobs(mounts))


def _blobs(paths: Iterable[str]) -> list[tuple[bytes]]:
    return [(os.fsencode(path),) for path in paths]
