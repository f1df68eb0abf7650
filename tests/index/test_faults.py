"""What can go wrong around a library: nothing is lost, nothing wrong is returned, and the message says what to do.

Killed builds are in test_index_kill.py, malformed pictures in test_vsearch_malformed.py.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from index.build import build as building
from index.build.build import build_index
from index.build.plan import Plan
from index.build.report import Report
from index.caches.refresh import graph_path
from index.caches.vectors import arrays_path
from index.check import check
from index.commands.search import hit_row
from index.database.database import Database
from index.page.page import write_page
from index.paths import beside
from index.search.searcher import Hit, Searcher
from tests.support import searching
from tests.support.pictures import FakeDescriber, draw, draw_folder
from vsearch.errors import LibraryError

ROOT = Path(__file__).resolve().parents[2]
QUERY = np.linspace(-1, 1, 13, dtype=np.float32)
Answer = list[tuple[str, float, str | None]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 12)
    return tmp_path / "photos"


@pytest.fixture
def place(tmp_path: Path, photos: Path) -> Path:
    """A whole library of twelve pictures, with array and graph."""
    path = tmp_path / "library.sqlite3"
    build(path, photos)
    return path


def build(path: Path, *folders: Path, batch: int = 32) -> Report:
    with Database.open(path, create=True) as library:
        return build_index(library, folders, FakeDescriber(), batch=batch, graph_from=5)


def ask(path: Path, graph_from: int = 10**6) -> Answer:
    """All pictures of a library as a search sees them: path, score, caption."""
    with Database.open(path, read_only=True) as library:
        return told(searching.ask(Searcher(library, graph_from=graph_from, graph_after=0), QUERY, 100))


def told(hits: list[Hit]) -> Answer:
    return [(hit.path, round(hit.score, 6), hit.caption) for hit in hits]


def names(answer: Answer) -> set[str]:
    return {Path(path).name for path, *_ in answer}


# ---- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A disk of its own in memory at tmp_path/disk, and a function that mounts it again with other options."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0

    if not mount("size=300k"):
        pytest.skip("no right to mount a disk")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_disk_full_while_building(tmp_path: Path, small_disk: Callable[[str], None]) -> None:
    draw_folder(tmp_path / "photos", 60)
    path = tmp_path / "disk" / "library.sqlite3"
    with pytest.raises(LibraryError, match=r"the disk of .* is full") as caught:
        build(path, tmp_path / "photos", batch=1)
    assert "free some space" in caught.value.hint
    build(tmp_path / "whole", tmp_path / "photos")
    half, whole = ask(path), ask(tmp_path / "whole")
    assert 0 < len(half) < 60 and set(half) <= set(whole)
    with pytest.raises(OSError, match="No space"), (tmp_path / "disk" / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    assert ask(path) == half  # not a byte is free
    small_disk("size=4m")
    report = build(path, tmp_path / "photos")
    assert (report.added, report.unchanged) == (60 - len(half), len(half))  # it goes on from there
    assert ask(path) == ask(path, 5) == whole


def test_disk_full_in_the_database(tmp_path: Path, photos: Path) -> None:
    """The same without a disk: SQLite is not given more pages, and says what it says on a full disk."""
    path = tmp_path / "library.sqlite3"
    with Database.open(path, create=True) as library:
        library.connection.execute(f"PRAGMA max_page_count = {int(library.connection.value('PRAGMA page_count')) + 1}")
        draw_folder(photos, 60, first=100)
        with pytest.raises(LibraryError, match="is full"):
            build_index(library, [photos], FakeDescriber(), batch=1)
        assert library.connection.value("PRAGMA integrity_check") == "ok"
    half = ask(path)
    report = build(path, photos)
    assert 0 < len(half) and (report.added, report.unchanged) == (72 - len(half), len(half))
    assert set(half) <= set(ask(path))


def test_a_limit_on_files_ends_a_build_with_a_message(tmp_path: Path, photos: Path) -> None:
    """What a quota does to SQLite: a write fails with another error than on a full disk."""
    path = tmp_path / "library.sqlite3"
    code = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.index.test_faults import build
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))
build(Path({str(path)!r}), Path({str(photos)!r}), batch=1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"LibraryError: {path} cannot be read or written (disk I/O error)" in done.stderr
    assert 0 < len(ask(path)) < 12
    build(path, photos)
    assert len(ask(path)) == 12


def test_disk_full_in_the_caches(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are all there; the caches do without, and the next build makes them."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "library.sqlite3"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        assert build(path, photos).added == 12
        assert [p.name for p in tmp_path.glob("library.sqlite3.*")] == ["library.sqlite3.lock"]
        answer = ask(path, 5)
    build(tmp_path / "whole", photos)
    assert answer == ask(tmp_path / "whole")
    build(path, photos)
    with Database.open(path) as library:
        assert arrays_path(library).exists() and graph_path(library).exists()


# ---- a library that cannot be written


def forbidden(path: Path, photos: Path) -> None:
    """Searches answer as before, whatever caches there are; a build says that it cannot write, and changes nothing."""
    before = ask(path)
    assert before == ask(path, 5) and len(before) == 12
    with pytest.raises(LibraryError, match="cannot be written") as caught:
        build(path, photos)
    assert "writable" in caught.value.hint
    assert ask(path) == ask(path, 5) == before


def test_read_only_disk(tmp_path: Path, photos: Path, small_disk: Callable[[str], None]) -> None:
    disk = tmp_path / "disk"
    build(disk / "library.sqlite3", photos)
    small_disk("ro")
    forbidden(disk / "library.sqlite3", photos)
    small_disk("rw")
    for cache in disk.glob("library.sqlite3.*"):
        cache.unlink()
    small_disk("ro")
    forbidden(disk / "library.sqlite3", photos)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; root has the test above")
def test_read_only_file_and_folder(place: Path, photos: Path) -> None:
    place.chmod(0o444)
    forbidden(place, photos)
    place.parent.chmod(0o555)
    try:
        forbidden(place, photos)
    finally:
        place.parent.chmod(0o755)


# ---- damaged files


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero_payload(path: Path) -> None:
    """All but the footer, which still fits."""
    data = path.read_bytes()
    path.write_bytes(bytes(300) + data[300:])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [truncate, zero, empty, zero_payload, replace_by_folder])
@pytest.mark.parametrize("cache", ["array", "graph"])
def test_damaged_caches(place: Path, photos: Path, cache: str, harm: Callable[[Path], None]) -> None:
    before = ask(place)
    with Database.open(place) as library:
        victim = arrays_path(library) if cache == "array" else graph_path(library)
    assert ask(place, 5) == before and victim.exists()
    harm(victim)
    assert ask(place, 5) == ask(place) == before
    if victim.is_dir():
        victim.rmdir()
    build(place, photos)
    assert ask(place, 5) == before
    with Database.open(place) as library:
        assert check(library, graph_from=5).findings == ()


def damaged(path: Path, data: bytes) -> None:
    """Put these bytes in place of a library, without what else lay there."""
    for old in path.parent.glob(path.name + "*"):
        old.unlink()
    path.write_bytes(data)


def test_corrupted_pages(tmp_path: Path, place: Path, photos: Path) -> None:
    """Every page in turn, as zeros and as noise, the header too: a search and a build are right or say what is wrong.

    A build may mend nothing, and writes no wrong row: what it wrote is compared too.
    """
    before, data, rng = ask(place), place.read_bytes(), Random(0)
    path, raised = tmp_path / "damaged.sqlite3", 0
    for page in range(len(data) // 4096):
        for noise in (bytes(4096), rng.randbytes(4096), data[4096 * page + 2048 :][:2048] * 2):
            damaged(path, data[: 4096 * page] + noise + data[4096 * (page + 1) :])
            for attempt in (ask, lambda path: build(path, photos), ask):
                try:
                    answer = attempt(path)
                    assert not isinstance(answer, list) or answer == before
                except LibraryError as error:
                    raised += 1
                    assert str(path) in str(error)
                    assert "damaged" in str(error) or "no library" in str(error) or "not a library" in str(error)
    assert raised > len(data) // 4096


def test_single_bits(tmp_path: Path, place: Path) -> None:
    """SQLite takes a changed bit inside a value as it is; still nothing but a LibraryError ever comes out.

    These were once a KeyError (a vector without its picture), a TypeError (a number for a path, nothing for a vector)
    and a UnicodeDecodeError (a table whose name is no text).
    """
    data, rng = place.read_bytes(), Random(0)
    path, raised = tmp_path / "damaged.sqlite3", 0
    for _ in range(150):
        changed = bytearray(data)
        page = rng.randrange(len(data) // 4096) * 4096
        for _ in range(rng.randint(1, 60)):
            changed[page + rng.randrange(4096)] ^= 1 << rng.randrange(8)
        damaged(path, bytes(changed))
        try:
            ask(path)
        except LibraryError:
            raised += 1
    assert 0 < raised < 150


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TRIGGER forget; DELETE FROM pictures WHERE id = 3",  # a vector without its picture
        "UPDATE pictures SET path = 7 WHERE id = 3",
        "UPDATE pictures SET caption = CAST(x'ff' AS TEXT) WHERE id = 3",
        "UPDATE vectors SET vector = 'words' WHERE id = 3",
        "UPDATE vectors SET vector = 12 WHERE id = 3",
    ],
)
def test_rows_that_cannot_be(place: Path, sql: str) -> None:
    with sqlite3.connect(place) as other:
        other.executescript(sql)
    other.close()
    with Database.open(place) as library:
        arrays_path(library).unlink()
    with pytest.raises(LibraryError, match="is damaged") as caught:
        ask(place)
    assert "restore it from a copy" in caught.value.hint


# ---- locks of other processes

HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    held.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Start a process that runs SQL on a library and keeps what it locked until the test ends."""
    monkeypatch.setattr("index.database.connection.BUSY_SECONDS", 0.05)
    holders: list[subprocess.Popen[str]] = []

    def start(path: Path, *statements: str) -> None:
        command = [sys.executable, "-c", HOLDER, str(path), *statements]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout and holder.stdout.readline() == "held\n"

    yield start
    for holder in holders:
        holder.communicate("")


