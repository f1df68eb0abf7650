"""`vsearch caption`: captions, their JSON, the heat-map, and what happens to bad files."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cli
from tests.support import tiny_model
from tests.support.commands import call
from vsearch.drawing.heatmap import FAINT, GAP, LABEL


def caption(*arguments: str | os.PathLike[str], kind: str = "soft") -> Result:
    words = [
        "caption",
        *(os.fspath(a) for a in arguments),
        "--model",
        str(tiny_model.model_folder(kind=kind)),
        "--device",
        "cpu",
    ]
    return CliRunner().invoke(cli.app, words)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.draw_pictures(tmp_path_factory.mktemp("photos"))


def test_one_line_for_each_photo(photos: Path) -> None:
    done = caption(photos / "red.png", photos / "green.jpg")
    lines = done.stdout.splitlines()
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.partition(": ")[0] for line in lines] == [str(photos / "red.png"), str(photos / "green.jpg")]
    assert all(line.partition(": ")[2] for line in lines)


def test_json_has_probability_and_runner_ups(photos: Path) -> None:
    (row,) = json.loads(caption(photos / "red.png", "--json").stdout)
    assert row["path"] == str(photos / "red.png")
    assert row["caption"] == caption(photos / "red.png").stdout.strip().partition(": ")[2]
    assert len(row["runner_ups"]) == 2
    every = [row, *row["runner_ups"]]
    assert len({r["caption"] for r in every}) == 3
    assert all(r["log_probability"] < 0 for r in every)


def test_beam_gives_as_many_captions(photos: Path) -> None:
    (row,) = json.loads(caption(photos / "red.png", "--json", "--beam", "6").stdout)
    assert len(row["runner_ups"]) == 5
    (row,) = json.loads(caption(photos / "red.png", "--json", "--beam", "1").stdout)
    assert row["runner_ups"] == []


def test_block_repeats(photos: Path) -> None:
    def repeats(*options: str) -> int:
        (row,) = json.loads(caption(photos / "red.png", "--json", "--beam", "30", *options).stdout)
        captions = [r["caption"].split() for r in (row, *row["runner_ups"])]
        assert len(captions) == 30
        pairs = [list(itertools.pairwise(words)) for words in captions]
        return sum(any(a == b for a, b in own) or len(set(own)) < len(own) for own in pairs)

    assert repeats() > 0
    assert repeats("--block-repeats") == 0


def test_json_has_the_sentinels_share_of_each_word(photos: Path) -> None:
    (row,) = json.loads(caption(photos / "red.png", "--json", kind="adaptive").stdout)
    assert len(row["sentinel"]) == len(row["caption"].split())
    assert all(0 < share < 1 for share in row["sentinel"])
    (row,) = json.loads(caption(photos / "red.png", "--json").stdout)
    assert "sentinel" not in row


def test_heatmap_of_an_adaptive_model_has_the_sentinels_share(photos: Path, tmp_path: Path) -> None:
    """The share is printed in grey, which the edges of black letters have in few places only."""
    grey = {}
    for kind in ("soft", "adaptive"):
        done = caption(photos / "blue.webp", "--heatmap", tmp_path / f"{kind}.png", kind=kind)
        assert done.exit_code == 0, done.stderr
        with Image.open(tmp_path / f"{kind}.png") as drawn:
            labels = np.asarray(drawn.convert("RGB"))[GAP : GAP + LABEL]
        grey[kind] = int((labels == FAINT).all(-1).sum())
    assert grey["adaptive"] > 20 + grey["soft"]


def test_heatmap_is_a_picture_with_a_part_for_each_word(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "attention.png"
    done = caption(photos / "blue.webp", "--heatmap", file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip()
    with Image.open(file) as drawn:
        assert drawn.size[0] * drawn.size[1] > 96 * 80


def test_heatmap_of_an_unknown_kind_is_an_error(photos: Path, tmp_path: Path) -> None:
    done = caption(photos / "blue.webp", "--heatmap", tmp_path / "attention.nonsense")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_heatmap_takes_one_photo(photos: Path, tmp_path: Path) -> None:
    done = caption(photos / "blue.webp", photos / "red.png", "--heatmap", tmp_path / "attention.png")
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_bad_file_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    done = caption(tmp_path / "empty.jpg", photos / "red.png", tmp_path / "none.png")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith("error: ")
    assert "empty.jpg" in errors[0]
    assert "none.png" in errors[1]
    rows = json.loads(caption(tmp_path / "empty.jpg", photos / "red.png", "--json").stdout)
    assert [Path(r["path"]).name for r in rows] == ["red.png"]


def test_a_strangers_vocabulary_reaches_no_terminal(photos: Path, tmp_path: Path) -> None:
    """Words with escape codes come out escaped, from --json as JSON has them."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.model_folder(), folder)
    words = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps([f"{word}\x1b]0;pwned\x07\u202e\n" for word in words]))
    arguments = ["caption", str(photos / "red.png"), "--model", str(folder), "--device", "cpu"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0 and r"\x1b]0;pwned\x07\u202e" in done.stdout
    assert done.stdout.count("\n") == 1 and done.stdout.rstrip("\n").isprintable()
    in_json = CliRunner().invoke(cli.app, [*arguments, "--json"]).stdout
    assert "\x1b" not in in_json and "\x1b" in json.loads(in_json)[0]["caption"]


def test_a_caption_is_corrected_and_taken_back(photos: Path, tmp_path: Path) -> None:
    at: list[str | os.PathLike[str]] = ["--library", tmp_path / "library"]
    at += ["--model", tiny_model.model_folder(kind="soft")]
    assert call("build-index", photos, *at).exit_code == 0
    model = caption(photos / "red.png").stdout
    assert caption(photos / "red.png", "--set", "a red\nbarn", *at[:2]).stdout == f"{photos / 'red.png'}: a red barn\n"
    [row] = json.loads(call("search", "--text", "barn", "--json", *at).stdout)
    assert row["caption"] == "a red barn" and row["path"] == str(photos / "red.png")
    assert call("build-index", photos, *at).stdout.startswith("nothing changed")
    done = caption(photos / "red.png", "--unset", "--json", *at[:2])
    [row] = json.loads(done.stdout)
    assert f"{row['path']}: {row['caption']}\n" == model
    assert call("search", "--text", "barn", *at).stderr == "no picture fits\n"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["a.png", "--set", "x", "--unset"], 2, "exclude each other"),
        (["a.png", "b.png", "--set", "x"], 2, "one photo at a time"),
        (["a.png", "--set", "x", "--beam", "3"], 2, "with --set and --unset only"),
        (["a.png", "--library", "some.library"], 2, "--library needs --set"),
        (["a.png", "--set", "x", "--library", "none.library"], 1, "there is no library at"),
    ],
)
def test_corrections_that_cannot_be(given: list[str], code: int, message: str) -> None:
    done = caption(*given)
    assert done.exit_code == code and message in " ".join(done.stderr.split()) and done.stdout == ""
