"""The learning-rate finder: the sweep, its suggestions, and that it leaves nothing behind."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.loop.config import LoopConfig
from training.loop.lr_finder import LrCurve, find_lr, smoothed
from training.loop.task import Loss, ParameterGroup
from vsearch.errors import ConfigError, VsearchError

CPU = torch.device("cpu")
CONFIG = LoopConfig(bf16=False)


class Slope:
    """y = 3 x - 1 by least squares, with batch normalisation; it has buffers, too."""

    monitor = ""

    def __init__(self, scale: float = 1.0) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
        self.scale = scale

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return 7

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        return (torch.rand(32, 1, generator=generator) for _ in range(7))

    def loss(self, batch: Tensor) -> Loss:
        return Loss(((self.module(batch) - 3 * batch + 1) ** 2).mean() * self.scale, len(batch))

    def evaluate(self) -> dict[str, float]:
        return {}


def test_smoothing_has_no_bias_towards_zero() -> None:
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0] * 3)
    # (0.9 * 0.1 * 1 + 0.1 * 2) / (1 - 0.81) = 0.29 / 0.19
    assert smoothed([1.0, 2.0]) == pytest.approx([1.0, 29 / 19])


def test_suggestions_by_hand() -> None:
    # Lowest at 1e-1, a tenth of it is 1e-2. Differences over a decade, central: -0.5, -1, -3, -4, -1.5 and then up; the
    # steepest is -4, at 1e-2.
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    curve = LrCurve(rates, (0.0,) * 6, (10.0, 9.5, 8.0, 3.5, 0.0, 0.5))
    assert curve.steepest == 1e-2
    assert curve.tenth == pytest.approx(1e-2)
    assert LrCurve(rates, (0.0,) * 6, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)).steepest == 1e-5  # it only rises


def test_the_sweep_rises_evenly_ends_when_it_diverges_and_finds_a_rate_that_learns() -> None:
    task = Slope()
    told: list[tuple[int, int]] = []
    curve = find_lr(task, CONFIG, CPU, low=1e-5, high=1e3, steps=120, progress=lambda *n: told.append(n))
    assert 20 < len(curve.lr) < 120  # more than an epoch, and not to the end
    assert curve.smooth[-1] > 4 * min(curve.smooth)
    assert np.diff(np.log10(curve.lr)) == pytest.approx(np.full(len(curve.lr) - 1, 8 / 119))
    assert curve.lr[0] == pytest.approx(1e-5)
    assert told[-1] == (len(curve.lr) - 1, 120)
    assert 1e-4 < curve.steepest < 1.0
    assert list(curve.smooth) == pytest.approx(smoothed(list(curve.loss)))


def test_nothing_is_left_behind() -> None:
    task = Slope()
    task.module.eval()
    before = {k: v.clone() for k, v in task.module.state_dict().items()}
    torch.manual_seed(7)
    expected = float(torch.rand(1))
    torch.manual_seed(7)
    find_lr(task, CONFIG, CPU, steps=20)
    assert float(torch.rand(1)) == expected
    assert all(torch.equal(v, before[k]) for k, v in task.module.state_dict().items())
    assert not task.module.training
    assert all(p.grad is None for p in task.module.parameters())


def test_a_curve_that_cannot_be_is_refused() -> None:
    for low, high, steps in ((0.0, 1.0, 100), (1.0, 0.1, 100), (1e-3, 1.0, 9)):
        with pytest.raises(ConfigError):
            find_lr(Slope(), CONFIG, CPU, low, high, steps)
    task = Slope(math.nan)
    before = {k: v.clone() for k, v in task.module.state_dict().items()}
    with pytest.raises(VsearchError, match="diverged at once"):
        find_lr(task, CONFIG, CPU)
    assert torch.equal(task.module.state_dict()["0.weight"], before["0.weight"])
