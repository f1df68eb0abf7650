"""Database: what goes in comes out, one model only, and every failure of the file has a remedy."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.database.database import Database
from index.database.schema import SCHEMA
from index.database.write import NewPicture
from index.paths import beside, default_path
from vsearch.commands.terms import typed
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
def filled(library: Database) -> Database:
    library.adopt("model-a", 3)
    library.write.start_run()
    for number, name in enumerate(ODD_NAMES):
        library.write.put(row(f"/photos/{name}", [1.0, float(number), 0.0], digest=bytes([number])))
    return library


def test_default_path_is_in_the_users_data_directory() -> None:
    assert default_path().name == "library.sqlite3" and default_path().parent.name == "vsearch"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_round_trip(filled: Database, name: str) -> None:
    picture = filled.read.picture(f"/photos/{name}")
    assert picture is not None
    assert (picture.path, picture.caption, picture.size, picture.mtime_ns) == (f"/photos/{name}", "a dog", 10, 20)
    with Database.open(filled.path, read_only=True) as again:
        assert again.read.picture(f"/photos/{name}") == picture


def test_a_library_that_is_closed_is_whole_without_its_log(tmp_path: Path) -> None:
    """Even where a reader had it open: a copy of the file only has every row."""
    with Database.open(tmp_path / "pics", create=True) as library:
        library.adopt("model-a", 3)
    with Database.open(tmp_path / "pics", read_only=True) as reader:
        assert reader.read.count() == 0
        with Database.open(tmp_path / "pics") as library:
            library.write.put(row("/photos/a.jpg", [1.0, 0.0, 0.0]))
        (tmp_path / "copy").write_bytes((tmp_path / "pics").read_bytes())
    with Database.open(tmp_path / "copy", read_only=True) as copy:
        assert copy.read.picture("/photos/a.jpg") is not None


def test_vectors_come_back_as_unit_vectors_by_ascending_id(filled: Database) -> None:
    ids, vectors = filled.read.vectors([6, 2, 99])
    assert ids.tolist() == [2, 6]
    expected = np.array([[1.0, 1.0, 0.0], [1.0, 5.0, 0.0]]) / np.sqrt([[2.0], [26.0]])
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=5e-4)  # they lie there as float16
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_vectors_of_any_length_and_none_without_direction(library: Database) -> None:
    library.adopt("m", 3)
    library.write.put(row("/p/1", [3e30, 0.0, 4e30]))  # beyond what float16 holds
    library.write.put(row("/p/2", [0.0, 3e-30, 4e-30]))
    assert np.allclose(library.read.vectors_after(0)[1], [[0.6, 0.0, 0.8], [0.0, 0.6, 0.8]], atol=1e-3)
    for values in ([0.0, 0.0, 0.0], [float("nan"), 0.0, 1.0], [float("inf"), 0.0, 1.0]):
        with pytest.raises(ValueError, match="not finite, or is zero"):
            library.write.put(row("/p/3", values))
    assert library.read.count() == 2 and library.read.picture("/p/3") is None


def test_many_ids_at_once(library: Database) -> None:
    library.adopt("m", 2)
    with library.writing():
        for number in range(1203):
            library.write.put(row(f"/p/{number}", [1.0, number]))
    ids, vectors = library.read.vectors(range(1, 1204))
    assert len(ids) == len(vectors) == len(library.read.pictures(range(1, 1204))) == 1203


def test_an_id_is_never_used_again(filled: Database) -> None:
    last = filled.read.last_id()
    filled.write.put(row(f"/photos/{ODD_NAMES[-1]}", [0.0, 0.0, 1.0]))  # the same path, another content
    assert filled.read.count() == len(ODD_NAMES)
    assert filled.read.last_id() == last + 1
    assert filled.read.removed(10**6).tolist() == [last]
    filled.write.remove([f"/photos/{ODD_NAMES[-1]}"])
    filled.write.put(row("/photos/new.jpg", [0.0, 1.0, 1.0]))
    assert filled.read.last_id() == last + 2
    assert filled.read.vectors([last, last + 1])[0].tolist() == []


def test_moved_picture_keeps_its_id(filled: Database) -> None:
    assert filled.write.touch(1, "/photos/other.jpg", 11, 21)
    picture = filled.read.pictures([1])[1]
    assert (picture.path, picture.size, picture.mtime_ns, picture.caption) == ("/photos/other.jpg", 11, 21, "a dog")
    assert not filled.write.touch(99, "/photos/x.jpg", 1, 1)


def test_copy_has_the_same_vector_bit_for_bit(filled: Database) -> None:
    assert filled.write.copy(2, "/photos/copy.jpg", 10, 20)
    copy = filled.read.picture("/photos/copy.jpg")
    assert copy is not None and [twin.id for twin in filled.read.by_hash(copy.hash)] == [2, copy.id]
    _, vectors = filled.read.vectors([2, copy.id])
    assert np.array_equal(vectors[0], vectors[1])
    assert not filled.write.copy(99, "/photos/x.jpg", 1, 1)


def test_below_a_folder_is_a_matter_of_whole_names(library: Database) -> None:
    library.adopt("m", 2)
    for path in ("/a/b/1.jpg", "/a/b/c/2.jpg", "/a/bc/3.jpg", "/a/b.jpg", "/a/b\xff/4.jpg", "/a/b0.jpg"):
        library.write.put(row(path, [1.0, 0.0]))
        library.write.skip(path + ".gif", 1, 2, "broken")
    assert [dates.path for dates in library.read.dates_under("/a/b")] == ["/a/b/1.jpg", "/a/b/c/2.jpg"]
    assert library.read.ids_under("/a/b/").tolist() == [1, 2]
    assert [path for path, *_ in library.read.skipped_under("/a/b")] == ["/a/b/1.jpg.gif", "/a/b/c/2.jpg.gif"]
    assert len(library.read.ids_under("/")) == 6


def test_skipping_forgets_the_picture_and_back(filled: Database) -> None:
    path = f"/photos/{ODD_NAMES[1]}"
    filled.write.skip(path, 1, 2, "truncated")
    assert filled.read.picture(path) is None and filled.read.skipped() == [(path, "truncated")]
    filled.write.put(row(path, [1.0, 1.0, 1.0]))
    assert filled.read.picture(path) is not None and filled.read.skipped() == []


def test_a_failed_transaction_leaves_nothing(filled: Database) -> None:
    before = filled.read.count()
    with pytest.raises(KeyError), filled.writing():
        filled.write.put(row("/photos/x.jpg", [1.0, 0.0, 0.0]))
        raise KeyError
    assert filled.read.count() == before and filled.read.picture("/photos/x.jpg") is None


# ---- whose vectors


def test_another_model_is_refused_with_the_command(filled: Database) -> None:
    folders = ["/photos", "/with blank", "/it's", os.fsdecode(b"/bytes\xff")]
    filled.write.set_folders(folders, [])
    filled.check_identity("model-a")
    filled.adopt("model-a", 3)
    for attempt in (filled.check_identity, partial(filled.adopt, dim=3)):
        with pytest.raises(LibraryError, match="another model") as caught:
            attempt("model-b")
        code = f"Library.open({str(filled.path)!r}, model, reindex=True).build(reindex=True)"
        assert caught.value.hint == f"re-index it: `{code}`"
        command = typed(caught.value.hint).removeprefix("re-index it: ")
        said = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
        words = [os.fsdecode(word) for word in said.split(b"\0")[:-1]]
        assert words == ["vsearch", "reindex", "--library", str(filled.path)]


def test_the_remedy_leaves_out_the_default_library(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.remedies.default_path", lambda: library.path)
    assert library.reindex_code() == "`Library.open(model=model, reindex=True).build([folder], reindex=True)`"
    library.write.set_folders(["/photos"], [])
    assert library.reindex_code() == "`Library.open(model=model, reindex=True).build(reindex=True)`"


def test_the_same_model_with_other_dimensions_is_refused(filled: Database) -> None:
    with pytest.raises(LibraryError, match="3 numbers"):
        filled.adopt("model-a", 4)


# ---- files that fail


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no library") as caught:
        Database.open(tmp_path / "none.sqlite3")
    assert ".build([folder])`" in caught.value.hint
    assert not (tmp_path / "none.sqlite3").exists()


def test_empty_file_is_no_library_until_it_is_made_one(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite3"
    path.touch()
    with pytest.raises(LibraryError, match="no library"):
        Database.open(path)
    Database.open(path, create=True).close()
    Database.open(path).close()


def test_made_with_its_folders(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a" / "b" / "library.sqlite3", create=True) as library:
        assert (library.read.count(), library.read.identity, library.read.dim) == (0, None, None)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError):
        Database.open(tmp_path / "file" / "library.sqlite3", create=True)


@pytest.mark.parametrize("data", [b"this is no database" * 100, b"SQLite format 3\0" + b"\0" * 4000])
def test_not_a_database(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "library.sqlite3"
    path.write_bytes(data)
    with pytest.raises(LibraryError, match="not a library") as caught:
        Database.open(path, create=True)
    assert str(path) in str(caught.value) and caught.value.hint
    assert path.read_bytes() == data  # never overwritten


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    for create in (False, True):
        with pytest.raises(LibraryError, match="not a library of vsearch"):
            Database.open(path, create=create)


def test_another_format(library: Database) -> None:
    library.write.note("format", "99")
    with pytest.raises(LibraryError, match="format 99"):
        Database.open(library.path)


def test_damaged_pages_are_named(filled: Database) -> None:
    with filled.writing():
        for number in range(3000):
            filled.write.put(row(f"/more/{number}", [1.0, number, 2.0]))
    filled.close()  # the log goes into the file
    data = bytearray(filled.path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    filled.path.write_bytes(bytes(data))
    with pytest.raises(LibraryError, match="damaged"), Database.open(filled.path) as library:
        library.read.vectors_after(0)
        library.read.dates_under("/")


def test_vectors_of_a_wrong_length_are_damage(filled: Database) -> None:
    filled.connection.execute("UPDATE vectors SET vector = x'0011' WHERE id = 2")
    with pytest.raises(LibraryError, match="damaged"):
        filled.read.vectors_after(0)


def test_second_build_is_refused_at_once(library: Database) -> None:
    with library.building(), Database.open(library.path) as other:
        with pytest.raises(LibraryError, match="another build") as caught, other.building():
            pass
        assert caught.value.hint
    with library.building():  # free again
        pass


def test_locked_by_another_program(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.database.connection.BUSY_SECONDS", 0.05)
    with Database.open(library.path) as other, library.writing():
        library.write.note("x", "1")
        with pytest.raises(LibraryError, match="locked by another process"):
            other.write.note("y", "2")
        assert other.read.count() == 0  # reading goes on


def test_readers_see_one_moment(filled: Database) -> None:
    with Database.open(filled.path, read_only=True) as reader:
        with reader.snapshot():
            before = reader.read.count()
            filled.write.put(row("/photos/late.jpg", [1.0, 0.0, 0.0]))
            assert reader.read.count() == before
        assert reader.read.count() == before + 1


def test_read_only_cannot_be_written(filled: Database) -> None:
    with Database.open(filled.path, read_only=True) as reader:
        with pytest.raises(LibraryError, match="cannot be written"):
            reader.write.note("x", "1")
        with pytest.raises(LibraryError, match="reading only"), reader.building():
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(filled: Database) -> None:
    filled.close()
    filled.path.parent.chmod(0o555)
    try:
        with Database.open(filled.path, read_only=True) as reader:
            assert reader.read.count() == len(ODD_NAMES)
        with pytest.raises(LibraryError), Database.open(filled.path) as writer:
            writer.write.note("x", "1")
    finally:
        filled.path.parent.chmod(0o755)


def test_without_its_log_a_library_can_be_read_as_it_is(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `read_only` falls back to on a read-only disk, where SQLite can make no files next to the library."""
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
    with Database.open(filled.path, read_only=True) as reader:
        assert reader.read.count() == len(ODD_NAMES)
    assert ["immutable" in place for place in tried] == [True, False, True]  # a look, then two attempts


