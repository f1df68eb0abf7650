"""A library that is watched: what arrives is found, what is renamed is not encoded again, what is away is not lost."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index.build import events, watch
from index.build.build import Part, build_index
from index.build.events import Broken, Events, Mount, mounted_below
from index.build.report import Report
from index.build.watch import Doors, Watch
from index.database.connection import BusyError
from index.database.database import Database
from tests.index.metadata.test_notes import packet
from tests.support.media import clip
from tests.support.pictures import FakeDescriber, draw, draw_folder
from vsearch.errors import VsearchError
from vsearch.image.kinds import VIDEOS

pytest.importorskip("watchfiles", reason="needs the extra watch")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"REST": 0.15, "TICK": 0.03, "IDLE": 0.05, "PATIENCE": 1.0, "BUSY": 0.05, "POLL": 0.1}.items():
        monkeypatch.setattr(watch, name, seconds)
    monkeypatch.setattr(events, "STEP", 20)


class Watched:
    """A library of a folder of three pictures, watched from the first build on; `next` waits for a change."""

    def __init__(self, library: Database, folder: Path, *, poll: float | None = None, **how: float) -> None:
        self.library, self.folder, self.model, self.said = library, folder, FakeDescriber(), list[str]()
        self.parts: list[Part] = []
        self.busy = 0
        self.how = how
        self.end = threading.Event()
        doors = Doors(
            build=self.build,
            knows=lambda path: bool(library.read.dates_under(path)),
            mounts=lambda: library.read.mounts(),
            own=str(library.path),
            say=self.said.append,
        )
        self.reports: Iterator[Report] = iter(Watch([str(folder)], doors, poll=poll, stop=self.end))
        timer = threading.Timer(20, self.end.set)  # a test that waits in vain fails with StopIteration
        timer.daemon = True
        timer.start()
        self.first = next(self.reports)

    def build(self, part: Part) -> Report:
        self.parts.append(part)
        if self.busy and part.paths is not None:
            self.busy -= 1
            raise BusyError("another build is writing", "")
        return build_index(self.library, [self.folder], self.model, part=part, **self.how)  # type: ignore[arg-type]

    def next(self) -> dict[str, int]:
        return counts(next(self.reports))

    def until(self, total: int) -> dict[str, int]:
        """What the builds did until there are so many pictures."""
        done: dict[str, int] = {}
        while self.library.read.count() != total:
            for name, number in self.next().items():
                done[name] = done.get(name, 0) + number
        done.pop("total", None)
        return done

    def names(self) -> set[str]:
        return {os.path.relpath(dates.path, self.folder) for dates in self.library.read.dates_under("/")}


def counts(report: Report) -> dict[str, int]:
    fields = ("added", "updated", "moved", "removed", "encoded")
    return {name: getattr(report, name) for name in fields if getattr(report, name)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 3)
    return tmp_path / "photos"


@pytest.fixture
def begin(library: Database, photos: Path) -> Iterator[Callable[..., Watched]]:
    begun: list[Watched] = []

    def start(**how: float | None) -> Watched:
        begun.append(Watched(library, photos, **how))  # type: ignore[arg-type]
        return begun[-1]

    yield start
    for one in begun:
        one.end.set()
        one.reports.close()  # type: ignore[attr-defined]


def test_a_new_photo_a_changed_one_and_one_that_goes(begin: Callable[..., Watched], photos: Path) -> None:
    watched = begin()
    assert watched.first.added == 3
    draw(7).save(photos / "new.png")
    assert watched.next() == {"added": 1, "encoded": 1}
    assert watched.parts[-1].paths == [str(photos / "new.png")]
    draw(8).save(photos / "000.png")
    assert watched.next() == {"updated": 1, "encoded": 1}
    (photos / "001.png").unlink()
    assert watched.next() == {"removed": 1}
    assert watched.names() == {"000.png", "002.png", "new.png"}


def test_renames_encode_nothing(begin: Callable[..., Watched], photos: Path) -> None:
    watched = begin()
    (photos / "000.png").rename(photos / "zero.png")
    assert watched.next() == {"moved": 1}
    (photos / "deep").mkdir()
    (photos / "001.png").rename(photos / "deep" / "one.png")
    assert watched.next() == {"moved": 1}
    (photos / "deep").rename(photos / "deeper")
    assert watched.next() == {"moved": 1}
    assert watched.names() == {"zero.png", "002.png", "deeper/one.png"}
    assert watched.model.seen == 3


def test_a_burst(begin: Callable[..., Watched], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders of files that come at once; from some number on all is looked at."""
    monkeypatch.setattr(watch, "MANY", 50)
    watched = begin()
    draw_folder(tmp_path / "source", 60, first=10)
    for number in range(60):
        target = photos / f"folder{number % 3}" if number % 2 else photos
        target.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "source" / f"{number + 10:03d}.png", target)
    assert watched.until(63) == {"added": 60, "encoded": 60}
    shutil.rmtree(photos / "folder1")
    assert watched.until(53) == {"removed": 10}


