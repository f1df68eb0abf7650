"""`vsearch evaluate devise`: a finished model and several trainings in one table."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from tests.support.tiny_model import model_folder
from tests.support.training_data import features, tiny_imagenet

ENGINE = "n00000002"


def call(*arguments: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])


def done(*arguments: str | os.PathLike[str]) -> str:
    """stdout of a call that must go well."""
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels.h5 of three classes, features.h5, and short trainings words/ and softmax/ that left out engine."""
    from training.data.prepared import open_prepared

    folder = tmp_path_factory.mktemp("data")
    tiny_imagenet(folder / "t", per_class=4)
    done("prepare", "labels", folder / "t", folder / "labels.h5", "--words", model_folder())
    with open_prepared(folder / "labels.h5", "labels") as file:
        features(folder / "features.h5", list(file["pictures/name"].asstr()[:]))
    small = ["devise.dim=12", "devise.hidden=8", "task.batch=8", "loop.epochs=1", f'task.unseen=["{ENGINE}"]']
    for target in ("words", "softmax"):
        settings = [x for setting in [*small, f"task.target={target}"] for x in ("--set", setting)]
        at: list[str | Path] = [
            "--data",
            folder / "labels.h5",
            "--features",
            folder / "features.h5",
            "--output",
            folder / target,
        ]
        done("train", "devise-zero-shot", *at, "--device", "cpu", *settings)
    return folder


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    """dog and boat are brown, engine is not."""
    (tmp_path / "is_a.txt").write_text("n00000000 brown\nn00000001 brown\nn00000002 thing\nbrown thing\n")
    return tmp_path / "is_a.txt"


def test_a_model_without_unseen_classes(data: Path, hierarchy: Path) -> None:
    at: list[str | Path] = ["--model", model_folder(), "--device", "cpu"]
    table = json.loads(done("evaluate", "devise", data / "labels.h5", "--hierarchy", hierarchy, "--json", *at))
    assert set(table) == {"model"}
    figures = table["model"]
    assert set(figures["words"]) == {"dog", "boat", "engine"}
    assert figures["all among all, hit@1"] <= figures["all among all, hit@2"] <= figures["all among all, hit@5"] == 100
    assert figures["all among all, precision@5"] == 100
    assert 0 < figures["1 - cos, all"] < 2
    # the gallery is the six dev pictures, two of a class, so that the ten nearest are all of them
    assert figures["word precision@10"] == pytest.approx(100 / 3)
    assert not [name for name in figures if name.startswith(("seen", "unseen"))]


def test_unseen_classes_of_a_model_by_file(data: Path, tmp_path: Path) -> None:
    (tmp_path / "unseen.txt").write_text(f"{ENGINE}\n")
    at: list[str | Path] = ["--unseen", tmp_path / "unseen.txt", "--model", model_folder(), "--device", "cpu"]
    lines = done("evaluate", "devise", data / "labels.h5", *at).splitlines()
    named = {line[:36].strip(): line[36:].split() for line in lines[1:]}
    assert {"seen among all, hit@1", "unseen among unseen, hit@1", "1 - cos, unseen", "engine"} <= set(named)
    assert named["unseen among unseen, hit@1"] == ["100.00"]  # it is the only one
    assert not [name for name in named if "precision@" in name and "word" not in name]  # no hierarchy was named
    refused = call("evaluate", "devise", data / "labels.h5", "--unseen", "devise-zero-shot", "--model", model_folder())
    assert refused.exit_code == 1
    assert "not in the data" in refused.stderr


def test_trainings_stand_side_by_side(data: Path, hierarchy: Path) -> None:
    runs: list[str | Path] = [
        "--run",
        data / "words",
        "--run",
        data / "softmax",
        "--model",
        model_folder(),
        "--device",
        "cpu",
    ]
    at: list[str | Path] = ["--features", data / "features.h5", "--hierarchy", hierarchy, *runs]
    lines = done("evaluate", "devise", data / "labels.h5", *at).splitlines()
    names = ["words", "words, scaled", "softmax", "softmax, ConSE", "softmax, ConSE, scaled"]
    assert [name for name in re.split(r"\s{2,}", lines[0]) if name] == names
    named = {line[:36].strip(): line[36:].split() for line in lines[1:]}
    assert named["unseen among all, hit@1"][2] == "-"
    assert named["1 - cos, seen"][2] == "-" and len(named["1 - cos, seen"][0].partition(".")[2]) == 4
    assert all(len(values) == 5 for values in named.values())
    table = json.loads(done("evaluate", "devise", data / "labels.h5", *at, "--json"))
    assert list(table) == names
    assert table["softmax"]["unseen among all, hit@1"] is None and table["softmax"]["words"] == {}
    assert f"{table['words']['all among all, hit@1']:.2f}" == named["all among all, hit@1"][0]
    assert set(table["words"]["words"]) == {"engine"}


@pytest.mark.parametrize(
    "wrong",
    [["--run", "words"], ["--run", "words", "--features", "features.h5", "--unseen", "devise-zero-shot"]],
)
def test_options_that_do_not_go_together_are_refused(data: Path, wrong: list[str]) -> None:
    refused = call("evaluate", "devise", data / "labels.h5", *wrong)
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_what_is_missing_is_one_line_of_error(data: Path, tmp_path: Path) -> None:
    for wrong in (
        [tmp_path / "none.h5"],
        [data / "features.h5"],
        [data / "labels.h5", "--hierarchy", tmp_path / "none.txt"],
        [data / "labels.h5", "--run", tmp_path, "--features", data / "features.h5"],
    ):
        refused = call("evaluate", "devise", *wrong, "--model", model_folder())
        assert (refused.exit_code, refused.stdout) == (1, ""), wrong
        assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