def test_disk_full_says_so(filled: Database) -> None:
    pages = filled.connection.value("PRAGMA page_count")
    filled.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LibraryError, match="full") as caught:
        for number in range(2000):
            filled.write.put(row(f"/more/{number}", [1.0, 1.0, 1.0]))
    assert "free some space" in caught.value.hint
    assert filled.read.count() >= len(ODD_NAMES)


def test_a_sqlite_without_full_text_search_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(statement.replace("USING fts5", "USING fts_missing") for statement in SCHEMA)
    monkeypatch.setattr("index.database.write.SCHEMA", without)
    with pytest.raises(LibraryError, match="no full-text search") as caught:
        Database.open(tmp_path / "l", create=True)
    assert "a Python whose SQLite has it" in caught.value.hint
    monkeypatch.undo()
    Database.open(tmp_path / "l", create=True).close()  # nothing half made is in the way


def test_library_at_an_odd_place(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"odd ?#% \xff\n")
    with Database.open(folder / "l.sqlite3", create=True) as library:
        library.adopt("m", 2)
    assert (folder / "l.sqlite3").exists()
    with Database.open(folder / "l.sqlite3", read_only=True) as library:
        assert library.read.identity == "m"


def test_no_torch() -> None:
    code = "import sys, index.library, index.search.searcher; print('torch' in sys.modules, 'nmslib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False False\n"
