"""A learning rate to start from: the range test of Smith 2017, "Cyclical Learning Rates", 3.3, as fast.ai does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import nn

from training.loop.config import LoopConfig
from training.loop.step import Stepper, Watch, steps_of
from training.loop.task import Stopped, Task
from vsearch.errors import ConfigError, VsearchError

SMOOTHING = 0.9  # of the loss: the weight of what was before
DIVERGED = 4.0  # times the best smoothed loss, counted from 0: the sweep ends


@dataclass(frozen=True)
class LrCurve:
    """What a sweep found: the learning rate of each step, the loss there as it was and smoothed."""

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    smooth: tuple[float, ...]

    @property
    def steepest(self) -> float:
        """The learning rate at which the smoothed loss falls fastest, over the logarithm of the rate."""
        slope = np.gradient(np.asarray(self.smooth), np.log(self.lr))
        start = min(len(slope) // 10, self._lowest)  # the first values are means of too few
        return self.lr[start + int(slope[start : self._lowest + 1].argmin())]

    @property
    def tenth(self) -> float:
        """A tenth of the learning rate at which the smoothed loss is lowest."""
        return self.lr[self._lowest] / 10

    @property
    def _lowest(self) -> int:
        return int(np.argmin(self.smooth))


def find_lr(
    task: Task, config: LoopConfig, device: torch.device, low: float = 1e-6, high: float = 1.0, steps: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> LrCurve:  # fmt: skip
    """Train for up to `steps` steps with learning rates from `low` to `high`, evenly on a logarithmic scale.

    It ends early once the loss has diverged. Weights, buffers and random state are put back afterwards.

    Raises ConfigError for a range or a number of steps that gives no curve, VsearchError if the loss diverges before
    there is one.
    """
    if not 0 < low < high or steps < 10:
        raise ConfigError("a sweep goes from a low rate above 0 to a higher one", "in 10 steps or more")
    steps_of(task, 1)
    own = {k: v.detach().clone() for k, v in task.module.state_dict().items()}
    was_training = task.module.training
    cards = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        try:
            lrs, losses = _sweep(task, config, device, np.geomspace(low, high, steps).tolist(), progress)
        finally:
            _put_back(task.module, own, was_training)
    if len(lrs) < 3:
        raise VsearchError(f"the loss diverged at once, at a learning rate of {low:g}", "begin the sweep lower")
    return LrCurve(tuple(lrs), tuple(losses), tuple(smoothed(losses)))


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential moving average of `losses`, without the bias towards its start at 0."""
    mean, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**i))
    return found


def _sweep(
    task: Task, config: LoopConfig, device: torch.device, rates: list[float],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[float], list[float]]:  # fmt: skip
    torch.manual_seed(config.seed)
    task.module.train()
    stepper, losses, best = Stepper(task, config, device), [], math.inf
    for step, (lr, batch) in enumerate(zip(rates, _batches(task, config.seed), strict=False)):
        watch = Watch(0, device)
        try:
            value, _ = stepper.step(batch, lr, 0.9, watch, step)
            watch.raise_pending()
        except Stopped:
            break
        losses.append(float(value))
        smooth = smoothed(losses)[-1]
        best = min(best, smooth)
        if smooth > best + (DIVERGED - 1) * abs(best):
            break
        if progress is not None:
            progress(step + 1, len(rates))
    return rates[: len(losses)], losses


def _batches(task: Task, seed: int) -> Iterator[Any]:
    for epoch in count():
        yield from task.batches(epoch, torch.Generator().manual_seed(seed * 100_003 + epoch))


def _put_back(module: nn.Module, weights: dict[str, torch.Tensor], training: bool) -> None:
    module.load_state_dict(weights)
    module.zero_grad(set_to_none=True)
    module.train(training)