def test_a_write_lock_stops_builds_and_no_search(place: Path, photos: Path, hold: Callable[..., None]) -> None:
    before = ask(place)
    hold(place, "BEGIN IMMEDIATE", "DELETE FROM pictures")
    draw(50).save(photos / "new.png")
    with pytest.raises(LibraryError, match="locked by another process") as caught:
        build(place, photos)
    assert "wait" in caught.value.hint
    assert ask(place) == ask(place, 5) == before


def test_a_lock_on_reading_is_named(place: Path, hold: Callable[..., None]) -> None:
    hold(place, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE")
    with pytest.raises(LibraryError, match="locked by another process"):
        ask(place)


def test_a_file_that_changes_is_never_read_as_it_lies(place: Path, hold: Callable[..., None]) -> None:
    """Another program took the library out of write-ahead mode: there is no log, and pages are changed in place."""
    hold(place, "PRAGMA journal_mode = DELETE", "PRAGMA cache_size = 1", "BEGIN EXCLUSIVE", "DELETE FROM pictures")
    assert not beside(place, "-wal").exists()
    with pytest.raises(LibraryError, match="locked by another process"):
        ask(place)


def test_a_build_that_runs_is_named(place: Path, photos: Path) -> None:
    with Database.open(place) as other, other.building(), pytest.raises(LibraryError, match="another build is writing"):
        build(place, photos)


# ---- clocks


@pytest.mark.parametrize("second", [-(2**31), -1, 0, 2**31, 2**33])
def test_dates_before_1970_and_in_the_future(tmp_path: Path, photos: Path, second: int) -> None:
    for path in photos.iterdir():
        os.utime(path, ns=(second * 10**9 + 1, second * 10**9 + 1))
    library = tmp_path / "library.sqlite3"
    assert build(library, photos).added == 12
    assert build(library, photos).unchanged == 12
    os.utime(photos / "003.png", ns=(second * 10**9, second * 10**9))
    draw(60).save(photos / "004.png")
    os.utime(photos / "004.png", ns=(second * 10**9 - 1, second * 10**9 - 1))  # changed, and older than before
    report = build(library, photos)
    assert (report.updated, report.unchanged, report.encoded) == (1, 11, 1)
    assert len(ask(library)) == 12


def test_a_clock_that_runs_backwards(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each build ten years before the last, with pictures as old: all are found, and caches are trusted no longer."""
    path, now = tmp_path / "library.sqlite3", time.time()
    monkeypatch.setattr("index.caches.sealed_file.PROOF_FROM", 1)  # as if the caches were large: proofs note the time
    for step in range(3):
        then = now - step * 10 * 365 * 86400
        monkeypatch.setattr(time, "time", lambda then=then: then)
        for name in (f"step{step}.png", "000.png"):
            draw(70 + step + 10 * (name == "000.png")).save(photos / name)
            os.utime(photos / name, (then, then))
        report = build(path, photos)
        assert (report.added, report.updated) == ((13, 0) if step == 0 else (1, 1))
        assert report.seconds >= 0
        build(tmp_path / f"fresh{step}", photos)
        assert ask(path) == ask(path, 5) == ask(tmp_path / f"fresh{step}")
    with Database.open(path) as library:
        zero_payload(arrays_path(library))
    assert ask(path) == ask(tmp_path / "fresh2")


# ---- names


def test_names_of_every_kind_reach_the_reader(tmp_path: Path) -> None:
    """Newlines, bytes that are no UTF-8, four-byte characters: from the disk to JSON, to paths and to the page."""
    odd = [
        "new\nline",
        os.fsdecode(b"inv\xffalid"),
        "📷𝒜",
        "tab\t\x1b[31m",
        "<b>&'\"",
        "a" * 200,
        os.fsdecode(b"\xed\xa0\x80"),
    ]
    folder = tmp_path / os.fsdecode(b"\xf0\x9f\x93\xb7 \xfe\n")
    folder.mkdir()
    for number, name in enumerate(odd):
        draw(number).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(folder / f"{name}.png")
    (folder / "broken\n\udcff.png").write_bytes(b"no picture")
    path = tmp_path / os.fsdecode(b"library \xff\n\xf0\x9f\x93\xb7")
    report = build(path, folder)
    assert report.added == len(odd) and [name for name, _ in report.skipped] == [str(folder / "broken\n\udcff.png")]
    expected = {str(folder / f"{name}.png") for name in odd}
    with Database.open(path, read_only=True) as library:
        for graph_from in (5, 10**6):
            searcher = Searcher(library, graph_from=graph_from, graph_after=0)
            hits = searching.ask(searcher, QUERY, 50, within=folder)
            assert {hit.path for hit in hits} == expected
    text = json.dumps([hit_row(hit, {}) for hit in hits], indent=2)
    text.encode("ascii")
    assert {row["path"] for row in json.loads(text)} == expected
    write_page(tmp_path / "page.html", "new\nline \udcff 📷", hits)
    page = (tmp_path / "page.html").read_bytes().decode("utf-8")  # strictly
    assert page.count("data:image/jpeg") == len(odd) and "<b>" not in page


# ---- folders that play tricks


def test_loops_of_links(tmp_path: Path, photos: Path) -> None:
    deep = photos / "a" / "b"
    draw_folder(deep, 2, first=50)
    (deep / "up").symlink_to(photos)
    (deep / "here").symlink_to(".")
    (photos / "self").symlink_to("self")
    (photos / "ping.png").symlink_to("pong.png")
    (photos / "pong.png").symlink_to("ping.png")
    path = tmp_path / "library.sqlite3"
    report = build(path, photos)
    assert (report.added, report.skipped) == (14, [])
    assert {Path(place).name for place, reason in report.unreadable} == {"self", "ping.png", "pong.png"}
    assert {reason for _, reason in report.unreadable} == {"too many levels of symbolic links"}
    assert len(ask(path)) == len(names(ask(path))) == 14


def test_a_folder_that_becomes_a_loop_loses_nothing(tmp_path: Path, photos: Path) -> None:
    draw_folder(photos / "deep", 2, first=50)
    path = tmp_path / "library.sqlite3"
    build(path, photos)
    before = ask(path)
    (photos / "deep").rename(tmp_path / "away")
    (photos / "deep").symlink_to("deep")
    report = build(path, photos)
    assert (report.removed, len(report.unreadable)) == (0, 1)
    assert ask(path) == before


@pytest.mark.parametrize("gone", ["deep", "."])
def test_a_folder_that_vanishes_during_the_walk(
    tmp_path: Path, photos: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was listed, and is gone when it is looked into: what was known below it stays until a walk misses it."""
    draw_folder(photos / "deep", 3, first=50)
    draw_folder(tmp_path / "other", 1, first=90)
    path = tmp_path / "library.sqlite3"
    build(path, photos, tmp_path / "other")
    before, real = ask(path), os.scandir

    def vanishing(folder: str) -> object:
        if folder == str(photos / "deep"):
            shutil.rmtree(photos / gone)
        return real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", vanishing)
        report = build(path, photos, tmp_path / "other")
    assert report.removed == 0 and report.unreadable == [(str(photos / "deep"), "no such folder")]
    assert ask(path) == before
    if gone == "deep":
        assert build(path, photos, tmp_path / "other").removed == 3
        assert names(ask(path)) == names(before) - {"050.png", "051.png", "052.png"}


def test_a_folder_that_vanishes_before_it_is_read(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "library.sqlite3", building.make_plan

    def vanishing(*given: Any, **how: Any) -> Plan:
        shutil.rmtree(photos)
        return real(*given, **how)

    monkeypatch.setattr(building, "make_plan", vanishing)
    report = build(path, photos)
    assert report.added == 0 and len(report.skipped) == 12
    assert {reason for _, reason in report.skipped} == {"vanished while it was read"}
    assert ask(path) == []


# ---- twenty searches while a build writes


class Slow(FakeDescriber):
    """Waits in every batch until some searches have been answered."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__()
        self.answers = answers

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        wanted, end = len(self.answers) + 8, time.monotonic() + 20
        while len(self.answers) < wanted and time.monotonic() < end:
            time.sleep(0.002)
        return super().describe(pixels, captions)


def test_twenty_searches_during_a_build(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them keep their searcher, half open the library again: each answer is that of one moment, and right."""
    monkeypatch.setattr("index.caches.refresh.STALE_ROWS", 4)  # arrays and graphs are replaced on the way
    path, answers, failures = tmp_path / "library.sqlite3", [ask(place_of(tmp_path, photos))], list[BaseException]()
    for number in range(3):
        (photos / f"{number:03d}.png").unlink()
    draw_folder(photos, 40, first=100)
    done = threading.Event()

    def keep_asking(number: int) -> None:
        try:
            with Database.open(path, read_only=True) as library:
                searcher = Searcher(library, graph_from=5 if number % 4 < 2 else 10**6, graph_after=0)
                while not done.is_set():
                    answers.append(told(searching.ask(searcher, QUERY, 100)) if number % 2 else ask(path, 5))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    with Database.open(path) as library:
        build_index(library, [photos], Slow(answers), batch=5, graph_from=5)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    right = {*answers[0], *ask(path)}  # pictures removed and pictures added; none changed
    for answer in answers:
        assert set(answer) <= right and len(set(answer)) == len(answer)
        assert answer == sorted(answer, key=lambda hit: (-hit[1], os.fsencode(hit[0])))
    assert len({len(answer) for answer in answers}) > 4  # of many moments
    assert len(ask(path)) == 49


def place_of(tmp_path: Path, photos: Path) -> Path:
    build(tmp_path / "library.sqlite3", photos)
    return tmp_path / "library.sqlite3"
