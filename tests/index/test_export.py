"""Exported vectors and their pictures, read back."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from index import export as module
from index.database.database import Database
from index.database.write import NewPicture
from index.export import export
from vsearch.errors import LibraryError, VsearchError

PATHS = ["/p/a.jpg", os.fsdecode(b"/p/b\xff\n.jpg"), "/p/ü😀.jpg", "/p/d.jpg", "/p/e.jpg"]


@pytest.fixture
def filled(library: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Five pictures, read in blocks of two; one was removed again, so that ids have a gap."""
    monkeypatch.setattr(module, "_ROWS", 2)
    library.adopt("model", 3)
    rng = np.random.default_rng(0)
    for n, path in enumerate([*PATHS[:2], "/p/gone", *PATHS[2:]]):
        vector = rng.standard_normal(3).astype(np.float32)
        library.write.put(NewPicture(path, 10 + n, -5 + n, bytes([n] * 16), vector, "a dog" if n % 2 else None))
    library.write.remove(["/p/gone"])
    return library


def check_rows(library: Database, rows: list[dict[str, object]]) -> None:
    assert [row["path"] for row in rows] == PATHS
    for row in rows:
        picture = library.read.picture(str(row["path"]))
        assert picture is not None
        expected = {"id": picture.id, "path": picture.path, "caption": picture.caption, "size": picture.size}
        assert row == {**expected, "hash": picture.hash.hex(), "mtime_ns": picture.mtime_ns}


def test_npy_and_rows(filled: Database, tmp_path: Path) -> None:
    done = export(filled, tmp_path / "v.npy")
    assert (done.files, done.count, done.dim) == ((tmp_path / "v.npy", tmp_path / "v.rows.jsonl"), 5, 3)
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, filled.read.vectors_after(0)[1])
    lines = (tmp_path / "v.rows.jsonl").read_bytes().splitlines()
    check_rows(filled, [json.loads(line) for line in lines])
    assert os.fsencode(json.loads(lines[1])["path"]) == b"/p/b\xff\n.jpg"


def test_jsonl_holds_the_vectors_to_the_last_bit(filled: Database, tmp_path: Path) -> None:
    assert export(filled, tmp_path / "all.jsonl").files == (tmp_path / "all.jsonl",)
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text("ascii").splitlines()]
    vectors = np.array([row.pop("vector") for row in rows]).astype(np.float32)
    assert np.array_equal(vectors, filled.read.vectors_after(0)[1])
    check_rows(filled, rows)


def test_parquet(filled: Database, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(filled, tmp_path / "all.parquet")
    table = parquet.read_table(tmp_path / "all.parquet")
    rows = table.to_pylist()
    assert [row.pop("path_bytes") for row in rows] == [os.fsencode(path) for path in PATHS]
    assert [row.pop("path") for row in rows] == ["/p/a.jpg", "/p/b\ufffd .jpg", *PATHS[2:]]
    vectors = np.array([row.pop("vector") for row in rows], np.float32)
    assert np.array_equal(vectors, filled.read.vectors_after(0)[1])
    check_rows(filled, [{**row, "path": path} for row, path in zip(rows, PATHS, strict=True)])


def test_parquet_without_pyarrow_names_the_extra(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(VsearchError, match="pyarrow") as caught:
        export(filled, tmp_path / "all.parquet")
    assert "pip install 'vsearch-photos[parquet]'" in caught.value.hint
    assert not (tmp_path / "all.parquet").exists()


@pytest.mark.parametrize("name", ["v.npy", "v.jsonl"])
def test_a_failure_leaves_the_old_files(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    export(filled, tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("v.*")}
    filled.write.put(NewPicture("/p/f.jpg", 1, 1, bytes(16), np.ones(3, np.float32), None))
    real, calls = module._line, []

    def full(*arguments: object) -> bytes:
        calls.append(arguments)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_line", full)
    with pytest.raises(VsearchError, match="no space left"):
        export(filled, tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("v.*")} == before


def test_what_cannot_be_exported(library: Database, filled: Database, tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match="cannot export") as caught:
        export(filled, tmp_path / "v.csv")
    assert ".npy, .jsonl, .parquet" in caught.value.hint
    with pytest.raises(VsearchError, match="cannot write"):
        export(filled, tmp_path / "nowhere" / "v.npy")
    library.write.remove(PATHS)
    with pytest.raises(LibraryError, match="no picture") as empty:
        export(library, tmp_path / "v.npy")
    assert "`library.build([folder])`" in empty.value.hint


@pytest.mark.parametrize("table", ["vectors", "pictures"])
def test_rows_without_a_partner_are_an_error(filled: Database, tmp_path: Path, table: str) -> None:
    filled.connection.execute("DROP TRIGGER forget")
    filled.connection.execute(f"DELETE FROM {table} WHERE id = 2")
    with pytest.raises(LibraryError, match="without a") as caught:
        export(filled, tmp_path / "v.npy")
    assert "`library.check()`" in caught.value.hint
    assert list(tmp_path.glob("v.*")) == []
