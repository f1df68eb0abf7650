"""Links: a build stays in its folders, and a picture is found by every name that leads to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.build.build import build_index
from index.check import check
from index.database.database import Database
from index.duplicates import duplicates
from index.paths import names
from tests.support import searching, tiny_model
from tests.support.pictures import FakeDescriber, draw_folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """One picture above an album of two, and a link in the album that leads to the folder above."""
    draw_folder(tmp_path / "private", 1)
    draw_folder(tmp_path / "private" / "album", 2, first=1)
    (tmp_path / "private" / "album" / "up").symlink_to("..")
    return tmp_path / "private" / "album"


def found(library: Database, describer: FakeDescriber, within: Path | None = None) -> list[str]:
    hits = searching.search(library, describer.direction("x"), 10, within=within)
    return sorted(Path(hit.path).name for hit in hits)


def test_a_link_to_the_folder_above_shares_nothing_of_it(
    library: Database, describer: FakeDescriber, album: Path
) -> None:
    report = build_index(library, [album], describer)
    assert report.links == [str(album / "up")]
    assert found(library, describer) == ["001.png", "002.png"]


def test_following_is_remembered(library: Database, describer: FakeDescriber, album: Path) -> None:
    assert build_index(library, [album], describer, follow_links=True).links == []
    assert found(library, describer) == ["000.png", "001.png", "002.png"]
    assert build_index(library, [album], describer).removed == 0  # as cron calls it
    assert check(library).findings == ()
    assert build_index(library, [album], describer, follow_links=False).removed == 1
    assert build_index(library, [album], describer).links == [str(album / "up")]
    assert check(library).findings == ()


def test_in_takes_every_name_of_a_folder(
    library: Database, describer: FakeDescriber, album: Path, tmp_path: Path
) -> None:
    build_index(library, [album], describer)
    (tmp_path / "link").symlink_to(album)
    (tmp_path / "above").symlink_to(album.parent)
    for name in ("link", "above", "above/album", "private/album/up/album"):
        assert found(library, describer, tmp_path / name) == ["001.png", "002.png"], name
    assert found(library, describer, tmp_path / "private" / "none") == []
    assert duplicates(library, -1.0, within=tmp_path / "link")


def test_a_library_of_a_link_takes_the_real_name(
    library: Database, describer: FakeDescriber, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(album)
    build_index(library, [tmp_path / "link"], describer)
    assert found(library, describer, album) == found(library, describer, tmp_path / "link") == ["001.png", "002.png"]
    picture = library.read.picture(str(album / "001.png"))
    assert picture is not None and picture.path == str(tmp_path / "link" / "001.png")


def test_similar_leaves_the_photo_out_whatever_it_is_called(tmp_path: Path) -> None:
    from index.library import Library
    from vsearch.model import load

    photos = tiny_model.draw_pictures(tmp_path / "photos")
    (tmp_path / "link").symlink_to(photos)
    with Library.open(tmp_path / "library", load(tiny_model.model_folder())) as library:
        library.build([photos])
        for folder in (photos, tmp_path / "link"):
            hits = library.similar(folder / "red.png")
            assert sorted(Path(hit.path).name for hit in hits) == ["blue.webp", "green.jpg", "grey.bmp"]


def test_names_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    real, link = str(tmp_path / "real"), str(tmp_path / "link")
    assert names(f"{real}/sub", [link]) == [f"{real}/sub", f"{link}/sub"]
    assert names(f"{link}/sub", [real]) == [f"{link}/sub", f"{real}/sub"]
    assert names(str(tmp_path), [link]) == [str(tmp_path), link]
    assert names(real, []) == [real]
