"""Thumbnails: kept by content, deleted at any moment, never more than the cap."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from index.caches.thumbnails import SIZES
from index.database.read import Picture
from index.web import thumbnails
from index.web.thumbnails import Thumbnails, make, rounded
from tests.support.pictures import draw
from vsearch.errors import PictureError


def picture(place: Path, number: int) -> Picture:
    path = place / f"{number}.png"
    draw(number, (300, 200)).save(path)
    status = path.stat()
    return Picture(number, str(path), status.st_size, status.st_mtime_ns, bytes([number]) * 16, None)


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, one = Thumbnails(tmp_path / "cache"), picture(tmp_path, 1)
    first = kept.get(one, 240)
    monkeypatch.setattr(thumbnails, "make", None)
    assert kept.get(one, 240) == first == kept.path(one, 240).read_bytes()


def test_it_can_be_deleted_or_cut_short_at_any_moment(tmp_path: Path) -> None:
    kept, one = Thumbnails(tmp_path / "cache"), picture(tmp_path, 1)
    first = kept.get(one, 240)
    shutil.rmtree(tmp_path / "cache")
    assert kept.get(one, 240) == first
    kept.path(one, 240).write_bytes(first[:100])
    assert kept.get(one, 240) == first


def test_the_folder_has_a_cap_and_the_oldest_go_first(tmp_path: Path) -> None:
    one = picture(tmp_path, 1)
    size = len(make(one.path, 240))
    kept = Thumbnails(tmp_path / "cache", cap=6 * size)
    for number in range(1, 20):
        other = picture(tmp_path, number)
        kept.get(other, 240)
        os.utime(kept.path(other, 240), (number, number))
        files = list((tmp_path / "cache").glob("??/*"))
        assert sum(file.stat().st_size for file in files) <= kept.cap
    assert kept.path(other, 240).exists() and not kept.path(one, 240).exists()


def test_where_nothing_can_be_written_it_is_made_each_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert Thumbnails(tmp_path / "cache").get(picture(tmp_path, 1), 240)[:2] == b"\xff\xd8"


def test_few_sizes() -> None:
    assert [rounded(size) for size in (1, 240, 241, 5000)] == [SIZES[0], SIZES[0], SIZES[1], SIZES[-1]]


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(PictureError):
        Thumbnails(tmp_path / "cache").get(Picture(1, str(tmp_path / "x.jpg"), 10, 0, b"x" * 16, None), 240)
