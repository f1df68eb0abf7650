"""build_index, mostly by what must not happen: nothing is encoded twice, no row shifts, nothing is deleted unseen."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from index.build.build import build_index
from index.build.report import Report
from index.build.scan import Scan
from index.caches.vectors import arrays_path
from index.database.database import Database
from tests.support.pictures import FakeDescriber, draw, draw_folder
from tests.support.searching import search
from vsearch.errors import LibraryError, VsearchError
from vsearch.image.decode import decode
from vsearch.image.pixels import read_pixels, to_pixels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 10)
    return tmp_path / "photos"


def counts(report: Report) -> dict[str, int]:
    """The fields that are not zero."""
    fields = ("added", "updated", "moved", "captioned", "unchanged", "removed", "encoded", "total")
    return {name: getattr(report, name) for name in fields if getattr(report, name)}


def check(library: Database, paths: Sequence[Path]) -> None:
    """The library holds exactly these pictures, each with its own vector and caption."""
    model = FakeDescriber()
    assert {dates.path for dates in library.read.dates_under("/")} == {str(path) for path in paths}
    for path in paths:
        row = library.read.picture(str(path))
        assert row is not None
        pixels = to_pixels(decode(path), model.side)
        vectors, _ = model.describe(pixels[None], captions=False)
        assert row.caption == model.caption_of(pixels), path
        assert np.allclose(library.read.vectors([row.id])[1], vectors, atol=2e-3), path
        assert (row.size, row.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def test_first_build(library: Database, describer: FakeDescriber, photos: Path) -> None:
    report = build_index(library, [photos], describer)
    assert counts(report) == {"added": 10, "encoded": 10, "total": 10}
    assert report.skipped == report.unreadable == []
    assert report.seconds > 0
    assert (library.read.identity, library.read.dim, library.read.folders()) == ("fake-model-1", 13, [str(photos)])
    check(library, sorted(photos.iterdir()))
    assert library.read.captioned() == 10


@pytest.mark.parametrize("batch", [1, 3, 7, 10, 64])
@pytest.mark.parametrize("threads", [1, 4])
def test_batches_and_threads_change_nothing(
    library: Database, describer: FakeDescriber, photos: Path, batch: int, threads: int
) -> None:
    (photos / "003.png").write_bytes(b"broken")
    (photos / "000.png").write_bytes(b"")
    report = build_index(library, [photos], describer, batch=batch, threads=threads)
    assert counts(report) == {"added": 8, "encoded": 8, "total": 8}
    good = [path for path in sorted(photos.iterdir()) if path.name not in ("000.png", "003.png")]
    check(library, good)
    ids = [row.id for path in good if (row := library.read.picture(str(path)))]
    assert ids == sorted(ids)  # in the order of the walk, whatever thread was first


def test_second_build_opens_nothing(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    first = build_index(library, [photos], describer)
    caches = arrays_path(library).stat().st_mtime_ns

    def forbidden(*_: object, **__: object) -> object:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("index.build.read.Path.read_bytes", forbidden)
    again = build_index(library, [photos], describer)
    assert counts(again) == {"unchanged": 10, "total": 10}
    assert again.skipped == first.skipped == [(str(photos / "bad.jpg"), "not a picture of a known format")]
    assert describer.seen == 10
    assert arrays_path(library).stat().st_mtime_ns == caches


def test_touched_is_not_encoded(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    before = library.read.picture(str(photos / "004.png"))
    os.utime(photos / "004.png", ns=(5, 5))
    report = build_index(library, [photos], describer)
    assert counts(report) == {"unchanged": 10, "total": 10}
    after = library.read.picture(str(photos / "004.png"))
    assert before and after and (after.id, after.mtime_ns) == (before.id, 5)
    check(library, sorted(photos.iterdir()))


def test_changed_is_encoded_again(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    draw(99).save(photos / "004.png")
    report = build_index(library, [photos], describer)
    assert counts(report) == {"updated": 1, "unchanged": 9, "encoded": 1, "total": 10}
    check(library, sorted(photos.iterdir()))


def test_same_size_other_date(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    folder = tmp_path / "bmp"
    folder.mkdir()
    draw(1).save(folder / "a.bmp")
    build_index(library, [folder], describer)
    size = (folder / "a.bmp").stat().st_size
    draw(2).save(folder / "a.bmp")
    os.utime(folder / "a.bmp", ns=(7, 7))
    assert (folder / "a.bmp").stat().st_size == size
    assert counts(build_index(library, [folder], describer)) == {"updated": 1, "encoded": 1, "total": 1}
    check(library, [folder / "a.bmp"])


def test_moved_and_renamed_are_not_encoded(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    before = library.read.picture(str(photos / "002.png"))
    (photos / "sub").mkdir()
    (photos / "002.png").rename(photos / "sub" / "two.png")
    (photos / "003.png").rename(photos / "three.png")
    report = build_index(library, [photos], describer)
    assert counts(report) == {"moved": 2, "unchanged": 8, "total": 10}
    after = library.read.picture(str(photos / "sub" / "two.png"))
    assert before and after and after.id == before.id
    check(library, sorted(photos.rglob("*.png")))


def test_renamed_in_a_ring(library: Database, describer: FakeDescriber, photos: Path) -> None:
    """0 -> 1 -> 2 -> 0: every path still exists, with another's content."""
    for number in range(3, 10):
        (photos / f"{number:03d}.png").unlink()
    build_index(library, [photos], describer)
    (photos / "000.png").rename(photos / "x")
    (photos / "002.png").rename(photos / "000.png")
    (photos / "001.png").rename(photos / "002.png")
    (photos / "x").rename(photos / "001.png")
    for number in range(3):
        os.utime(photos / f"{number:03d}.png", ns=(number, number))
    build_index(library, [photos], describer, threads=1)
    check(library, sorted(photos.iterdir()))


