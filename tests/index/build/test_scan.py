"""scan: every picture once, and nothing that could not be looked at is taken for gone."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from index.build.scan import Scan, scan


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(walk: Scan, top: Path) -> list[str]:
    return [os.path.relpath(found.path, top) for found in walk]


def test_pictures_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.PNG", "c/d.HEIC", "c/a/z.webp", "notes.txt", "jpg", "x.jpg.bak", "B/y.tiff")
    assert names(scan([tmp_path]), tmp_path) == ["a.PNG", "b.jpg", "B/y.tiff", "c/d.HEIC", "c/a/z.webp"]


def test_size_and_date(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(1, 1_234_567_890_123_456_789))
    assert list(scan([tmp_path])) == [(str(tmp_path / "a.jpg"), 1, 1_234_567_890_123_456_789)]


def test_hidden_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, ".a.jpg", "._b.jpg", ".thumbnails/c.jpg", "d.jpg")
    assert names(scan([tmp_path]), tmp_path) == ["d.jpg"]
    assert names(scan([tmp_path / ".thumbnails"]), tmp_path) == [".thumbnails/c.jpg"]  # unless asked for


def test_links(tmp_path: Path) -> None:
    """Links to files are followed, those to folders if asked for; then loops end, and a folder is walked once."""
    make(tmp_path / "top", "a.jpg", "sub/b.jpg")
    make(tmp_path / "elsewhere", "c.jpg")
    (tmp_path / "top/loop").symlink_to(tmp_path / "top")
    (tmp_path / "top/sub/up").symlink_to("..")
    (tmp_path / "top/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top/link.jpg").symlink_to(tmp_path / "elsewhere/c.jpg")
    (tmp_path / "top/dead.jpg").symlink_to("nowhere")
    walk = scan([tmp_path / "top"], follow_links=True)
    assert names(walk, tmp_path / "top") == ["a.jpg", "link.jpg", "again/c.jpg", "sub/b.jpg"]
    assert (walk.unreadable, walk.links) == ([], [])
    walk = scan([tmp_path / "top"])
    assert names(walk, tmp_path / "top") == ["a.jpg", "link.jpg", "sub/b.jpg"]
    assert sorted(walk.links) == [str(tmp_path / "top" / name) for name in ("again", "loop", "other", "sub/up")]
    (tmp_path / "alias").symlink_to(tmp_path / "top")  # a folder that is named may be a link itself
    assert names(scan([tmp_path / "alias"]), tmp_path / "alias") == ["a.jpg", "link.jpg", "sub/b.jpg"]


def test_things_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    make(tmp_path, "folder.jpg/a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    assert names(scan([tmp_path]), tmp_path) == ["folder.jpg/a.jpg"]


def test_overlapping_folders(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "sub/b.jpg")
    assert names(scan([tmp_path, tmp_path / "sub", str(tmp_path) + "/./sub/.."]), tmp_path) == ["a.jpg", "sub/b.jpg"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "sub/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [found.path for found in scan(["./sub/../sub/"])] == [str(tmp_path / "sub/a.jpg")]


def test_odd_names(tmp_path: Path) -> None:
    odd = ["new\nline.jpg", os.fsdecode(b"inv\xff.jpg"), "📷.jpg", "a\\b.jpg"]
    make(tmp_path, *odd)
    assert sorted(names(scan([tmp_path]), tmp_path)) == sorted(odd)


def test_missing_and_not_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    walk = scan([tmp_path / "none", tmp_path / "a.jpg", tmp_path])
    assert names(walk, tmp_path) == ["a.jpg"]
    assert walk.unreadable == [
        (str(tmp_path / "none"), "no such folder"),
        (str(tmp_path / "a.jpg"), "not a folder"),
    ]


def test_unreadable_folder_is_reported_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "locked/b.jpg", "lockedtoo/c.jpg")
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    walk = scan([tmp_path])
    assert names(walk, tmp_path) == ["a.jpg", "lockedtoo/c.jpg"]
    assert walk.unreadable == [(str(tmp_path / "locked"), "no permission to read it")]
    assert walk.kept(str(tmp_path / "locked/b.jpg")) and walk.kept(str(tmp_path / "locked"))
    assert not walk.kept(str(tmp_path / "lockedtoo/c.jpg"))


def test_folder_that_vanishes_during_the_walk(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    walk = iter(scan([tmp_path]))
    assert next(walk).path.endswith("1.jpg")
    (tmp_path / "b/2.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert [Path(found.path).name for found in walk] == ["3.jpg"]


def test_date_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems hold dates that no 64-bit number of nanoseconds does; SQLite takes no larger one."""
    entry = SimpleNamespace(
        name="a.jpg",
        path="/a.jpg",
        is_file=lambda: True,
        stat=lambda: SimpleNamespace(st_size=1, st_mtime_ns=2**70),
    )
    monkeypatch.setattr(os, "scandir", lambda path: [entry])
    assert list(scan([tmp_path])) == [("/a.jpg", 1, 2**63 - 1)]


def test_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    """A mount point of the last walk that is empty now: nobody knows what is below it."""
    make(tmp_path, "a.jpg")
    (tmp_path / "usb").mkdir()
    walk = scan([tmp_path], [str(tmp_path / "usb")])
    assert names(walk, tmp_path) == ["a.jpg"]
    assert walk.unreadable == [(str(tmp_path / "usb"), "empty: its disk is not mounted")]
    assert walk.kept(str(tmp_path / "usb/b.jpg"))
    plain = scan([tmp_path])
    assert names(plain, tmp_path) == ["a.jpg"]
    assert plain.unreadable == []


def test_mount_points_are_noticed(tmp_path: Path) -> None:
    if Path("/proc").stat().st_dev == Path("/").stat().st_dev:
        pytest.skip("/proc is no mount point here")
    walk = Scan(["/proc/self/task"])
    list(walk)
    assert "/proc/self/task" not in walk.mounts
    shared = Scan(["/proc/sys/fs/binfmt_misc", "/dev/shm", "/proc"])
    for _ in zip(shared, range(1), strict=False):
        pass
    assert "/dev/shm" in shared.mounts
