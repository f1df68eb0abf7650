"""`vsearch prepare`, `train` and `evaluate`, from raw data drawn on the spot to numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from tests.support.tiny_model import SENTENCES, model_folder
from tests.support.training_data import flickr8k, teacher, tiny_imagenet


def call(*arguments: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])


def done(*arguments: str | os.PathLike[str]) -> str:
    """stdout of a call that must go well."""
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data, and from them words/, captions.h5 and labels.h5."""
    folder = tmp_path_factory.mktemp("data")
    flickr8k(folder / "flickr8k")
    tiny_imagenet(folder / "tiny-imagenet", per_class=4)
    teacher(folder / "teacher")
    (folder / "text").mkdir()
    (folder / "text" / "corpus.txt").write_text("\n".join(SENTENCES))
    sizes = ["--dim", "10", "--min-count", "1", "--bucket", "100", "--epochs", "1", "--threads", "1"]
    done(
        "prepare", "words", folder / "text" / "corpus.txt", folder / "words", "--captions", folder / "flickr8k", *sizes
    )
    return folder


def test_prepare_train_and_evaluate(data: Path, tmp_path: Path) -> None:
    words, model = data / "words", model_folder()
    captions, labels, features = tmp_path / "captions.h5", tmp_path / "labels.h5", tmp_path / "features.h5"
    told = done("prepare", "captions", data / "flickr8k", captions, "--words", words, "--min-word-freq", "1")
    assert "18 photos, 36 captions" in told
    assert "30 pictures" in done("prepare", "labels", data / "tiny-imagenet", labels, "--words", words)
    done("prepare", "features", captions, features, "--model", model, "--views", "2")

    small = ["--set", "devise.dim=10", "--set", "devise.hidden=8", "--set", "loop.epochs=1", "--set", "task.batch=6"]
    small += ["--set", "task.label_batch=0", "--set", "task.label_weight=0.0"]
    run = tmp_path / "run"
    done("train", "devise", "--data", captions, "--features", features, "--output", run, "--device", "cpu", *small)
    assert (run / "best.safetensors").is_file()

    table = done("evaluate", "captions", captions, "--split", "test", "--beam", "1", "--beam", "2", "--model", model)
    assert {"bleu4_beam1", "bleu4_beam2"} <= {line.split()[0] for line in table.splitlines()}
    found = json.loads(
        done("evaluate", "captions", captions, "--beam", "1", "--word", "dog", "--model", model, "--json")
    )
    assert 0 <= found["words"]["dog"]["fit"] <= 5
    assert len(found["words"]["dog"]["pictures"]) == 5


def test_prepare_distil(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "distil.h5"
    photos, labels = data / "flickr8k" / "images", data / "tiny-imagenet"
    done(
        "prepare",
        "distil",
        photos,
        "--labels",
        labels,
        "--teacher",
        data / "teacher",
        "--crops",
        "1",
        "--output",
        output,
    )
    assert output.is_file()


def test_a_bundle_runs_by_stages(data: Path, tmp_path: Path) -> None:
    at: list[str | Path] = ["--data", data, "--teacher", data / "teacher"]
    at += ["--work", tmp_path / "work", "--output", tmp_path / "model"]
    refused = call("train", "bundled-small", *at, "--stage", "cook")
    assert refused.exit_code == 1
    assert "known: words" in refused.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["devise", "--data", "x.h5", "--output", "run", "--work", "work"],
        ["bundled", "--data", "data", "--output", "model", "--features", "x.h5"],
        ["bundled", "--data", "data", "--output", "model"],
        ["bundled", "--data", "data", "--output", "model", "--work", "work", "--teacher", "teacher"],
        ["bundled-small", "--data", "data", "--output", "model", "--work", "w", "--teacher", "t", "--pretrained", "p"],
        ["devise", "--data", "x.h5", "--output", "run", "--set", "loop.epochs"],
        ["devise", "--data", "x.h5"],
    ],
)
def test_options_that_would_do_nothing_are_refused(wrong: list[str]) -> None:
    refused = call("train", *wrong)
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    "wrong",
    [
        ["train", "nonsense", "--data", "x.h5", "--output", "run"],
        ["train", "devise", "--data", "x.h5", "--features", "y.h5", "--output", "run"],
        ["evaluate", "captions", "x.h5", "--model", "nowhere"],
        ["prepare", "captions", "nowhere", "x.h5", "--words", "nowhere"],
    ],
)
def test_what_is_missing_is_one_line_of_error(
    wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = call(*wrong)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_learning_rate_is_looked_for_in_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    call = ["find-lr", "devise-tuned", "--data", str(tmp_path / "c.h5"), "--output", str(tmp_path / "lr.png")]
    result = CliRunner().invoke(cli.app, call)
    assert result.exit_code == 1
    assert "in a single process; leave out torchrun" in result.stderr
