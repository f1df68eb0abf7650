"""Look at a file before it is opened, whether it is a library, without changing a byte of it or of its neighbours."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from index.database.schema import APPLICATION
from index.paths import SQLITE, beside
from vsearch.errors import LibraryError

_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes
_TABLES = {"meta", "pictures"}  # what every library has had from the beginning


def look(path: Path) -> bool:
    """Tell whether there is anything to open at `path`; an empty file counts as nothing.

    Raises LibraryError if it is something else than a library: a folder, a pipe, a file or a database of another
    program; or if there is nothing, but logs of a database with this name. Raises OSError if it cannot be read, and
    sqlite3.Error if it is damaged.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        kind = None
    if kind is not None and not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise LibraryError(f"{path} is {what}", "name the file of a library")
    if kind is None or not path.stat().st_size:
        _check_logs(path)
        return False
    _check_program(path)
    return True


def _check_logs(path: Path) -> None:
    """Raise LibraryError where SQLite would take another database's logs for those of a new library."""
    for log in (beside(path, ending) for ending in SQLITE):
        if log.exists() and (not log.is_file() or log.stat().st_size):
            raise LibraryError(f"{log} belongs to a database that is gone", "move it aside, or name another library")


def _check_program(path: Path) -> None:
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if header[: len(_MAGIC)] != _MAGIC:
        remedy = "name another file; if this was a library, restore it from a copy"
        raise LibraryError(f"{path} is not a library of vsearch", remedy)
    application = int.from_bytes(header[68:72], "big")
    if application == APPLICATION:
        return
    if application or not _has_tables(path):
        raise LibraryError(f"{path} is not a library of vsearch, but another program's database", "name another file")


def _has_tables(path: Path) -> bool:
    """Tell whether a database without a mark has a library's tables: those of before had no mark."""
    names = _tables(path, "mode=ro&immutable=1")  # leaves no trace, and does not see the log
    if not names and beside(path, "-wal").exists():
        names = _tables(path, "mode=ro")
    return names >= _TABLES


def _tables(path: Path, how: str) -> set[str]:
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True)
    try:
        return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
