"""Photos with many labels, and captions without photos, as their files say it; and what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from training.data.sources.json_lines import read_lines
from training.data.sources.scenes import Scene, class_names, read_scenes
from vsearch.errors import DataError


def write(path: Path, *tables: object) -> Path:
    text = "".join(json.dumps(table) + "\n" for table in tables)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, "utf-8")
    return path


def test_names_and_names_with_shares_are_read(tmp_path: Path) -> None:
    write(
        tmp_path / "labels.jsonl",
        {"image": "a.jpg", "labels": ["dog", "frisbee"], "counts": {"dog": 2}},
        {"image": "b.jpg", "labels": [["sky", 0.4], ["dog", 0]]},
    )
    scenes = read_scenes(tmp_path)
    asked = frozenset({"dog", "frisbee", "sky"})
    assert scenes == [
        Scene(tmp_path / "a.jpg", {"dog": 1.0, "frisbee": 1.0}, asked),
        Scene(tmp_path / "b.jpg", {"sky": 0.4, "dog": 0.0}, asked),
    ]
    assert class_names(scenes) == ["dog", "frisbee", "sky"]
    for name in ("b.jpg", "d.JPG", "c.png", "notes.txt"):
        (tmp_path / name).touch()
    rest = [Scene(tmp_path / name, {}, frozenset()) for name in ("c.png", "d.JPG")]
    assert read_scenes(tmp_path, unlabelled=True) == [*scenes, *rest]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"labels": []}, "line 1: 'image' is missing"),
        ({"image": "a.jpg", "labels": "dog"}, "line 1: 'labels' is no list"),
        ({"image": "a.jpg", "labels": [["dog", 2]]}, r"line 1: \['dog', 2\] is neither a name nor a name with a share"),
        ({"image": "a.jpg", "labels": [7]}, "line 1: 7 is neither a name nor"),
        (["a.jpg"], "line 1: not a table"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, table: object, message: str) -> None:
    write(tmp_path / "labels.jsonl", table)
    with pytest.raises(DataError, match=message):
        read_scenes(tmp_path)


def test_a_photo_stands_once(tmp_path: Path) -> None:
    write(tmp_path / "labels.jsonl", *[{"image": "a.jpg", "labels": []}] * 2)
    with pytest.raises(DataError, match=r"line 2: a\.jpg is there twice"):
        read_scenes(tmp_path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl: No such file"):
        list(read_lines(tmp_path / "none.jsonl"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"captions": ["a cat"]}\n{"captions"', "utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl, line 2 is not JSON"):
        list(read_lines(broken))
    cut = write(tmp_path / "cut.jsonl.gz", *[{"captions": [str(i)]} for i in range(99)])
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(DataError, match=r"cannot read .*cut\.jsonl\.gz"):
        list(read_lines(cut))
