"""The commands with --store: what they print is what they print of a library with the same pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.conftest import new_url
from tests.support import tiny_model
from tests.support.commands import call
from tests.support.milvus import MilvusProcess

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.draw_pictures(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def library(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("library") / "photos.library"
    done = call("build-index", photos, "--library", place, "--model", tiny_model.model_folder())
    assert done.exit_code == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def store(library: Path, milvus: MilvusProcess) -> str:
    url = new_url(milvus)
    done = call("move", "--from", library, "--to", url, "--model", tiny_model.model_folder())
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"4 pictures copied; 4 pictures in {url}\nchecked: the counts, and 4 vectors")
    return url


@pytest.mark.parametrize(
    "command",
    [["search", "dog"], ["search", "dog", "--json", "--why"], ["similar", "red.png"], ["search", "sea", "-0"]],
)
def test_answers_are_those_of_the_library(command: list[str], photos: Path, library: Path, store: str) -> None:
    arguments = [photos / word if word == "red.png" else word for word in command]
    model = ("--model", tiny_model.model_folder())
    near, far = call(*arguments, "--library", library, *model), call(*arguments, "--store", store, *model)
    assert near.exit_code == far.exit_code == 0, far.stderr
    if "--json" in command:
        shown = [[(row["path"], row["score"], row["why"]) for row in json.loads(one.stdout)] for one in (near, far)]
        assert shown[0] == shown[1] and len(shown[0]) == 4
    else:
        assert near.stdout == far.stdout != ""


def test_a_move_again_copies_nothing_and_back_makes_a_library(library: Path, store: str, tmp_path: Path) -> None:
    model = ("--model", tiny_model.model_folder())
    again = call("move", "--from", library, "--to", store, *model)
    assert again.stdout.startswith("0 pictures copied, 4 were there; 4 pictures in")
    back = call("move", "--from", store, "--to", tmp_path / "back.library", *model)
    assert back.exit_code == 0, back.stderr
    found = [call("search", "dog", "--library", one, *model).stdout for one in (library, tmp_path / "back.library")]
    assert found[0] == found[1] != ""
    same = call("move", "--from", store, "--to", store, *model)
    assert same.exit_code == 1 and "to where they are" in same.stderr


def test_info_check_and_export(photos: Path, store: str, tmp_path: Path, library: Path) -> None:
    told = call("info", "--store", store, "--model", tiny_model.model_folder())
    assert told.exit_code == 0, told.stderr
    for line in (f"store        {store}, 4 pictures", "server       Milvus v2.3.5", f"folder       {photos}"):
        assert line in told.stdout
    checked = call("check", "--store", store)
    assert (checked.exit_code, checked.stdout) == (0, "all is well: 4 pictures, no graph\n")
    for name, place in (("near.npy", ("--library", library)), ("far.npy", ("--store", store))):
        assert call("export", tmp_path / name, *place).exit_code == 0
    rows = [
        {json.loads(line)["path"]: vector.tobytes() for line, vector in zip(lines, np.load(file), strict=True)}
        for file in (tmp_path / "near.npy", tmp_path / "far.npy")
        for lines in [file.with_suffix(".rows.jsonl").read_text().splitlines()]
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 4


def test_what_is_not_offered_or_not_there_is_one_line(store: str, library: Path, milvus: MilvusProcess) -> None:
    model = ("--model", tiny_model.model_folder())
    both = call("search", "dog", "--store", store, "--library", library, *model)
    assert both.exit_code == 1 and "name either --library or --store" in both.stderr
    camera = call("search", "dog", "--store", store, "--camera", "Canon", *model)
    assert camera.exit_code == 1 and "does not offer" in camera.stderr and "`vsearch move`" in camera.stderr
    weight = call("search", "dog", "--store", store, "--caption-weight", "0.123", *model)
    assert weight.exit_code == 1 and "--caption-weight 0" in weight.stderr
    other = call("search", "dog", "--store", store, "--model", tiny_model.model_folder(1))
    assert other.exit_code == 1 and "made by another model" in other.stderr
    none = call("search", "dog", "--store", new_url(milvus), *model)
    assert none.exit_code == 1 and "there is no store at" in none.stderr
    for done in (both, camera, weight, other, none):
        assert len(done.stderr.splitlines()) <= 2, done.stderr
