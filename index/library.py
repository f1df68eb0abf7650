"""The library on disk: one SQLite file, the only truth about which pictures there are and where their vectors lie.

Readers may read while one build writes (write-ahead log). Paths go in and out as `os.fsencode` makes them, so that
every name that a file system can hold comes back as it was. Every method raises LibraryError where the file fails.
D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import translated
from index.database.read import Reading
from index.database.schema import CAPTION_VECTORS, FORGET, FORMAT, READABLE, SCHEMA, pack
from index.paths import shell
from vsearch.errors import LibraryError

_ROWS = 10_000  # captions placed at a time


class NewPicture(NamedTuple):
    """A row to be written; vector float32 (D,), and that of the caption, None where it has none."""

    path: str
    size: int
    mtime_ns: int
    hash: bytes
    vector: NDArray[np.float32]
    caption: str | None
    caption_vector: NDArray[np.float32] | None = None


def default_path() -> Path:
    """Where the library lies unless the user says otherwise: in the user's data directory."""
    import platformdirs

    return platformdirs.user_data_path("vsearch", appauthor=False) / "library.sqlite3"


def _make_one(path: Path) -> str:
    """The remedy where no library is."""
    words = [] if path == default_path().absolute() else ["--library", str(path)]
    return "make one: " + " ".join(["vsearch build-index FOLDER", *(shell(word) for word in words)])


