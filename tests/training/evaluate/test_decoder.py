"""Finished caption trainings are measured on cached features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from tests.support.training_data import captions_with_two_views
from training.evaluate.decoder import evaluate_decoder
from training.recipe import Inputs
from training.run import train
from vsearch.errors import DataError

SMALL = {"embed": 12, "hidden": 24, "attention": 16, "dropout": 0.0, "max_len": 8}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return captions_with_two_views(tmp_path_factory.mktemp("data"))


def test_a_finished_run_is_evaluated(inputs: Inputs, tmp_path: Path) -> None:
    """On dev, beam 1, the table is what the run's own log has for its best epoch; other beams have names of theirs."""
    assert inputs.features is not None
    settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
    more = {"task.batch": "18", "task.captions_per_photo": "2", "task.dev_beam": "1", "loop.epochs": "3"}
    train("caption-adaptive", inputs, tmp_path, "cpu", {**settings, **more, "loop.average": "0"})
    assert json.loads((tmp_path / "recipe.json").read_text())["decoder"]["hidden"] == 24
    table = evaluate_decoder(tmp_path, inputs.data, inputs.features, "dev", (1, 4))
    best = max(
        (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()),
        key=lambda record: record["cider"],
    )
    assert (table["cider_beam1"], table["bleu4_beam1"]) == pytest.approx((best["cider"], best["bleu4"]))
    names = ["bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "vocabulary", "distinct"]
    assert list(table) == [f"{name}_beam{beam}" for beam in (1, 4) for name in names]
    assert table["vocabulary_beam1"] >= 1 and 0 < table["distinct_beam4"] <= 100

    at = ["evaluate", "captions", inputs.data, "--features", inputs.features, "--run", tmp_path, "--device", "cpu"]
    call = CliRunner().invoke(cli.app, [str(word) for word in [*at, "--beam", "1", "--beam", "4", "--json"]])
    assert json.loads(call.stdout) == {str(tmp_path): pytest.approx(table)}
    again = shutil.copytree(tmp_path, tmp_path.with_name("again"))
    lines = CliRunner().invoke(cli.app, [str(word) for word in [*at, "--run", again]]).stdout.splitlines()
    names = ["bleu1_beam1", "cider_beam3", "distinct_beam5"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert all(len(rows[name]) == 2 and rows[name][0] == rows[name][1] for name in names)
    assert float(rows["cider_beam1"][0]) == pytest.approx(table["cider_beam1"], abs=0.006)


def test_a_run_and_its_features_go_together(inputs: Inputs, tmp_path: Path) -> None:
    for words in (["--run", str(tmp_path)], ["--features", str(inputs.features)]):
        call = CliRunner().invoke(cli.app, ["evaluate", "captions", str(inputs.data), *words])
        assert call.exit_code == 2 and "go together" in call.stderr


def test_what_is_no_caption_run_is_named(inputs: Inputs, tmp_path: Path) -> None:
    assert inputs.features is not None
    with pytest.raises(DataError, match="cannot read the recipe"):
        evaluate_decoder(tmp_path, inputs.data, inputs.features, "dev")
    (tmp_path / "recipe.json").write_text('{"kind": "devise"}')
    with pytest.raises(DataError, match="trained no decoder"):
        evaluate_decoder(tmp_path, inputs.data, inputs.features, "dev")
    (tmp_path / "recipe.json").write_text('{"decoder": {"kind": "lstm"}}')
    with pytest.raises(DataError, match="cannot read"):
        evaluate_decoder(tmp_path, inputs.data, inputs.features, "dev")