def test_copied_is_not_encoded(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    shutil.copy(photos / "002.png", photos / "copy.png")
    report = build_index(library, [photos], describer)
    assert counts(report) == {"added": 1, "unchanged": 10, "total": 11}
    check(library, sorted(photos.iterdir()))


def test_removed(library: Database, describer: FakeDescriber, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    build_index(library, [photos], describer)
    (photos / "002.png").unlink()
    (photos / "bad.jpg").unlink()
    report = build_index(library, [photos], describer)
    assert counts(report) == {"removed": 1, "unchanged": 9, "total": 9}
    assert report.skipped == library.read.skipped() == []
    check(library, sorted(photos.iterdir()))


def test_only_scanned_folders_lose_pictures(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    draw_folder(one, 2)
    draw_folder(two, 2, first=2)
    build_index(library, [one, two], describer)
    (one / "000.png").unlink()
    (two / "002.png").unlink()
    assert counts(build_index(library, [one], describer)) == {"removed": 1, "unchanged": 1, "total": 3}
    assert library.read.folders() == [str(one), str(two)]


def test_a_missing_folder_deletes_nothing(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    draw_folder(one, 2)
    draw_folder(two, 2, first=2)
    build_index(library, [one, two], describer)
    two.rename(tmp_path / "unplugged")
    report = build_index(library, [one, two], describer)
    assert counts(report) == {"unchanged": 2, "total": 4}
    assert report.unreadable == [(str(two), "no such folder")]


def test_no_folder_that_can_be_read(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match="no such folder"):
        build_index(library, [tmp_path / "none"], describer)
    with pytest.raises(VsearchError, match="no folder"):
        build_index(library, [], describer)


def test_an_unreadable_folder_deletes_nothing(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_folder(photos / "locked", 2, first=20)
    build_index(library, [photos], describer)
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = build_index(library, [photos], describer)
    assert counts(report) == {"unchanged": 10, "total": 12}
    assert report.unreadable == [(str(photos / "locked"), "no permission to read it")]


def test_an_unmounted_disk_deletes_nothing(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mount point is still there, readable and empty. That it was a mount point was written down."""
    disk = photos / "disk"
    draw_folder(disk, 2, first=20)
    real = Scan.__iter__

    def mounted(walk: Scan) -> object:
        yield from real(walk)
        walk.mounts.add(str(disk))

    with monkeypatch.context() as patch:
        patch.setattr(Scan, "__iter__", mounted)
        build_index(library, [photos], describer)
    assert library.read.mounts() == [str(disk)]
    hidden = photos.parent / "hidden"
    hidden.mkdir()
    for path in disk.iterdir():
        path.rename(hidden / path.name)
    for _ in range(2):  # and it stays known
        report = build_index(library, [photos], describer)
        assert counts(report) == {"unchanged": 10, "total": 12}
        assert report.unreadable == [(str(disk), "empty: its disk is not mounted")]
    for path in hidden.iterdir():
        path.rename(disk / path.name)
    assert counts(build_index(library, [photos], describer)) == {"unchanged": 12, "total": 12}


def test_an_emptied_folder_does_lose_its_pictures(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    for path in photos.iterdir():
        path.unlink()
    assert counts(build_index(library, [photos], describer)) == {"removed": 10}


def test_a_picture_that_breaks_and_mends(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    good = (photos / "004.png").read_bytes()
    (photos / "004.png").write_bytes(good[:60])
    report = build_index(library, [photos], describer)
    assert counts(report) == {"unchanged": 9, "total": 9}
    assert [path for path, _ in report.skipped] == [str(photos / "004.png")]
    (photos / "004.png").write_bytes(good)
    report = build_index(library, [photos], describer)
    assert counts(report) == {"added": 1, "unchanged": 9, "encoded": 1, "total": 10}
    assert report.skipped == library.read.skipped() == []


def test_a_file_that_may_not_be_read_now_is_tried_again(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights change without changing size or date: such a file is listed, but not remembered as broken."""
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "004.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr("index.build.read.Path.read_bytes", refuse)
        report = build_index(library, [photos], describer)
    assert report.skipped == [(str(photos / "004.png"), "permission denied")]
    assert counts(build_index(library, [photos], describer)) == {"added": 1, "unchanged": 9, "encoded": 1, "total": 10}


def test_a_file_that_vanishes_meanwhile(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_bytes

    def vanish(path: Path) -> bytes:
        if path.name == "004.png":
            path.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr("index.build.read.Path.read_bytes", vanish)
    report = build_index(library, [photos], describer)
    assert report.skipped == [(str(photos / "004.png"), "vanished while it was read")]
    check(library, sorted(photos.iterdir()))


def test_skipped_files_are_tried_with_a_newer_decoder(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    build_index(library, [photos], describer)
    monkeypatch.setattr("index.build.build.VERSION", "newer")
    opened = []
    real = Path.read_bytes

    def note(path: Path) -> bytes:
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr("index.build.read.Path.read_bytes", note)
    build_index(library, [photos], describer)
    build_index(library, [photos], describer)
    assert opened == ["bad.jpg"]


# ---- captions


def test_captions_can_follow(library: Database, describer: FakeDescriber, photos: Path) -> None:
    report = build_index(library, [photos], describer, captions=False)
    assert counts(report) == {"added": 10, "encoded": 10, "total": 10} and library.read.captioned() == 0
    before = library.read.picture(str(photos / "000.png"))
    assert counts(build_index(library, [photos], describer, captions=False)) == {"unchanged": 10, "total": 10}
    report = build_index(library, [photos], describer)
    assert counts(report) == {"captioned": 10, "encoded": 10, "total": 10}
    after = library.read.picture(str(photos / "000.png"))
    assert before and after and before.id != after.id  # an id stands for one vector of the caption, too
    check(library, sorted(photos.iterdir()))
    assert counts(build_index(library, [photos], describer)) == {"unchanged": 10, "total": 10}


def test_a_model_without_captions_is_not_asked_for_ever(library: Database, photos: Path) -> None:
    model = FakeDescriber(captions=False)
    build_index(library, [photos], model)
    assert counts(build_index(library, [photos], model)) == {"unchanged": 10, "total": 10}
    assert model.seen == 10


# ---- models


def test_another_model_is_refused_then_reindexed(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    draw_folder(one, 3)
    draw_folder(two, 3, first=3)
    build_index(library, [one, two], describer)
    other = FakeDescriber("fake-model-2", side=8)
    with pytest.raises(LibraryError, match="another model") as caught:
        build_index(library, [one], other)
    assert f"`Library.open({str(library.path)!r}, model, reindex=True).build(reindex=True)`" in caught.value.hint
    assert library.read.count() == 6 and other.seen == 0
    report = build_index(library, [one], other, reindex=True)  # and `two`, which the library knows
    assert counts(report) == {"added": 6, "encoded": 6, "total": 6}
    assert library.read.identity == "fake-model-2"
    assert counts(build_index(library, [one, two], other)) == {"unchanged": 6, "total": 6}
    pixels = to_pixels(decode(one / "001.png"), 8)
    vector = other.describe(pixels[None], captions=False)[0][0]
    assert search(library, vector, 1)[0].path == str(one / "001.png")


def test_reindex_without_folders(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer)
    assert counts(build_index(library, [], describer, reindex=True)) == {"added": 10, "encoded": 10, "total": 10}


def test_reindex_that_finds_no_folder_keeps_everything(
    library: Database, describer: FakeDescriber, photos: Path
) -> None:
    build_index(library, [photos], describer)
    photos.rename(photos.parent / "away")
    with pytest.raises(VsearchError, match="no such folder"):
        build_index(library, [photos], FakeDescriber("fake-model-2"), reindex=True)
    assert (library.read.count(), library.read.identity) == (10, "fake-model-1")


class Broken(FakeDescriber):
    """Makes the vector of the fourth picture NaN."""

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        vectors, texts = super().describe(pixels, captions)
        vectors[3] = np.nan
        return vectors, texts


def test_a_vector_that_is_not_finite_never_gets_in(library: Database, photos: Path) -> None:
    report = build_index(library, [photos], Broken())
    assert report.skipped == [(str(photos / "003.png"), "the model makes no vector of it")]
    check(library, [path for path in sorted(photos.iterdir()) if path.name != "003.png"])


class Short(FakeDescriber):
    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        vectors, texts = super().describe(pixels, captions)
        return vectors[:-1], texts


def test_a_model_that_loses_a_row_stops_the_build(library: Database, photos: Path) -> None:
    with pytest.raises(ValueError, match="of 10 pictures"):
        build_index(library, [photos], Short())
    assert library.read.count() == 0


# ---- running


def test_progress(library: Database, describer: FakeDescriber, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    calls: list[tuple[int, int]] = []
    build_index(library, [photos], describer, batch=4, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 11) and calls[-1] == (11, 11)
    assert calls == sorted(calls) and len(calls) > 3
    calls.clear()
    build_index(library, [photos], describer, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 0)]


class Waiting(FakeDescriber):
    """A network that is busy until the batch after its own is decoded, and notes how many files were then."""

    def __init__(self, batch: int, total: int) -> None:
        super().__init__()
        self.batch, self.total = batch, total
        self.decoded = 0
        self.noted: list[int] = []

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
    ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
        wanted = min(self.total, (len(self.noted) + 2) * self.batch)
        end = time.monotonic() + 20
        while self.decoded < wanted and time.monotonic() < end:
            time.sleep(0.005)
        self.noted.append(self.decoded)
        return super().describe(pixels, captions)


def test_decoding_goes_on_while_the_network_runs(
    library: Database, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the end of the first batch the next is ready; but no more than a few batches lie in memory."""
    draw_folder(photos, 40, first=100)
    model = Waiting(5, 50)
    lock = threading.Lock()

    def counted(*args: Any, **named: Any) -> object:
        pixels = read_pixels(*args, **named)
        with lock:
            model.decoded += 1
        return pixels

    monkeypatch.setattr("index.build.read.read_pixels", counted)
    build_index(library, [photos], model, batch=5)
    assert len(model.noted) == 10
    assert all(done >= min(50, (number + 2) * 5) for number, done in enumerate(model.noted))
    assert all(done <= (number + 5) * 5 for number, done in enumerate(model.noted))


def test_an_error_in_the_network_keeps_what_is_done(library: Database, photos: Path) -> None:
    class Failing(FakeDescriber):
        def describe(
            self, pixels: NDArray[np.uint8], captions: bool, beam: int | None = None
        ) -> tuple[NDArray[np.float32], Sequence[str] | None]:
            if self.seen >= 4:
                raise KeyboardInterrupt
            return super().describe(pixels, captions)

    with pytest.raises(KeyboardInterrupt):
        build_index(library, [photos], Failing(), batch=2)
    assert library.read.count() == 4
    assert counts(build_index(library, [photos], FakeDescriber())) == {
        "added": 6,
        "unchanged": 4,
        "encoded": 6,
        "total": 10,
    }
    check(library, sorted(photos.iterdir()))


def test_an_error_leaves_no_thread_that_reads(library: Database, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that asks a database while that is closed can end the process."""
    draw_folder(photos, 40, first=100)
    reading = threading.Semaphore(0)

    def slow(*args: Any, **named: Any) -> object:
        reading.release()
        time.sleep(0.05)
        return read_pixels(*args, **named)

    class Failing(FakeDescriber):
        def describe(self, *_: object) -> NoReturn:
            assert reading.acquire(timeout=20)
            raise KeyboardInterrupt

    monkeypatch.setattr("index.build.read.read_pixels", slow)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        build_index(library, [photos], Failing(), batch=2, threads=4)
    assert set(threading.enumerate()) <= before


def test_two_builds_at_once(library: Database, describer: FakeDescriber, photos: Path) -> None:
    with (
        Database.open(library.path) as other,
        other.building(),
        pytest.raises(LibraryError, match="another build is writing"),
    ):
        build_index(library, [photos], describer)


def test_odd_names(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"f\xff\n")
    folder.mkdir()
    paths = [folder / name for name in ("new\nline.png", os.fsdecode(b"inv\xff.png"), "📷.png", " .png")]
    for number, path in enumerate(paths):
        draw(number).save(path.with_suffix(".tmp"), "PNG")
        path.with_suffix(".tmp").rename(path)
    report = build_index(library, [folder], describer)
    assert counts(report) == {"added": 4, "encoded": 4, "total": 4}
    check(library, paths)
    assert counts(build_index(library, [folder], describer)) == {"unchanged": 4, "total": 4}
    vector = library.read.vectors([1])[1][0]
    assert {hit.path for hit in search(library, vector, 10, within=folder)} == {str(path) for path in paths}


def test_large_files_are_not_held_in_memory(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(library, [photos], describer)
    by_bytes = library.read.picture(str(photos / "000.png"))
    monkeypatch.setattr("index.build.read._WHOLE_FILE", 10)
    build_index(library, [photos], describer, reindex=True)
    by_stream = library.read.picture(str(photos / "000.png"))
    assert by_bytes and by_stream and by_bytes.hash == by_stream.hash
    check(library, sorted(photos.iterdir()))
