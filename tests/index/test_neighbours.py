"""Files next to a library that vsearch did not make stay as they are, whatever their names."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.caches.sealed_file import may_replace
from index.check import check
from index.database.database import Database
from index.forget import forget
from index.paths import neighbours
from index.search.searcher import Searcher
from tests.support import searching
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.errors import LibraryError

FOREIGN = b"my own notes, and no cache of anything\n" * 50
CACHE_NAMES = [".vectors", ".mixed", ".graph", ".mixed-graph"]
OTHER_NAMES = [".thing.tmp", ".vectors.tmp", ".vectors.xyz.tmp", "-notes.txt", "2", ".vectors.old"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 5)
    return tmp_path / "photos"


def named(library: Path, ending: str) -> Path:
    return library.with_name(library.name + ending)


def everything(place: Path, photos: Path, describer: FakeDescriber, *, graph_from: int) -> None:
    """Build, search both ways, check, build again, forget."""
    describer.scores = type(describer.scores)(caption_weight=0.3)
    with Database.open(place, create=True) as library:
        build_index(library, [photos], describer, graph_from=graph_from)
        for weight in (0.0, 0.3):
            searcher = Searcher(library, describer.scores, graph_from=graph_from, graph_after=0)
            assert searching.ask(searcher, np.ones(describer.dim, np.float32), 3, weight=weight)
        check(library, graph_from=graph_from)
        (photos / "000.png").unlink()
        build_index(library, [photos], describer, graph_from=graph_from)
        forget(library, [photos])


@pytest.mark.parametrize("graph_from", [1, 1000])
@pytest.mark.parametrize("ending", [*CACHE_NAMES, *(name + ".proof" for name in CACHE_NAMES), *OTHER_NAMES])
def test_what_others_made_is_neither_deleted_nor_replaced(
    tmp_path: Path,
    photos: Path,
    describer: FakeDescriber,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    graph_from: int,
) -> None:
    monkeypatch.setattr("index.caches.sealed_file.PROOF_FROM", 1)  # as if the caches were large: proofs are written
    foreign = named(tmp_path / "pics", ending)
    foreign.write_bytes(FOREIGN)
    everything(tmp_path / "pics", photos, describer, graph_from=graph_from)
    assert foreign.read_bytes() == FOREIGN


def test_what_is_in_the_way_is_said(tmp_path: Path, photos: Path, describer: FakeDescriber) -> None:
    foreign = named(tmp_path / "pics", ".vectors")
    foreign.write_bytes(FOREIGN)
    with Database.open(tmp_path / "pics", create=True) as library:
        build_index(library, [photos], describer)
        (finding,) = check(library).findings
    assert str(foreign) in finding.message and finding.remedy == "move it aside"


def test_a_lock_of_somebody_else_is_no_lock_of_ours(tmp_path: Path, photos: Path, describer: FakeDescriber) -> None:
    foreign = named(tmp_path / "pics", ".lock")
    foreign.write_bytes(FOREIGN)
    with (
        Database.open(tmp_path / "pics", create=True) as library,
        pytest.raises(LibraryError, match="another program's file"),
    ):
        build_index(library, [photos], describer)
    assert foreign.read_bytes() == FOREIGN


def test_our_own_caches_are_known_by_either_end(tmp_path: Path, photos: Path, describer: FakeDescriber) -> None:
    describer.scores = type(describer.scores)(caption_weight=0.3)
    with Database.open(tmp_path / "pics", create=True) as library:
        build_index(library, [photos], describer, graph_from=1)
    for ending in CACHE_NAMES:
        path = named(tmp_path / "pics", ending)
        data = path.read_bytes()
        assert path in neighbours(tmp_path / "pics")
        for left in (data, data[: len(data) // 2], bytes(64) + data[64:], bytes(len(data)), b""):
            path.write_bytes(left)
            assert may_replace(path), ending
        for other in (FOREIGN, data[100:200], b"\1" + bytes(100)):
            path.write_bytes(other)
            assert not may_replace(path), ending


# ---- what is no library


def others_database(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("CREATE TABLE places (name TEXT)", "INSERT INTO places VALUES ('Rome')", *statements):
        connection.execute(statement)
    connection.close()


def state(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("how", ["plain", "wal", "marked", "text"])
@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_another_programs_file_is_not_touched(tmp_path: Path, how: str, create: bool, read_only: bool) -> None:
    path = tmp_path / "places.sqlite"
    more = {"wal": ["PRAGMA journal_mode = WAL"], "marked": ["PRAGMA application_id = 1234"]}
    if how == "text":
        path.write_bytes(FOREIGN)
    else:
        others_database(path, *more.get(how, []))
    before = state(tmp_path)
    with pytest.raises(LibraryError, match="not a library of vsearch") as caught:
        Database.open(path, create=create, read_only=read_only)
    assert "rm " not in caught.value.hint
    assert state(tmp_path) == before


def test_another_programs_log_is_not_touched(tmp_path: Path) -> None:
    """Its tables are in the log only: a process was killed, or holds it open."""
    path = tmp_path / "places.sqlite"
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE t (x)'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    before = state(tmp_path)
    assert before["places.sqlite-wal"]
    with pytest.raises(LibraryError, match="not a library of vsearch"):
        Database.open(path, create=True)
    after = state(tmp_path)
    assert {name: after[name] for name in ("places.sqlite", "places.sqlite-wal")} == {
        name: before[name] for name in ("places.sqlite", "places.sqlite-wal")
    }


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
def test_logs_without_a_library_are_not_touched(tmp_path: Path, ending: str) -> None:
    log = named(tmp_path / "pics", ending)
    log.write_bytes(FOREIGN)
    with pytest.raises(LibraryError, match=f"pics{ending} belongs to a database that is gone"):
        Database.open(tmp_path / "pics", create=True)
    assert state(tmp_path) == {log.name: FOREIGN}


def test_a_folder_a_pipe_and_a_device_are_no_library(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "a folder"), (tmp_path / "pipe", "no regular"), (Path("/dev/null"), "no regular")):
        for create in (False, True):
            with pytest.raises(LibraryError, match=f"is {words}") as caught:
                Database.open(path, create=create)
            assert caught.value.hint == "name the file of a library"


def test_a_library_of_before_the_mark_gets_it(tmp_path: Path, photos: Path, describer: FakeDescriber) -> None:
    with Database.open(tmp_path / "pics", create=True) as library:
        build_index(library, [photos], describer)
        library.connection.execute("PRAGMA application_id = 0")
    with Database.open(tmp_path / "pics") as library:
        build_index(library, [photos], describer)
        assert library.connection.value("PRAGMA application_id") == 0x76737263
        assert library.read.count() == 5


# ---- who may read


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.fixture
def open_umask() -> Iterator[None]:
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_reads_a_library_and_what_is_next_to_it(
    tmp_path: Path, photos: Path, describer: FakeDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.caches.sealed_file.PROOF_FROM", 1)
    describer.scores = type(describer.scores)(caption_weight=0.3)
    data = tmp_path / "home" / "share"
    with Database.open(data / "vsearch" / "pics", create=True) as library:
        build_index(library, [photos], describer, graph_from=1)
        seen = modes(tmp_path / "home")
    assert {"share/vsearch/pics-wal", "share/vsearch/pics-shm", "share/vsearch/pics.lock"} <= seen.keys()
    assert {f"share/vsearch/pics{name}" for name in CACHE_NAMES} <= seen.keys()
    assert any(name.endswith(".proof") for name in seen)
    assert {name: mode for name, mode in seen.items() if mode & 0o077} == {}


@pytest.mark.usefixtures("open_umask")
def test_a_library_that_its_owner_shares_stays_shared(tmp_path: Path, photos: Path, describer: FakeDescriber) -> None:
    """Caches and lock follow the mode of the library."""
    Database.open(tmp_path / "home" / "pics", create=True).close()
    (tmp_path / "home" / "pics").chmod(0o640)
    with Database.open(tmp_path / "home" / "pics") as library:
        build_index(library, [photos], describer, graph_from=1)
        assert set(modes(tmp_path / "home").values()) == {0o640}


def test_looking_at_a_library_takes_no_lock_of_the_process_away(
    tmp_path: Path, photos: Path, describer: FakeDescriber
) -> None:
    """POSIX: a process that closes a file loses all its locks on it. Another process must find ours still there."""
    place = tmp_path / "pics"
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None);"
        "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute(sys.argv[2])"
    )

    def locked(file: Path, statement: str) -> bool:
        done = subprocess.run([sys.executable, "-c", script, file, statement], capture_output=True, check=False)
        return b"locked" in done.stderr

    with Database.open(place, create=True) as library:
        build_index(library, [photos], describer)
        with library.building():
            with Database.open(place, read_only=True):
                pass
            with pytest.raises(LibraryError), Database.open(place) as other, other.building():
                pass
            assert locked(named(place, ".lock"), "BEGIN EXCLUSIVE")
            assert locked(place, "PRAGMA journal_mode = DELETE")


@pytest.mark.parametrize("damage", ["text", "magic only", "others, malformed"])
def test_no_remedy_removes_what_lacks_our_mark(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "notes.db"
    others_database(path)
    data = bytearray(path.read_bytes())
    if damage == "others, malformed":
        data[100:1000] = os.urandom(900)
    path.write_bytes({"text": FOREIGN, "magic only": b"SQLite format 3\0" + bytes(4000)}.get(damage, bytes(data)))
    for create in (False, True):
        with pytest.raises(LibraryError, match="not a library") as caught:
            Database.open(path, create=create)
        assert "os." not in caught.value.hint and "name another file" in caught.value.hint


def test_a_damaged_library_is_moved_aside_by_its_exact_names(
    tmp_path: Path, photos: Path, describer: FakeDescriber
) -> None:
    place = tmp_path / "pics"
    with Database.open(place, create=True) as library:
        build_index(library, [photos], describer)
    data = bytearray(place.read_bytes())
    data[100:1000] = bytes(900)
    place.write_bytes(data)
    with pytest.raises(LibraryError, match="damaged") as caught:
        Database.open(place)
    assert f"[os.rename(file, file + '.aside') for file in ['{place}']]" in caught.value.hint
