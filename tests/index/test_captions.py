"""A caption by hand: placed among the words at once, kept whatever happens to file, library and model, taken back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.captions import LONGEST, give
from index.check import check
from index.database.database import Database
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.errors import LibraryError, VsearchError

TEXT = "Bello in the snow"


def captions(library: Database) -> dict[str, str | None]:
    """The caption of each picture, by the name of its file, once it is sure that all tables agree."""
    pictures = library.read.pictures(library.read.ids_where().tolist())
    assert not check(library).findings
    return {Path(one.path).name: one.caption for one in pictures.values()}


@pytest.fixture
def built(library: Database, describer: FakeDescriber, tmp_path: Path) -> Database:
    """Three pictures, one of them twice."""
    first = draw_folder(tmp_path / "photos", 3)[0]
    shutil.copy(first, tmp_path / "photos" / "copy.png")
    build_index(library, [tmp_path / "photos"], describer)
    return library


def test_all_with_its_content_have_it_and_its_place_among_the_words(
    built: Database, describer: FakeDescriber, tmp_path: Path
) -> None:
    before, path = captions(built), str(tmp_path / "photos" / "000.png")
    assert give(built, describer, path, " Bello\n in\tthe\x1b snow ") == TEXT
    assert captions(built) == {**before, "000.png": TEXT, "copy.png": TEXT}
    assert len(built.texts.ids("bello snow")) == 2
    picture = built.read.picture(path)
    assert picture is not None
    _, placed = built.read.vectors([picture.id], 1.0)
    assert placed[0] == pytest.approx(describer.direction(TEXT), abs=1e-3)
    assert built.details.of([picture.id])[picture.id].width == 64  # what else was known is kept
    assert give(built, describer, path, "ends with 0") == "ends with 0"  # no word of it is known
    _, alone = built.read.vectors([built.read.ids_at([path])[path]], 1.0)
    _, own = built.read.vectors([built.read.ids_at([path])[path]])
    assert np.array_equal(alone, own)


@pytest.mark.parametrize("with_captions", [True, False])
def test_it_is_kept(built: Database, describer: FakeDescriber, tmp_path: Path, with_captions: bool) -> None:
    """Through a build, a move, another date, and another model, even one that is to write no captions."""
    photos = tmp_path / "photos"
    give(built, describer, str(photos / "000.png"), TEXT)
    (photos / "000.png").rename(photos / "moved.png")
    (photos / "copy.png").touch()
    build_index(built, [photos], describer, captions=with_captions)
    assert captions(built)["moved.png"] == captions(built)["copy.png"] == TEXT
    other = FakeDescriber("another-model")
    build_index(built, [], other, reindex=True, captions=with_captions)
    again = captions(built)
    assert (again["moved.png"], again["copy.png"]) == (TEXT, TEXT) and (again["001.png"] is None) is not with_captions
    _, placed = built.read.vectors([built.read.ids_at([str(photos / "moved.png")])[str(photos / "moved.png")]], 1.0)
    assert placed[0] == pytest.approx(other.direction(TEXT), abs=1e-3)


def test_it_is_taken_back(built: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    before, path = captions(built), tmp_path / "photos" / "000.png"
    give(built, describer, str(path), TEXT)
    assert give(built, describer, str(path), None) == before["000.png"]
    assert captions(built) == before and built.opinions.captions([built.read.equal_content()[0][0]]) == {}
    give(built, describer, str(path), TEXT)
    shutil.copy(tmp_path / "photos" / "001.png", path)  # its copy still shows what the caption is of
    assert give(built, describer, str(path), None) == before["copy.png"]
    give(built, describer, str(path), TEXT)
    (tmp_path / "photos" / "copy.png").rename(tmp_path / "photos" / "renamed.png")
    with pytest.raises(VsearchError, match="has changed since the library saw it") as refused:
        give(built, describer, str(path), None)
    assert "build" in refused.value.hint and captions_of(built, path) == TEXT
    shutil.copy(tmp_path / "photos" / "renamed.png", path)
    assert give(built, describer, str(path), None) == before["copy.png"]  # another date, the same content
    give(built, describer, str(path), TEXT)
    path.unlink()
    with pytest.raises(VsearchError, match="no such file") as refused:
        give(built, describer, str(path), None)
    assert "comes back" in refused.value.hint and captions_of(built, path) == TEXT


def captions_of(library: Database, path: Path) -> str | None:
    picture = library.read.picture(str(path))
    return None if picture is None else picture.caption


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x1b", "x" * (LONGEST + 1), "wo " * 3_334])
def test_no_caption(built: Database, describer: FakeDescriber, tmp_path: Path, text: str) -> None:
    before = captions(built)
    with pytest.raises(VsearchError, match=f"1 to {LONGEST} letters"):
        give(built, describer, str(tmp_path / "photos" / "000.png"), text)
    assert captions(built) == before


def test_only_pictures_of_the_library_by_its_own_model(
    built: Database, describer: FakeDescriber, tmp_path: Path
) -> None:
    with pytest.raises(LibraryError, match="is not in"):
        give(built, describer, str(tmp_path / "other.png"), TEXT)
    with pytest.raises(LibraryError, match="another model"):
        give(built, FakeDescriber("another-model"), str(tmp_path / "photos" / "000.png"), TEXT)
    assert TEXT not in captions(built).values()
