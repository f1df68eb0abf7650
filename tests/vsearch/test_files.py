"""Files replaced in one step, their sha256, and JSON that is read or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsearch.errors import DataError, ModelError
from vsearch.files import load_json, read_json, read_table, replacing, sha256, write_bytes, write_json


@pytest.mark.parametrize("unique", [False, True])
def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path, unique: bool) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with replacing(path, unique=unique) as fresh:
        fresh.write_bytes(b"new")
        assert fresh.parent == tmp_path and fresh.name.startswith("x.bin.")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_on_an_error_nothing_changes_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as fresh:
        fresh.write_bytes(b"ne")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_unique_names_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "x", unique=True) as one, replacing(tmp_path / "x", unique=True) as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "x").read_text() == "1"  # the last to end


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # the example of FIPS 180-4
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(OSError, match="No such file"):
        sha256(tmp_path / "none")


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"é": [1, None]})
    assert (tmp_path / "x.json").read_bytes() == '{\n  "é": [\n    1,\n    null\n  ]\n}\n'.encode()
    assert load_json(tmp_path / "x.json") == read_table(tmp_path / "x.json", ModelError) == {"é": [1, None]}


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="."):
        load_json(path)
    with pytest.raises(DataError, match="cannot read the list .*x.json: ") as caught:
        read_json(path, DataError, "write it again", what="the list ")
    assert caught.value.hint == "write it again"


def test_a_missing_file_has_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not here"):
        read_json(tmp_path / "none.json", DataError, missing=ModelError("not here"))
    with pytest.raises(DataError, match="cannot read"):
        read_json(tmp_path / "none.json", DataError)


def test_a_list_is_no_table(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(ModelError, match="it is no table"):
        read_table(tmp_path / "x.json", ModelError)
