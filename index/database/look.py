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
    """Raise LibraryError if SQLite would take another database's logs for those of a new library."""
    for log in (beside(path, ending) for ending in SQLITE):
        if log.exists() and (not log.is_file() or log.stat().st_size):
            raise LibraryError(f"{log} belongs to a database that is gone", "move it aside, or name another library")


def _check_program(path: Path) -> None:
    try:
        application, names = _peek(path, "mode=ro&immutable=1")  # leaves no trace, and does not see the log
        if application == 0 and not names and beside(path, "-wal").exists():
            application, names = _peek(path, "mode=ro")
    except sqlite3.DatabaseError as error:
        if "not a database" not in str(error):
            raise
        remedy = "name another file; if this was a library, restore it from a copy"
        raise LibraryError(f"{path} is not a library of vsearch", remedy) from None
    if application != APPLICATION and (application or not names >= _TABLES):
        raise LibraryError(f"{path} is not a library of vsearch, but another program's database", "name another file")


def _peek(path: Path, how: str) -> tuple[int, set[str]]:
    """Return the application id and the names of the tables; libraries of before have no id.

    Only by SQLite: a file that a process opens itself loses, when it is closed, all locks that the process has on it.
    """
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return int(application), {str(name) for (name,) in rows}
    finally:
        connection.close()
