"""Learning from an ensemble of trained decoders: what is kept of it, its order, its loss, and a training by it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.training_data import cached_captions
from training.data.caption_set import read_caption_set
from training.data.features import read_grid
from training.recipe import Inputs
from training.run import train
from training.tasks.caption import CaptionTaskConfig, teach
from training.tasks.decoding import load_decoder
from training.tasks.soft_targets import SoftTargets, packed_steps, soft_loss
from vsearch.config import from_dict
from vsearch.errors import ConfigError, DataError

CPU = torch.device("cpu")
SMALL = {
    "decoder.embed": "8", "decoder.hidden": "12", "decoder.attention": "8", "decoder.max_len": "8",
    "decoder.dropout": "0.0", "task.batch": "6", "task.captions_per_photo": "2", "task.alpha": "0.0", "loop.lr": "0.02",
    "loop.average": "0.0", "loop.epochs": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return cached_captions(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for kind in ("soft", "adaptive"):
        train(f"caption-{kind}", inputs, folder / kind, "cpu", {**SMALL, "loop.epochs": "40"})
    return [folder / "soft", folder / "adaptive"]


def test_packed_order_is_that_of_the_decoder() -> None:
    """Captions of 2, 4 and 3 words, marks included, have 1, 3 and 2 steps; time goes first, the longest in front."""
    values = torch.tensor([[10, 11, 12], [20, 21, 22], [30, 31, 32]])
    assert packed_steps(values, torch.tensor([2, 4, 3])).tolist() == [20, 30, 10, 21, 31, 22]


def test_loss_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/4; shares of 3/4 and 1/4 on the first and last: 3/4 ln 2 + 1/4 ln 4 = 5/4 ln 2."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    loss = soft_loss(logits, torch.tensor([[0, 2]]), torch.tensor([[0.75, 0.25]]))
    assert loss.item() == pytest.approx(1.25 * math.log(2), rel=1e-5)


def test_targets_are_the_mean_of_the_teachers_at_every_word(inputs: Inputs, runs: list[Path]) -> None:
    assert inputs.features is not None
    captioned = read_caption_set(inputs.data)
    grid = read_grid(inputs.features, captioned.names)
    captions: dict[int, list[int]] = {int(photo): [] for photo in captioned.rows("train")}
    for row, photo in enumerate(captioned.owner.tolist()):
        if photo in captions:
            captions[photo].append(row)
    soft = SoftTargets(runs, captioned, grid, captions, CPU)
    photo, rows = next(iter(captions.items()))
    row = rows[0]
    memory, length = torch.from_numpy(grid[[photo], 0]).float(), int(captioned.lengths[row])
    ids = torch.from_numpy(captioned.ids[[row]])[:, None]  # (1, 1, L)
    expected = torch.zeros(length - 1, len(captioned.vocabulary))
    with torch.no_grad():
        for run in runs:
            decoder = load_decoder(run, grid.shape[3], len(captioned.vocabulary))
            expected += teach(decoder, memory, ids, torch.tensor([[length]])).logits.softmax(-1) / 2
    words, shares = soft.of(np.array([[row]]))
    found = torch.zeros_like(expected).scatter_(1, words[0, 0, : length - 1], shares[0, 0, : length - 1].float())
    kept = expected.gather(1, words[0, 0, : length - 1]).sum(1)
    assert torch.allclose(found * kept[:, None], expected * (found > 0), atol=2e-3)
    assert shares[0, 0, length - 1 :].sum() == 0


def test_a_decoder_learns_from_teachers_alone(inputs: Inputs, runs: list[Path], tmp_path: Path) -> None:
    settings = {**SMALL, "task.teachers": json.dumps([str(run) for run in runs]), "loop.epochs": "40"}
    train("caption-soft", inputs, tmp_path / "all", "cpu", {**settings, "task.teaching": "1.0"})
    log = [json.loads(line) for line in (tmp_path / "all" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["soft"] < log[0]["soft"] - 0.1 and log[-1]["loss"] == pytest.approx(log[-1]["soft"], rel=1e-4)
    train("caption-soft", inputs, tmp_path / "none", "cpu", {**settings, "loop.epochs": "1", "task.teaching": "0.0"})
    train("caption-soft", inputs, tmp_path / "alone", "cpu", SMALL)
    losses = [json.loads((tmp_path / name / "log.jsonl").read_text())["loss"] for name in ("none", "alone")]
    assert losses[0] == losses[1]


def test_what_cannot_teach_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.teaching is 2"):
        from_dict(CaptionTaskConfig, {"teaching": 2}, "task")
    with pytest.raises(DataError, match="cannot read the recipe"):
        train("caption-soft", inputs, tmp_path, "cpu", {**SMALL, "task.teachers": json.dumps([str(tmp_path)])})
