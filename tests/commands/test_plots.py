"""`vsearch find-lr` and `vsearch plots`."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cli
from tests.support import training_worker
from training.commands.train import training_report
from training.loop.task import Status


def call(*arguments: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])


def test_find_lr_prints_and_draws(tmp_path: Path) -> None:
    training_worker.prepared(tmp_path)
    result = call(
        "find-lr", "devise", "--data", tmp_path / "captions.h5", "--features", tmp_path / "features.h5",
        "--output", tmp_path / "lr.png", "--device", "cpu", "--steps", "30", "--low", "1e-5", "--high", "0.1",
        "--set", f"devise.dim={training_worker.DIM}", "--set", "task.batch=8", "--set", "task.label_batch=0",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr or result.exception
    found = re.fullmatch(r"steepest fall +(\S+)\na tenth of the lowest +(\S+)\n", result.stdout)
    assert found is not None, result.stdout
    assert 1e-5 <= float(found[1]) <= 0.1 and 1e-6 <= float(found[2]) <= 0.01
    with Image.open(tmp_path / "lr.png") as picture:
        assert picture.width > 500


def test_plots_draws_the_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    record = {"epoch": 1, "loss": 1.0, "cider": 3.0}
    (tmp_path / "run" / "log.jsonl").write_text(json.dumps(record) + "\n")
    result = call("plots", tmp_path / "run", "--output", tmp_path / "all.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("all.png: loss, cider\n")
    assert call("plots", tmp_path / "run", "--output", tmp_path / "one.png", "--metric", "cider").exit_code == 0
    assert (tmp_path / "all.png").stat().st_size > (tmp_path / "one.png").stat().st_size


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["plots", "nowhere", "--output", "x.png"], "nowhere has no log.jsonl"),
        (["plots", "nowhere", "--output", "x.txt"], "cannot draw into x.txt"),
        (["plots", "nowhere", "--output", "no/x.png"], "no folder no to draw into"),
        (["find-lr", "devise", "--data", "x.h5", "--output", "x.txt"], "cannot draw into x.txt"),
        (["find-lr", "devise", "--data", "x.h5", "--output", "x.png"], "--features"),
    ],
)
def test_what_is_wrong_is_one_line_of_error(
    wrong: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*wrong)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_matplotlib_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for command in (["find-lr", "devise", "--data", "x.h5"], ["plots", os.fspath(tmp_path)]):
        result = call(*command, "--output", tmp_path / "x.png")
        assert result.exit_code == 1
        assert "pip install 'vsearch-photos[plots]'" in result.stderr


def test_a_bundle_refuses_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    at = ["--data", "x", "--teacher", "x", "--work", str(tmp_path / "work"), "--output", str(tmp_path / "model")]
    result = call("train", "bundled", *at)
    assert result.exit_code == 1
    assert "one process" in result.stderr
    assert not (tmp_path / "work").exists()


def test_the_training_bar_shows_loss_rate_speed_and_time_left() -> None:
    told: list[tuple[int, int, str]] = []
    report = training_report(lambda *words: told.append(words))
    report(Status(epoch=2, epochs=10, step=4, steps=20, loss=1.25, lr=1e-3, items_per_second=321.4, left=185))
    assert told == [(5, 20, "of epoch 2/10: loss 1.2500, lr 1.0e-03, 321/s, 3:05 left")]
