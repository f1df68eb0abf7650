"""Pictures made ready, one a row in a small SQLite file, so that a killed run continues where it was.

HDF5 does not survive being killed, hence this file before it. Rows are committed in lots of EVERY and at the end; those
after the last commit of a killed run are made again.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vsearch.errors import DataError, PictureError

EVERY = 256  # rows of a commit


class Spool:
    """The pictures kept so far for the work that `fingerprint` stands for. A file of other work, or a damaged one, is
    begun again.

    `count` are the rows there are, `reasons` says by row why there is no picture. Raises DataError if another run
    writes the same file.
    """

    def __init__(self, path: Path, fingerprint: bytes) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if not _holds(path, fingerprint):
            _begin(path, fingerprint)
        self._file = _connect(path)
        (self.count,) = self._file.execute("SELECT count(*) FROM pictures").fetchone()
        self.reasons: dict[int, str] = dict(
            self._file.execute("SELECT row, reason FROM pictures WHERE reason IS NOT NULL")
        )

    def add(self, content: bytes | PictureError) -> None:
        """Append a picture, or the reason why there is none."""
        reason = str(content) if isinstance(content, PictureError) else None
        data = b"" if isinstance(content, PictureError) else content
        with self._writing():
            row = (self.count, data, zlib.crc32(data), reason)
            self._file.execute("INSERT INTO pictures VALUES (?, ?, ?, ?)", row)
            if (self.count + 1) % EVERY == 0:
                self._file.commit()
        if reason is not None:
            self.reasons[self.count] = reason
        self.count += 1

    def __iter__(self) -> Iterator[bytes | PictureError]:
        """Yield all pictures, or reasons, in order."""
        for picture, reason in self._file.execute("SELECT bytes, reason FROM pictures ORDER BY row"):
            yield picture if reason is None else PictureError(reason)

    def close(self) -> None:
        """Commit what was added; the file stays for a run that continues."""
        with closing(self._file), self._writing():
            self._file.commit()

    def remove(self) -> None:
        """Delete the file, once closed: the work is done."""
        self.path.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise OSError if the disk is full or fails, as writing a plain file does."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(f"cannot write {self.path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file and keep others out of it. Raises DataError if another run has it open."""
    file = sqlite3.connect(path, timeout=0)
    try:
        file.execute("PRAGMA locking_mode = EXCLUSIVE")
        file.execute("BEGIN EXCLUSIVE")
        file.commit()
    except sqlite3.DatabaseError as error:
        file.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise DataError(f"another run writes {path}", "wait until it is done") from None
        raise
    return file


def _holds(path: Path, fingerprint: bytes) -> bool:
    """Return whether the file is whole and of the work `fingerprint`."""
    try:
        with closing(_connect(path)) as file:
            found = file.execute("SELECT fingerprint FROM work").fetchall()
            rows = file.execute("SELECT bytes, crc FROM pictures")
            return found == [(fingerprint,)] and all(zlib.crc32(data) == crc for data, crc in rows)
    except sqlite3.DatabaseError:
        return False


def _begin(path: Path, fingerprint: bytes) -> None:
    """Make the file empty."""
    path.with_name(path.name + "-journal").unlink(missing_ok=True)
    path.write_bytes(b"")
    with closing(_connect(path)) as file:
        file.execute("CREATE TABLE work (fingerprint BLOB)")
        file.execute("CREATE TABLE pictures (row INTEGER PRIMARY KEY, bytes BLOB, crc INTEGER, reason TEXT)")
        file.execute("INSERT INTO work VALUES (?)", (fingerprint,))
        file.commit()
