"""Markers in a folder: written once whoever tries, and never half."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.shards.markers import FolderPlace, Markers, S3Place, build_name, default_place, place_of
from index.shards.photo import Skipped
from vsearch.errors import VsearchError


@pytest.fixture
def markers(tmp_path: Path) -> Markers:
    kept = Markers(FolderPlace(tmp_path / "kept"), "0123")
    kept.begin({"store": "photos"})
    return kept


def test_only_one_of_many_marks_a_shard(markers: Markers) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda n: markers.mark("a", {"written": n}), range(32))) == [False] * 31 + [True]
    assert markers.done() == {"a"}


def test_what_is_skipped_is_kept_with_its_reason(markers: Markers, tmp_path: Path) -> None:
    for _ in range(2):
        markers.note_skipped("a", [Skipped("x.tar#b\n\udce9.jpg", "truncated")])
    file = tmp_path / "kept" / "_skipped" / "0123" / "a.jsonl"
    assert file.read_text() == '{"path": "x.tar#b\\n\\udce9.jpg", "reason": "truncated"}\n'


def test_forgotten_markers_are_gone_and_those_of_another_build_stay(markers: Markers, tmp_path: Path) -> None:
    other = Markers(FolderPlace(tmp_path / "kept"), "4567")
    for one in (markers, other):
        one.mark("a", {})
    markers.forget()
    assert (markers.done(), other.done()) == (set(), {"a"})
    assert markers.mark("a", {})


def test_a_full_disk_leaves_no_marker(markers: Markers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(VsearchError, match="no space left on device") as raised:
        markers.mark("a", {"written": 1})
    assert "markers=place" in raised.value.hint
    monkeypatch.undo()
    assert markers.done() == set()


def test_a_place_that_cannot_be_written_is_said_before_the_first_photo(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VsearchError, match="not a directory"):
        Markers(FolderPlace(tmp_path / "file"), "0123").begin({})


def test_a_build_is_one_store_model_and_way_to_describe() -> None:
    names = {
        build_name(store, identity, captions=captions, beam=beam)
        for store in ("milvus://a:1/x", "milvus://a:1/y")
        for identity in ("m", "n")
        for captions in (True, False)
        for beam in (None, 3)
    }
    assert len(names) == 16


def test_markers_lie_next_to_photos_in_s3_and_never_in_a_folder_of_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_place(["/photos", "s3://b/shards/"]) == "s3://b/shards/"
    assert default_place(["s3://b/shards/00017.tar"]) == "s3://b/shards/"
    assert default_place(["/photos"]) == str(tmp_path / "vsearch" / "shards")
    assert isinstance(place_of("s3://b/x"), S3Place) and isinstance(place_of("/x"), FolderPlace)
