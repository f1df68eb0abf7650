"""Captions and keywords of a library in files: which files, what is kept, and what the library knows afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from index import Library
from index.database.database import Database
from index.metadata.files import sidecar_of
from index.metadata.xmp import Words, read, undo, write
from tests.support.pictures import draw
from tests.support.tiny_model import draw_pictures, model_folder
from vsearch.errors import LibraryError
from vsearch.model import Model
from vsearch.scores import Scores


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four pictures and their library, to be copied."""
    place = tmp_path_factory.mktemp("tag")
    with Library.open(place / "library", model()) as library:
        library.build([draw_pictures(place / "photos")])
    return place


def model() -> Model:
    found = Model(model_folder(), "cpu")
    found.scores = Scores(words=(1.0, 10.0))  # any noun is sure
    return found


@pytest.fixture
def library(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The library of `photos` below the current folder, which is its own copy of all."""
    for name in ("library", "photos"):
        (shutil.copytree if name == "photos" else shutil.copy2)(built / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with Database.open(tmp_path / "library") as database:  # the copies are where the library looks for them
        for picture in database.read.pictures(database.read.ids_where().tolist()).values():
            path = tmp_path / "photos" / Path(picture.path).name
            database.write.touch(picture.id, str(path), path.stat().st_size, path.stat().st_mtime_ns)
        database.write.set_folders([str(tmp_path / "photos")], [])
    return Library.open("library", model())


def test_a_folder_is_tagged_next_to_its_photos_and_untagged(library: Library) -> None:
    before = sorted(os.listdir("photos"))
    planned = library.tag(["photos"], nouns=2, dry_run=True)
    assert sorted(os.listdir("photos")) == before and len(planned.changed) == 4
    done = library.tag(["photos"], nouns=2)
    assert done.changed == planned.changed and not done.skipped
    for one in done.changed:
        assert one.file.name.endswith(".xmp") and len(one.keywords) == 2
        assert read(one.file.read_bytes()).keywords == one.keywords
        assert one.caption and f">{one.caption}<".encode() in one.file.read_bytes()
    assert library.tag(["photos"], nouns=2).unchanged == 4
    assert len(library.tag(["photos"], undo=True).changed) == 4
    assert sorted(os.listdir("photos")) == before
    assert library.tag(["photos"], undo=True).unchanged == 4


def test_only_sure_nouns_are_written(library: Library) -> None:
    assert library.model is not None
    library.model.scores = Scores(words=(1.0, -10.0))  # type: ignore[misc]
    assert library.tag(["photos"], caption=False, nouns=5).unchanged == 4
    assert not list(Path("photos").glob("*.xmp"))


def test_hits_can_be_tagged_and_a_stranger_is_named(library: Library) -> None:
    done = library.tag([*library.search("dog", k=2), "elsewhere.jpg"])
    assert len(done.changed) == 2 and done.skipped == [("elsewhere.jpg", "not in the library")]


def test_names_of_sidecars(tmp_path: Path) -> None:
    photo = str(tmp_path / "a.jpg")
    assert sidecar_of(photo) is None
    (tmp_path / "a.xmp").touch()
    assert sidecar_of(photo) == str(tmp_path / "a.xmp")
    (tmp_path / "a.png").touch()
    assert sidecar_of(photo) is None  # whose is it?
    (tmp_path / "a.jpg.xmp").touch()
    assert sidecar_of(photo) == photo + ".xmp"


def test_a_strangers_sidecar_keeps_its_content_and_its_mode(library: Library) -> None:
    theirs = write(None, Words(None, ("mine",), "")).packet
    assert theirs is not None
    theirs = theirs.replace(b"vsearch", b"darktable")
    place = Path("photos/red.xmp")
    place.write_bytes(theirs)
    place.chmod(0o640)
    assert [one.file.name for one in library.tag(["photos/red.png"], nouns=1).changed] == ["red.xmp"]
    assert read(place.read_bytes()).keywords[0] == "mine" and place.stat().st_mode & 0o777 == 0o640
    library.tag(["photos"], undo=True)
    assert place.read_bytes() == theirs and not list(Path("photos").glob("*.tmp"))


def test_what_cannot_be_written_is_named_and_the_others_go_on(library: Library) -> None:
    Path("photos/red.png.xmp").write_text("<a")
    Path("photos/green.jpg.xmp").write_bytes(write(None, Words("mine", (), "")).packet or b"")
    Path("photos/green.jpg.xmp").chmod(0o444)
    Path("photos/blue.webp.xmp").symlink_to("elsewhere")
    done = library.tag(["photos"])
    assert [one.file.name for one in done.changed] == ["grey.bmp.xmp"]
    assert [(Path(path).name, reason) for path, reason in done.skipped] == [
        ("blue.webp", "blue.webp.xmp is a link"),
        ("green.jpg", "green.jpg.xmp is read-only"),
        ("red.png", "red.png.xmp: no XML"),
    ]
    assert Path("photos/red.png.xmp").read_text() == "<a" and not Path("elsewhere").exists()


def test_a_photo_that_changed_or_went_is_left_alone(library: Library) -> None:
    draw(7, (30, 30)).save("photos/red.png")
    Path("photos/green.jpg").unlink()
    found = {Path(path).name: reason for path, reason in library.tag(["photos"]).skipped}
    assert found == {"red.png": "the file has changed since it was indexed", "green.jpg": "the file is gone"}


def test_photos_tagged_themselves_are_not_encoded_again(library: Library) -> None:
    names = ("red.png", "green.jpg", "blue.webp")
    before = {name: (Path("photos", name).read_bytes(), Path("photos", name).stat().st_mtime_ns) for name in names}
    with Database.open(Path("library")) as database:
        old = database.read.picture("photos/red.png")
        assert old is not None
        database.opinions.vote("dog", old.hash, True)
        database.opinions.write_caption(old.hash, "by hand")
    done = library.tag(["photos"], nouns=1, in_file=True)
    assert sorted(one.file.name for one in done.changed) == sorted(names)
    assert done.skipped == [
        (os.path.abspath("photos/grey.bmp"), "only JPEG, PNG and WebP files take words: write them next to it")
    ]
    for name in names:
        assert Path("photos", name).stat().st_mtime_ns == before[name][1]  # photos stay in their order
        assert Path("photos", name).read_bytes() != before[name][0]
    report = library.build(["photos"])
    assert (report.encoded, report.unchanged) == (0, 4)
    with Database.open(Path("library")) as database:
        new = database.read.picture("photos/red.png")
        assert new is not None and (new.id, new.caption) == (old.id, old.caption) and new.hash != old.hash
        assert [vote.hash for vote in database.opinions.votes()] == [new.hash]
        assert database.opinions.captions([old.hash, new.hash]) == {new.hash: "by hand"}
    os.utime("photos/red.png")  # a build that reads the file finds the content it knows
    assert library.build(["photos"]).encoded == 0
    assert len(library.tag(["photos"], undo=True, in_file=True).changed) == 3
    assert {name: Path("photos", name).read_bytes() for name in names} == {name: before[name][0] for name in names}
    assert library.build(["photos"]).encoded == 0


def test_votes_stay_with_a_copy_of_the_photo_as_it_was(library: Library) -> None:
    shutil.copy2("photos/red.png", "photos/copy.png")
    library.build(["photos"])
    with Database.open(Path("library")) as database:
        old = database.read.picture("photos/red.png")
        assert old is not None
        database.opinions.vote("dog", old.hash, True)
    library.tag(["photos/red.png"], in_file=True)
    with Database.open(Path("library")) as database:
        hashes = {vote.hash for vote in database.opinions.votes()}
        pictures = [database.read.picture(f"photos/{name}.png") for name in ("red", "copy")]
        assert hashes == {one.hash for one in pictures if one is not None} and len(hashes) == 2


def test_nothing_is_written_into_a_library_that_is_only_read(library: Library) -> None:
    with Library.open("library", model(), read_only=True) as closed:
        with pytest.raises(LibraryError, match="for reading only"):
            closed.tag(["photos"])
        assert len(closed.tag(["photos"], dry_run=True).changed) == 4
    with Library.open("library") as bare, pytest.raises(LibraryError, match="without a model"):
        bare.tag(["photos"], nouns=3)


def test_undo_of_a_sidecar_that_got_other_words_keeps_those(library: Library) -> None:
    library.tag(["photos/red.png"])
    place = Path("photos/red.png.xmp")
    data = place.read_bytes()
    place.write_bytes(data.replace(b"</dc:description>", b"</dc:description>\n<dc:source>a book</dc:source>"))
    library.tag(["photos"], undo=True)
    assert b"a book" in place.read_bytes() and undo(place.read_bytes()).packet == place.read_bytes()
