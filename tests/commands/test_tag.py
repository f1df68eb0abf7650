"""`vsearch tag`: which photos it takes, what it prints and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.tiny_model import draw_pictures, model_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tag-command")
    photos = draw_pictures(place / "photos")
    assert call("build-index", photos, "--library", place / "library", "--model", model_folder()).exit_code == 0
    return place


@pytest.fixture
def options(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(place)
    return ["--library", "library", "--model", os.fspath(model_folder())]


def test_a_photo_is_tagged_and_untagged(options: list[str]) -> None:
    planned = call("tag", "photos/red.png", "--dry-run", *options)
    assert "red.png.xmp\n  + " in planned.stdout and planned.stdout.endswith(
        "1 file would be changed, 0 as they were\n"
    )
    assert not Path("photos/red.png.xmp").exists()
    done = call("tag", "photos/red.png", *options)
    assert done.exit_code == 0 and done.stdout.endswith("1 file changed, 0 as they were\n")
    assert Path("photos/red.png.xmp").exists()
    [row] = json.loads(call("tag", "photos", "--undo", "--json", *options).stdout)
    assert row["file"].endswith("red.png.xmp") and row["undone"] and row["caption"] and row["keywords"] == []
    assert not Path("photos/red.png.xmp").exists()


def test_words_are_a_query(options: list[str]) -> None:
    done = call("tag", "dog", "-sail", "-k", "2", "--dry-run", *options)
    assert done.stdout.endswith("2 files would be changed, 0 as they were\n")
    all_of_them = call("tag", "dog", "--min-score", "-1", "--dry-run", *options)
    assert all_of_them.stdout.endswith("4 files would be changed, 0 as they were\n")
    none = call("tag", "dog", "--min-score", "2", *options)
    assert none.stdout == "0 files changed, 0 as they were\n" and "no picture fits" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["dog"], 2, "a query needs -k N or --min-score X"),
        (["photos", "-k", "2"], 2, "are for queries; these are files"),
        (["photos/red.png", "dog"], 1, "no photo dog"),
        (["dgo.jpg"], 1, "no photo dgo.jpg"),
        (["photos", "--xmp", "--in-file"], 2, "exclude each other"),
        (["dog", "--min-score", "nan"], 2, "--min-score takes a number"),
        (["library"], 1, "skipped library: not in the library"),
        (["photos/grey.bmp", "--in-file"], 1, "grey.bmp: only JPEG, PNG and WebP files take words"),
    ],
)
def test_what_is_refused(options: list[str], arguments: list[str], code: int, said: str) -> None:
    done = call("tag", *arguments, *options)
    assert done.exit_code == code and said in " ".join(done.stderr.replace("│", " ").split())