class Library(Reading):
    """An open library; make one with `Library.open`. A context manager that closes it."""

    @classmethod
    def open(cls, path: Path, *, create: bool = False, read_only: bool = False) -> Library:
        """Open the library at `path`; `create` makes it, and its folder, if it is not there.

        Raises LibraryError if it is missing, damaged, of another format, or cannot be written (unless `read_only`).
        """
        path = Path(path).absolute()
        if not path.exists():
            if not create or read_only:
                raise LibraryError(f"there is no library at {path}", _make_one(path))
            with translated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        library = cls(path, read_only=read_only)
        try:
            library._prepare(create)
        except BaseException:
            library.close()
            raise
        return library

    def _prepare(self, create: bool) -> None:
        if not self.read_only:
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last batches, never the file
        if create and not self.read_only and not self._tables():
            with self.writing():
                if not self._tables():  # nobody else made them meanwhile
                    for statement in SCHEMA:
                        self.execute(statement)
                    self.note("format", str(FORMAT))
        tables = self._tables()
        if not tables:
            raise LibraryError(f"there is no library at {self.path}", _make_one(self.path))
        if "meta" not in tables or "pictures" not in tables:
            raise LibraryError(f"{self.path} is not a library of vsearch", "name another file with --library")
        if self.noted("format") not in READABLE:
            message = f"{self.path} has format {self.noted('format')}, this vsearch reads format {FORMAT}"
            raise LibraryError(message, "use the vsearch that made it, or name another file with --library")

    def _tables(self) -> set[str]:
        return {str(row[0]) for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- whose vectors it holds

    def check_identity(self, identity: str) -> None:
        """Raises LibraryError if the vectors were made by another model; its hint is the command that re-indexes."""
        mine = self.identity
        if mine is not None and mine != identity:
            message = f"{self.path} was made by another model ({mine[:12]}; this one is {identity[:12]})"
            raise LibraryError(message, f"re-index it: {self.reindex_command()}")

    def adopt(self, identity: str, dim: int) -> None:
        """Write down, before the first vector, whose they are; raises LibraryError if they are another's already."""
        self.check_identity(identity)
        if self.identity is None:
            with self.writing():
                self.start_run()
                self.note("identity", identity)
                self.note("dim", str(dim))
        elif self.dim != dim:
            message = f"{self.path} holds vectors of {self.dim} numbers, the model makes {dim}"
            raise LibraryError(message, f"re-index it: {self.reindex_command()}")

    def clear(self, identity: str, dim: int) -> None:
        """Forget every picture, and with them all caches, and begin anew with another model; the folders stay known."""
        with self.writing():
            for table in ("removed", "pictures", "removed", "vectors", "skipped", "runs"):  # the trigger fills removed
                self.execute(f"DELETE FROM {table}")
            if self.places_captions():
                self.execute("DELETE FROM caption_vectors")
            self.start_run()
            self.note("identity", identity)
            self.note("dim", str(dim))

    def upgrade(self, place: Callable[[Sequence[str]], Sequence[NDArray[np.float32] | None]]) -> None:
        """Bring a library of format 1 up to date: its captions get their vectors from `place`, no picture is opened."""
        if self.noted("format") == str(FORMAT):
            return
        with self.writing():
            self.execute(CAPTION_VECTORS)
            self.execute("DROP TRIGGER forget")
            self.execute(FORGET)
            last, sql = 0, "SELECT id, caption FROM pictures WHERE id > ? AND caption IS NOT NULL ORDER BY id LIMIT ?"
            while rows := self.rows(sql, (last, _ROWS)):
                last = rows[-1][0]
                vectors = place([caption for _, caption in rows])
                packed = [(row[0], pack(v)) for row, v in zip(rows, vectors, strict=True) if v is not None]
                self.execute_many("INSERT INTO caption_vectors VALUES (?, ?)", packed)
            self.note("format", str(FORMAT))

    def reindex_command(self) -> str:
        """The shell command that embeds every folder of this library anew."""
        if self.folders():
            return " ".join(shell(word) for word in ["vsearch", "reindex", *self.place_options()])
        return " ".join(["vsearch build-index FOLDER --reindex", *(shell(word) for word in self.place_options())])

    def place_options(self) -> list[str]:
        """The options that name this library on a command line; none where it is the default one."""
        return [] if self.path == default_path().absolute() else ["--library", str(self.path)]

    # ---- writing

    def note(self, key: str, value: str) -> None:
        """Keep a small fact about the library itself."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def start_run(self) -> None:
        """Mark that pictures are about to change: caches made from now on name this run."""
        token = secrets.token_hex(8)
        with self.writing():
            self.execute("INSERT INTO runs VALUES (?)", (token,))
            self.note("run", token)

    def put(self, new: NewPicture) -> None:
        """Write a picture under a new id; whatever was known at its path is forgotten."""
        path = os.fsencode(new.path)
        with self.writing():
            self.remove([new.path])
            id_ = self.execute(
                "INSERT INTO pictures (path, size, mtime_ns, hash, caption) VALUES (?, ?, ?, ?, ?)",
                (path, new.size, new.mtime_ns, new.hash, new.caption),
            )
            self.execute("INSERT INTO vectors VALUES (?, ?)", (id_, pack(new.vector)))
            if new.caption_vector is not None:
                self.execute("INSERT INTO caption_vectors VALUES (?, ?)", (id_, pack(new.caption_vector)))

    def copy(self, id_: int, path: str, size: int, mtime_ns: int) -> bool:
        """Write a second picture with the content of another; False if that other one is gone."""
        blob = os.fsencode(path)
        with self.writing():
            if self.value("SELECT 1 FROM pictures WHERE id = ? AND path != ?", (id_, blob)) is None:
                return False
            self.remove([path])
            sql = "INSERT INTO pictures (path, size, mtime_ns, hash, caption)"
            sql += " SELECT ?, ?, ?, hash, caption FROM pictures WHERE id = ?"
            new = self.execute(sql, (blob, size, mtime_ns, id_))
            for table in ("vectors", "caption_vectors"):
                self.execute(f"INSERT INTO {table} SELECT ?, vector FROM {table} WHERE id = ?", (new, id_))
        return True

    def touch(self, id_: int, path: str, size: int, mtime_ns: int) -> bool:
        """The same picture at a new path or with a new date keeps id, vector, caption; False if it is gone."""
        blob = os.fsencode(path)
        with self.writing():
            if self.value("SELECT 1 FROM pictures WHERE id = ?", (id_,)) is None:
                return False
            self.execute("DELETE FROM skipped WHERE path = ?", (blob,))
            self.execute("DELETE FROM pictures WHERE path = ? AND id != ?", (blob, id_))
            sql = "UPDATE pictures SET path = ?, size = ?, mtime_ns = ? WHERE id = ?"
            self.execute(sql, (blob, size, mtime_ns, id_))
        return True

    def set_caption(self, id_: int, caption: str, vector: NDArray[np.float32] | None = None) -> None:
        """Write the caption of a picture that is already there, and its vector (D,). It gets a new id, see `schema`."""
        with self.writing():
            found = self.pictures([id_]).get(id_)
            if found is None:
                return
            own = self.value("SELECT vector FROM vectors WHERE id = ?", (id_,))
            path = os.fsencode(found.path)
            self.execute("DELETE FROM pictures WHERE id = ?", (id_,))
            sql = "INSERT INTO pictures (path, size, mtime_ns, hash, caption) VALUES (?, ?, ?, ?, ?)"
            new = self.execute(sql, (path, found.size, found.mtime_ns, found.hash, caption))
            self.execute("INSERT INTO vectors VALUES (?, ?)", (new, own))
            if vector is not None:
                self.execute("INSERT INTO caption_vectors VALUES (?, ?)", (new, pack(vector)))

    def skip(self, path: str, size: int, mtime_ns: int, reason: str) -> None:
        """Remember that this file is no readable picture; a picture known at its path is forgotten."""
        with self.writing():
            self.remove([path])
            self.execute("INSERT INTO skipped VALUES (?, ?, ?, ?)", (os.fsencode(path), size, mtime_ns, reason))

    def remove(self, paths: Iterable[str]) -> None:
        """Forget the pictures and the skipped files at these paths."""
        blobs = [(os.fsencode(path),) for path in paths]
        with self.writing():
            self.execute_many("DELETE FROM pictures WHERE path = ?", blobs)
            self.execute_many("DELETE FROM skipped WHERE path = ?", blobs)

    def forget_skipped(self) -> None:
        """Let every skipped file be tried again."""
        self.execute("DELETE FROM skipped")

    def set_folders(self, folders: Iterable[str], mounts: Iterable[str]) -> None:
        """Remember these folders as scanned, and replace the list of mount points."""
        with self.writing():
            self.execute_many("INSERT OR IGNORE INTO folders VALUES (?)", [(os.fsencode(path),) for path in folders])
            self.execute("DELETE FROM mounts")
            self.execute_many("INSERT OR IGNORE INTO mounts VALUES (?)", [(os.fsencode(path),) for path in mounts])
