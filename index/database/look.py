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
    for how in ("mode=ro&immutable=1", "mode=ro"):  # the first leaves no trace, but does not see the log
        try:
            if _is_library(path, how):
                return
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                remedy = "name another file; if this was a library, restore it from a copy"
                raise LibraryError(f"{path} is not a library of vsearch", remedy) from None
            if how == "mode=ro" or not beside(path, "-wal").exists():
                if "malformed" not in str(error) or _has_mark(path):
                    raise
                remedy = "name another file; if this was a library, restore it from a copy"
                raise LibraryError(f"{path} is damaged or not a library of vsearch ({error})", remedy) from None
        if not beside(path, "-wal").exists():
            break
    raise LibraryError(f"{path} is not a library of vsearch, but another program's database", "name another file")


def _has_mark(path: Path) -> bool:
    """Tell whether a damaged file bears our application id all the same."""
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1", uri=True)
    try:
        return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION)
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()


def _is_library(path: Path, how: str) -> bool:
    """Tell whether a database bears our application id; those of before have none, but are known by their tables.

    One without id and tables holds nothing: it is what a build leaves that is killed before its first transaction.

    Only by SQLite: a file that a process opens itself loses, when it is closed, all locks that the process has on it.
    """
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application:
            return bool(application == APPLICATION)
        tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return tables >= _TABLES or not (tables or _is_logged(path))
    finally:
        connection.close()


def _is_logged(path: Path) -> bool:
    """Tell whether a database has a log that holds something, which may be tables."""
    log = beside(path, "-wal")
    return log.exists() and bool(log.stat().st_size)
