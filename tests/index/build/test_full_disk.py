"""The disk is full at the n-th write of a build, for every n: the library can be read, the next build completes it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from index.build.build import build_index
from index.check import check
from index.database.connection import Connection, as_library_error
from index.database.database import Database, NoLibraryError
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.errors import LibraryError


class Disk:
    """Lets `room` statements that write, and files that take their place, pass; then it is full."""

    def __init__(self, room: int) -> None:
        self.room, self.full = room, False

    def take(self, path: Path, error: Exception) -> None:
        self.room -= 1
        if self.room < 0:
            self.full = True
            raise as_library_error(path, error) if isinstance(error, sqlite3.Error) else error

    def statement(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(connection: Connection, sql: str, *values: Any) -> Any:
            if sql.split()[0] not in ("SELECT", "PRAGMA", "BEGIN"):
                self.take(connection.path, sqlite3.OperationalError("database or disk is full"))
            return real(connection, sql, *values)

        return run

    def replace(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(path: Path, target: Path) -> Any:
            self.take(path, OSError(errno.ENOSPC, "No space left on device"))
            return real(path, target)

        return run


def rows(library: Database) -> dict[str, tuple[str | None, bytes]]:
    found = {}
    for one in library.read.dates_under("/"):
        found[one.path] = library.read.pictures([one.id])[one.id].caption, library.read.vectors([one.id])[1].tobytes()
    return found


def build(place: Path, photos: Path, model: FakeDescriber) -> None:
    with Database.open(place, create=True) as library:
        build_index(library, [photos], model, batch=2, graph_from=1, threads=1)


def test_the_disk_is_full_at_every_write(tmp_path: Path, describer: FakeDescriber) -> None:
    photos = tmp_path / "photos"
    draw_folder(photos, 4)
    (photos / "001x.png").write_bytes(b"broken")
    build(tmp_path / "whole", photos, describer)
    with Database.open(tmp_path / "whole") as library:
        wanted = rows(library)
    tried = 0
    while True:
        place, disk = tmp_path / f"library{tried}", Disk(tried)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "execute", disk.statement(Connection.execute))
            patch.setattr(Connection, "execute_many", disk.statement(Connection.execute_many))
            patch.setattr(Path, "replace", disk.replace(Path.replace))
            try:
                build(place, photos, describer)
            except LibraryError as error:
                assert "is full" in str(error) and "goes on from here" in error.hint
        if not disk.full:
            break
        tried += 1
        readable(place, wanted)
        build(place, photos, describer)
        with Database.open(place) as library:
            assert rows(library) == wanted and check(library, graph_from=1).findings == (), tried
    assert tried > 60


def readable(place: Path, wanted: dict[str, tuple[str | None, bytes]]) -> None:
    """What a build wrote before the disk was full is there, and nothing else."""
    try:
        with Database.open(place, read_only=True) as library:
            assert library.read.integrity(1) == []
            assert rows(library).items() <= wanted.items()
    except NoLibraryError:
        with closing(sqlite3.connect(place)) as empty:
            assert empty.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
