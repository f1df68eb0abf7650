"""SQLite as the library uses it: one connection, short transactions, every error a LibraryError with a remedy."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from index.paths import LOCK, beside
from index.remedies import move_aside
from vsearch.errors import LibraryError
from vsearch.files import make_empty, mode_of

BUSY_SECONDS = 10.0  # how long to wait for the few milliseconds of another process's transaction
_DAMAGE = ("malformed", "not a database", "corrupt", "decode", "no such column", "unsupported file format")
_CHUNK = 500  # values in one IN (...); SQLite before 3.32 takes 999


class BusyError(LibraryError):
    """Another build is writing to the library."""


class Connection:
    """A connection in autocommit mode; `writing` and `snapshot` open the transactions."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        with translated(path):
            self._connection = _connect(path, read_only)

    def close(self) -> None:
        """Close the file; what was closed cannot be used again.

        What was written leaves the log first, where no reader is in the way: SQLite does so only where none is left,
        and whoever moves or copies only the library would lose it.
        """
        with contextlib.suppress(sqlite3.Error):
            if not self.read_only:
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def share(self) -> None:
        """Let others read while this process writes (write-ahead log)."""
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last batches, never the file

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Hold the right to build: a second process gets a LibraryError at once.

        The lock is released if the process dies. It is taken on an empty SQLite file next to the library, so it works
        wherever SQLite does.
        """
        if self.read_only:
            raise LibraryError(f"{self.path} was opened for reading only", "open it for writing")
        self._check_lock()
        with translated(self.path):
            lock = sqlite3.connect(beside(self.path, LOCK), timeout=0, isolation_level=None)
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                if "locked" not in str(error):
                    raise as_library_error(self.path, error) from error
                remedy = "wait until it has finished, then run this again"
                raise BusyError(f"another build is writing to {self.path}", remedy) from None
            yield
        finally:
            lock.close()

    def _check_lock(self) -> None:
        """Raise LibraryError if the lock's name is taken: what vsearch locks stays empty."""
        lock = beside(self.path, LOCK)
        with translated(self.path):
            taken = lock.exists() and (not lock.is_file() or lock.stat().st_size)
            if not taken:
                make_empty(lock, mode_of(self.path))
        if taken:
            raise LibraryError(f"{lock} is another program's file", "move it aside, or name another library")

    def is_building(self) -> bool:
        """Tell whether a build, in another process, holds the right to it. Takes no lock, so it stops no build."""
        asked = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)  # struct flock: the whole file
        try:
            with beside(self.path, LOCK).open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
        except OSError:
            return False
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold one transaction: all of it or nothing. May be nested; the outermost commits."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            with translated(self.path):
                self._connection.commit()
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read inside see the library at one moment, whatever a build commits meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()

    def erase(self) -> None:
        """Write the file again without what was deleted from it, and empty the log; readers may delay the latter."""
        self.execute("VACUUM")
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def version(self) -> tuple[int, int]:
        """Return two numbers that stay as they are as long as nobody, here or elsewhere, changes the file."""
        return int(self.value("PRAGMA data_version")), self._connection.total_changes

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; returns the id of the row it inserted, if it did."""
        with translated(self.path):
            return self._connection.execute(sql, values).lastrowid or 0

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of values."""
        with translated(self.path):
            self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with translated(self.path):
            return self._connection.execute(sql, values).fetchall()

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, None if there is no row."""
        with translated(self.path):
            row = self._connection.execute(sql, values).fetchone()
        return row[0] if row else None

    def rows_in(self, sql: str, values: Iterable[int]) -> list[Any]:
        """Return all rows of a query whose `{}` stands for a list of any number of integers."""
        wanted = [int(value) for value in values]
        rows: list[Any] = []
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            rows += self.rows(sql.format(",".join("?" * len(part))), part)
        return rows


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and of the file system as LibraryError."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last where a damaged schema is no text
        raise as_library_error(path, error) from error


def as_library_error(path: Path, error: Exception) -> LibraryError:
    """Translate an error of SQLite or of the file system for the user."""
    code = error.errno if isinstance(error, OSError) else None
    text = "" if isinstance(error, OSError) else str(error).lower()  # the text of an OSError holds names of files
    if any(word in text for word in _DAMAGE):
        remedy = f"restore it from a copy, or move it aside and build it again: {move_aside(path)}"
        return LibraryError(f"{path} is damaged or not a library ({error})", remedy)
    if "no such module" in text:
        remedy = "use a Python whose SQLite has it, as those of python.org, Debian and conda have"
        return LibraryError(f"the SQLite of this Python has no full-text search ({error})", remedy)
    if "locked" in text or "busy" in text:
        return LibraryError(f"{path} is locked by another process", "wait until it has finished, then run this again")
    forbidden = "readonly" in text or ("unable to open" in text and not _writable(path))
    if forbidden or code in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "make the file and its folder writable, or use `Library.open(path)`"
        return LibraryError(f"{path} cannot be written", remedy)
    if "full" in text or code in (errno.ENOSPC, errno.EDQUOT):
        return LibraryError(f"the disk of {path} is full", "free some space, then run this again: it goes on from here")
    if "disk i/o" in text:
        remedy = "look whether the disk fails, or a quota or a limit is reached, then run this again"
        return LibraryError(f"{path} cannot be read or written ({error})", remedy)
    remedy = "look at the file and its folder, or use `Library.open(path)`"
    return LibraryError(f"{path} cannot be used ({error})", remedy)


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    uri = "file:" + quote(os.fsencode(path))
    if not read_only:
        return _open(uri + "?mode=rwc")
    try:
        return _open(uri + "?mode=ro")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        # On a read-only disk SQLite cannot make the files that readers of a write-ahead log share. If no log is left,
        # nobody writes, and the file can be read as it is.
        if beside(path, "-wal").exists() or not path.exists():
            raise
        return _open(uri + "?mode=ro&immutable=1")


def _open(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