def test_a_file_that_is_still_being_written_is_not_read(begin: Callable[..., Watched], photos: Path) -> None:
    watched = begin()
    draw(9, (200, 200)).save(photos.parent / "whole.png")
    data = (photos.parent / "whole.png").read_bytes()
    ended = threading.Event()

    def write() -> None:
        with (photos / "slow.png").open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 8):
                file.write(data[start : start + len(data) // 8])
                time.sleep(0.05)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    report = next(watched.reports)
    assert ended.is_set()
    writer.join()
    assert (counts(report), report.skipped) == ({"added": 1, "encoded": 1}, [])


def test_a_file_that_was_read_half_written_is_read_again(begin: Callable[..., Watched], photos: Path) -> None:
    watched = begin()
    draw(9, (200, 200)).save(photos.parent / "whole.png")
    data = (photos.parent / "whole.png").read_bytes()
    (photos / "half.png").write_bytes(data[: len(data) // 2])
    assert [Path(path).name for path, _ in next(watched.reports).skipped] == ["half.png"]
    with (photos / "half.png").open("ab") as file:
        file.write(data[len(data) // 2 :])
    assert watched.next() == {"added": 1, "encoded": 1}
    assert watched.library.read.skipped() == []


def test_what_was_being_written_when_it_began(library: Database, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first build reads half of it; what comes while that goes on is not missed."""
    draw(9).save(photos.parent / "whole.png")
    data = (photos.parent / "whole.png").read_bytes()
    (photos / "half.png").write_bytes(data[:-100])
    real = FakeDescriber.describe

    def writing(self: FakeDescriber, *given: Any, **how: Any) -> Any:
        (photos / "half.png").write_bytes(data)
        return real(self, *given, **how)

    monkeypatch.setattr(FakeDescriber, "describe", writing)
    watched = Watched(library, photos)
    assert (watched.first.added, len(watched.first.skipped)) == (3, 1)
    assert watched.next() == {"added": 1, "encoded": 1}
    watched.reports.close()  # type: ignore[attr-defined]


def test_a_disk_that_goes_and_comes_back(begin: Callable[..., Watched], photos: Path, library: Database) -> None:
    """The mount point is left empty; nothing is forgotten, and what is new is found once it is back."""
    watched = begin()
    library.write.set_folders([], [str(photos)])
    photos.rename(photos.parent / "disk")
    photos.mkdir()
    report = next(watched.reports)
    assert report.unreadable == [(str(photos), "empty: its disk is not mounted")]
    assert library.read.count() == 3
    photos.rmdir()
    draw(7).save(photos.parent / "disk" / "new.png")
    (photos.parent / "disk").rename(photos)
    assert watched.next() == {"added": 1, "encoded": 1}
    draw(8).save(photos / "newer.png")
    assert watched.next() == {"added": 1, "encoded": 1}
    assert watched.model.seen == 5


def test_a_folder_that_vanishes_and_comes_back(begin: Callable[..., Watched], photos: Path, library: Database) -> None:
    watched = begin()
    photos.rename(photos.parent / "away")
    assert next(watched.reports).unreadable == [(str(photos), "no such folder")]
    assert library.read.count() == 3
    draw(7).save(photos.parent / "away" / "new.png")
    (photos.parent / "away").rename(photos)
    assert watched.next() == {"added": 1, "encoded": 1}


def test_a_disk_that_is_mounted_inside_is_looked_at(
    begin: Callable[..., Watched], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in a folder changes when a disk is mounted there: the list of mounts does."""
    (photos / "card").mkdir()
    watched = begin()
    watched.parts.clear()
    monkeypatch.setattr(watch, "mounted_below", lambda folders: [Mount(str(photos / "card"), "vfat")])
    for number in (7, 8):
        draw(number).save(photos / f"other{number}.png")
        watched.next()
    assert str(photos / "card") in [path for part in watched.parts for path in part.paths or ()]


def test_the_list_of_mounts() -> None:
    if not os.path.ismount("/proc"):
        pytest.skip("/proc is no mount point here")
    assert ("/proc", "proc") in mounted_below(["/proc"])
    assert mounted_below(["/no/such"]) == []


def test_only_what_may_matter_is_looked_at(begin: Callable[..., Watched], photos: Path, library: Database) -> None:
    watched = begin()
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden.png").write_bytes(b"")
    (photos / ".folder").mkdir()
    draw(3).save(photos / ".folder" / "a.png")
    (photos / "library.sqlite3-wal").write_bytes(b"")
    watched.parts.clear()
    draw(7).save(photos / "new.png")
    (photos / "notes.txt").unlink()
    assert watched.next() == {"added": 1, "encoded": 1}
    assert [part.paths for part in watched.parts] == [[str(photos / "new.png")]]


def test_another_build_is_waited_for(begin: Callable[..., Watched], photos: Path) -> None:
    watched = begin()
    watched.busy = 2
    draw(7).save(photos / "new.png")
    assert watched.next() == {"added": 1, "encoded": 1}
    assert watched.said == ["another build is writing: waiting for its end"]


def test_all_files_are_looked_at_where_the_system_tells_nothing(
    begin: Callable[..., Watched], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Events, seconds: float) -> set[str]:
        raise Broken("OS file watch limit reached")

    monkeypatch.setattr(Events, "wait", full)
    (photos / "bad.png").write_bytes(b"bad")
    watched = begin()
    draw(7).save(photos / "new.png")
    assert watched.next() == {"added": 1, "encoded": 1}
    (photos / "new.png").unlink()
    report = next(watched.reports)  # and the bad file is not told each time
    assert (counts(report), report.skipped) == ({"removed": 1}, [])
    (line,) = watched.said
    assert "watch limit reached" in line and "every 0.1 seconds" in line


def test_polling_needs_no_package(begin: Callable[..., Watched], photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(VsearchError, match="needs watchfiles") as error:
        begin()
    assert "vsearch-photos[watch]" in error.value.hint
    watched = begin(poll=0.1)
    draw(7).save(photos / "new.png")
    assert watched.next() == {"added": 1, "encoded": 1}


def test_videos_are_watched_too(begin: Callable[..., Watched], photos: Path) -> None:
    if not VIDEOS.readable():
        pytest.skip("needs the extra video")
    watched = begin(video_every=2)
    clip(photos / "clip.mp4", 3)
    assert watched.next() == {"added": 2, "encoded": 2}
    (photos / "clip.mp4").rename(photos / "moved.mp4")
    assert watched.next() == {"moved": 2}
    (photos / "moved.mp4").unlink()
    assert watched.next() == {"removed": 2}


def test_what_is_written_about_photos_is_read(begin: Callable[..., Watched], photos: Path) -> None:
    """An XMP file that comes, changes or goes concerns the photos that it stands next to."""
    watched = begin()

    def keywords(number: int) -> dict[str, tuple[str, ...]]:
        draw(number).save(photos / f"later{number}.png")
        watched.next()  # rounds go in the order of changes: that of the file is over
        names = {one.id: Path(one.path).name for one in watched.library.read.dates_under(str(photos))}
        notes = watched.library.notes.of(names)
        return {names[id_]: note.keywords for id_, note in notes.items() if note.keywords}

    (photos / "000.xmp").write_bytes(packet(3, "dog"))
    (photos / "001.png.xmp").write_bytes(packet(4, "boat"))
    assert keywords(20) == {"000.png": ("dog",), "001.png": ("boat",)}
    (photos / "000.xmp").write_bytes(packet(3, "cat", "dog"))
    (photos / "001.png.xmp").unlink()
    assert keywords(21) == {"000.png": ("cat", "dog")}
    (photos / "new.png.xmp").write_bytes(packet(1, "sea"))
    draw(99).save(photos / "new.png")
    assert watched.next()["added"] == 1
    assert keywords(22) == {"000.png": ("cat", "dog"), "new.png": ("sea",)}
    assert watched.model.seen == 7


def test_it_ends_when_told(library: Database, photos: Path) -> None:
    watched = Watched(library, photos)
    watched.end.set()
    assert list(watched.reports) == []
    assert "vsearch-watch" not in {thread.name for thread in threading.enumerate()}
