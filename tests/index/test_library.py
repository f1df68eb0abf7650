"""Library: what goes in comes out, one model only, and every failure of the file has a remedy."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.database.connection import beside
from index.library import Library, NewPicture, default_path
from index.paths import shell
from vsearch.errors import LibraryError

ODD_NAMES = [
    "new\nline.jpg",
    os.fsdecode(b"inv\xff\xfealid.jpg"),
    "📷 photo.jpg",
    "'quote\" $x.jpg",
    "ümläut.jpg",
    " .jpg",
]


def row(path: str, vector: list[float], caption: str | None = "a dog", digest: bytes = b"h") -> NewPicture:
    return NewPicture(path, 10, 20, digest, np.array(vector, np.float32), caption)


@pytest.fixture
def filled(library: Library) -> Library:
    library.adopt("model-a", 3)
    library.start_run()
    for number, name in enumerate(ODD_NAMES):
        library.put(row(f"/photos/{name}", [1.0, float(number), 0.0], digest=bytes([number])))
    return library


def test_default_path_is_in_the_users_data_directory() -> None:
    assert default_path().name == "library.sqlite3" and default_path().parent.name == "vsearch"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_round_trip(filled: Library, name: str) -> None:
    picture = filled.picture(f"/photos/{name}")
    assert picture is not None
    assert (picture.path, picture.caption, picture.size, picture.mtime_ns) == (f"/photos/{name}", "a dog", 10, 20)
    with Library.open(filled.path, read_only=True) as again:
        assert again.picture(f"/photos/{name}") == picture


def test_vectors_come_back_as_unit_vectors_by_ascending_id(filled: Library) -> None:
    ids, vectors = filled.vectors([6, 2, 99])
    assert ids.tolist() == [2, 6]
    expected = np.array([[1.0, 1.0, 0.0], [1.0, 5.0, 0.0]]) / np.sqrt([[2.0], [26.0]])
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=5e-4)  # they lie there as float16
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_vectors_of_any_length_and_none_without_direction(library: Library) -> None:
    library.adopt("m", 3)
    library.put(row("/p/1", [3e30, 0.0, 4e30]))  # beyond what float16 holds
    library.put(row("/p/2", [0.0, 3e-30, 4e-30]))
    assert np.allclose(library.vectors_after(0)[1], [[0.6, 0.0, 0.8], [0.0, 0.6, 0.8]], atol=1e-3)
    for values in ([0.0, 0.0, 0.0], [float("nan"), 0.0, 1.0], [float("inf"), 0.0, 1.0]):
        with pytest.raises(ValueError, match="not finite, or is zero"):
            library.put(row("/p/3", values))
    assert library.count() == 2 and library.picture("/p/3") is None


def test_many_ids_at_once(library: Library) -> None:
    library.adopt("m", 2)
    with library.writing():
        for number in range(1203):
            library.put(row(f"/p/{number}", [1.0, number]))
    ids, vectors = library.vectors(range(1, 1204))
    assert len(ids) == len(vectors) == len(library.pictures(range(1, 1204))) == 1203


def test_an_id_is_never_used_again(filled: Library) -> None:
    last = filled.last_id()
    filled.put(row(f"/photos/{ODD_NAMES[-1]}", [0.0, 0.0, 1.0]))  # the same path, another content
    assert filled.count() == len(ODD_NAMES)
    assert filled.last_id() == last + 1
    assert filled.removed(10**6).tolist() == [last]
    filled.remove([f"/photos/{ODD_NAMES[-1]}"])
    filled.put(row("/photos/new.jpg", [0.0, 1.0, 1.0]))
    assert filled.last_id() == last + 2
    assert filled.vectors([last, last + 1])[0].tolist() == []


def test_moved_picture_keeps_its_id(filled: Library) -> None:
    assert filled.touch(1, "/photos/other.jpg", 11, 21)
    picture = filled.pictures([1])[1]
    assert (picture.path, picture.size, picture.mtime_ns, picture.caption) == ("/photos/other.jpg", 11, 21, "a dog")
    assert not filled.touch(99, "/photos/x.jpg", 1, 1)


def test_copy_has_the_same_vector_bit_for_bit(filled: Library) -> None:
    assert filled.copy(2, "/photos/copy.jpg", 10, 20)
    copy = filled.picture("/photos/copy.jpg")
    assert copy is not None and [twin.id for twin in filled.by_hash(copy.hash)] == [2, copy.id]
    _, vectors = filled.vectors([2, copy.id])
    assert np.array_equal(vectors[0], vectors[1])
    assert not filled.copy(99, "/photos/x.jpg", 1, 1)


def test_below_a_folder_is_a_matter_of_whole_names(library: Library) -> None:
    library.adopt("m", 2)
    for path in ("/a/b/1.jpg", "/a/b/c/2.jpg", "/a/bc/3.jpg", "/a/b.jpg", "/a/b\xff/4.jpg", "/a/b0.jpg"):
        library.put(row(path, [1.0, 0.0]))
        library.skip(path + ".gif", 1, 2, "broken")
    assert [dates.path for dates in library.dates_under("/a/b")] == ["/a/b/1.jpg", "/a/b/c/2.jpg"]
    assert library.ids_under("/a/b/").tolist() == [1, 2]
    assert [path for path, *_ in library.skipped_under("/a/b")] == ["/a/b/1.jpg.gif", "/a/b/c/2.jpg.gif"]
    assert len(library.ids_under("/")) == 6


def test_skipping_forgets_the_picture_and_back(filled: Library) -> None:
    path = f"/photos/{ODD_NAMES[1]}"
    filled.skip(path, 1, 2, "truncated")
    assert filled.picture(path) is None and filled.skipped() == [(path, "truncated")]
    filled.put(row(path, [1.0, 1.0, 1.0]))
    assert filled.picture(path) is not None and filled.skipped() == []


def test_a_failed_transaction_leaves_nothing(filled: Library) -> None:
    before = filled.count()
    with pytest.raises(KeyError), filled.writing():
        filled.put(row("/photos/x.jpg", [1.0, 0.0, 0.0]))
        raise KeyError
    assert filled.count() == before and filled.picture("/photos/x.jpg") is None


# ---- whose vectors


def test_another_model_is_refused_with_the_command(filled: Library) -> None:
    folders = ["/photos", "/with blank", "/it's", os.fsdecode(b"/bytes\xff")]
    filled.set_folders(folders, [])
    filled.check_identity("model-a")
    filled.adopt("model-a", 3)
    for attempt in (filled.check_identity, partial(filled.adopt, dim=3)):
        with pytest.raises(LibraryError, match="another model") as caught:
            attempt("model-b")
        command = caught.value.hint.removeprefix("re-index it: ")
        said = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
        words = [os.fsdecode(word) for word in said.split(b"\0")[:-1]]
        assert words == ["vsearch", "reindex", "--library", str(filled.path)]


def test_the_command_leaves_out_the_default_library(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.library.default_path", lambda: library.path)
    assert library.reindex_command() == "vsearch build-index FOLDER --reindex"
    library.set_folders(["/photos"], [])
    assert library.reindex_command() == "vsearch reindex"


def test_the_same_model_with_other_dimensions_is_refused(filled: Library) -> None:
    with pytest.raises(LibraryError, match="3 numbers"):
        filled.adopt("model-a", 4)


@pytest.mark.parametrize("word", ["plain", "two words", "it's", "new\nline", os.fsdecode(b"\xff'\\"), "ü", "-x", ""])
def test_shell_quoting(word: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf '%s' {shell(word)}"], capture_output=True, check=True).stdout
    assert said == os.fsencode(word)
    if word.isprintable():
        assert shell(word) == shlex.quote(word)


# ---- files that fail


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no library") as caught:
        Library.open(tmp_path / "none.sqlite3")
    assert "vsearch build-index FOLDER" in caught.value.hint
    assert not (tmp_path / "none.sqlite3").exists()


def test_empty_file_is_no_library_until_it_is_made_one(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite3"
    path.touch()
    with pytest.raises(LibraryError, match="no library"):
        Library.open(path)
    Library.open(path, create=True).close()
    Library.open(path).close()


def test_made_with_its_folders(tmp_path: Path) -> None:
    with Library.open(tmp_path / "a" / "b" / "library.sqlite3", create=True) as library:
        assert (library.count(), library.identity, library.dim) == (0, None, None)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError):
        Library.open(tmp_path / "file" / "library.sqlite3", create=True)


@pytest.mark.parametrize("data", [b"this is no database" * 100, b"SQLite format 3\0" + b"\0" * 4000])
def test_not_a_database(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "library.sqlite3"
    path.write_bytes(data)
    with pytest.raises(LibraryError, match="damaged or not a library") as caught:
        Library.open(path, create=True)
    assert str(path) in caught.value.hint
    assert path.read_bytes() == data  # never overwritten


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    for create in (False, True):
        with pytest.raises(LibraryError, match="not a library of vsearch"):
            Library.open(path, create=create)


def test_another_format(library: Library) -> None:
    library.note("format", "99")
    with pytest.raises(LibraryError, match="format 99"):
        Library.open(library.path)


def test_damaged_pages_are_named(filled: Library) -> None:
    with filled.writing():
        for number in range(3000):
            filled.put(row(f"/more/{number}", [1.0, number, 2.0]))
    filled.close()  # the log goes into the file
    data = bytearray(filled.path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    filled.path.write_bytes(bytes(data))
    with pytest.raises(LibraryError, match="damaged"), Library.open(filled.path) as library:
        library.vectors_after(0)
        library.dates_under("/")


def test_vectors_of_a_wrong_length_are_damage(filled: Library) -> None:
    filled.execute("UPDATE vectors SET vector = x'0011' WHERE id = 2")
    with pytest.raises(LibraryError, match="damaged"):
        filled.vectors_after(0)


def test_second_build_is_refused_at_once(library: Library) -> None:
    with library.building(), Library.open(library.path) as other:
        with pytest.raises(LibraryError, match="another build") as caught, other.building():
            pass
        assert caught.value.hint
    with library.building():  # free again
        pass


def test_locked_by_another_program(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.database.connection.BUSY_SECONDS", 0.05)
    with Library.open(library.path) as other, library.writing():
        library.note("x", "1")
        with pytest.raises(LibraryError, match="locked by another process"):
            other.note("y", "2")
        assert other.count() == 0  # reading goes on


def test_readers_see_one_moment(filled: Library) -> None:
    with Library.open(filled.path, read_only=True) as reader:
        with reader.snapshot():
            before = reader.count()
            filled.put(row("/photos/late.jpg", [1.0, 0.0, 0.0]))
            assert reader.count() == before
        assert reader.count() == before + 1


def test_read_only_cannot_be_written(filled: Library) -> None:
    with Library.open(filled.path, read_only=True) as reader:
        with pytest.raises(LibraryError, match="cannot be written"):
            reader.note("x", "1")
        with pytest.raises(LibraryError, match="reading only"), reader.building():
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(filled: Library) -> None:
    filled.close()
    filled.path.parent.chmod(0o555)
    try:
        with Library.open(filled.path, read_only=True) as reader:
            assert reader.count() == len(ODD_NAMES)
        with pytest.raises(LibraryError), Library.open(filled.path) as writer:
            writer.note("x", "1")
    finally:
        filled.path.parent.chmod(0o755)


def test_without_its_log_a_library_can_be_read_as_it_is(filled: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `read_only` falls back to on a read-only disk, where SQLite can make no files beside the library."""
    filled.close()
    assert not beside(filled.path, "-wal").exists()
    real = sqlite3.connect
    tried = []

    def stubborn(place: str, **named: Any) -> Any:
        tried.append(place)
        if "immutable" not in place:
            raise sqlite3.OperationalError("unable to open database file")
        return real(place, **named)

    monkeypatch.setattr("index.database.connection.sqlite3.connect", stubborn)
    with Library.open(filled.path, read_only=True) as reader:
        assert reader.count() == len(ODD_NAMES)
    assert len(tried) == 2


def test_disk_full_says_so(filled: Library) -> None:
    pages = filled.value("PRAGMA page_count")
    filled.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LibraryError, match="full") as caught:
        for number in range(2000):
            filled.put(row(f"/more/{number}", [1.0, 1.0, 1.0]))
    assert "free some space" in caught.value.hint
    assert filled.count() >= len(ODD_NAMES)


def test_library_at_an_odd_place(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"odd ?#% \xff\n")
    with Library.open(folder / "l.sqlite3", create=True) as library:
        library.adopt("m", 2)
    assert (folder / "l.sqlite3").exists()
    with Library.open(folder / "l.sqlite3", read_only=True) as library:
        assert library.identity == "m"


def test_no_torch() -> None:
    code = "import sys, index.library, index.search.searcher; print('torch' in sys.modules, 'nmslib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False False\n"
