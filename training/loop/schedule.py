"""Learning-rate schedules: plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Schedules = Literal["one_cycle", "plateau", "constant"]


@dataclass(frozen=True)
class OneCycle:
    """One cycle (Smith 2018, as fast.ai uses it): cosine from `peak / start` up to `peak`, then down to `peak / end`;
    momentum runs the other way."""

    peak: float
    warmup: float = 0.25
    start: float = 25.0
    end: float = 1e4
    momenta: tuple[float, float] = (0.95, 0.85)

    def at(self, share: float) -> tuple[float, float]:
        """Return (learning rate, momentum) when `share` (0 to 1) of the steps are done."""
        high, low = self.momenta
        if share < self.warmup:
            return _cosine(self.peak / self.start, self.peak, share / self.warmup), _cosine(
                high, low, share / self.warmup
            )
        rest = (share - self.warmup) / max(1e-9, 1 - self.warmup)
        return _cosine(self.peak, self.peak / self.end, rest), _cosine(low, high, rest)


@dataclass(frozen=True)
class Steady:
    """The same learning rate in every step, after a straight rise over the first `warmup_steps`."""

    peak: float
    warmup_steps: int = 0
    momentum: float = 0.9

    def at(self, step: int) -> tuple[float, float]:
        """Return (learning rate, momentum) of step `step`, counted from 0."""
        return self.peak * min(1.0, (step + 1) / max(1, self.warmup_steps)), self.momentum


def schedule(
    name: str, peak: float, total: int, warmup: float, warmup_steps: int
) -> Callable[[int], tuple[float, float]]:
    """Return the schedule of `Schedules` over `total` steps: step -> (learning rate, momentum).

    "plateau" is steady here: what it takes off follows from the epochs' metrics, see `Standing`.
    """
    if name == "one_cycle":
        cycle = OneCycle(peak, min(1.0, warmup_steps / max(1, total)) if warmup_steps else warmup)
        return lambda step: cycle.at(step / max(1, total))
    return Steady(peak, warmup_steps).at


@dataclass(frozen=True)
class Standing:
    """What the epochs so far have come to; kept in the checkpoint."""

    epoch: int = 0  # epochs done
    best: float = -math.inf
    stale: int = 0  # epochs since the best one
    factor: float = 1.0  # of the learning rate

    def after(self, value: float, patience: int = 0, factor: float = 1.0) -> Standing:
        """Return the standing after one more epoch, whose metric is `value` (a NaN is no gain).

        After every `patience` epochs in a row without gain (0: never) the learning rate's factor shrinks by `factor`.
        """
        if value > self.best or value == math.inf:
            return Standing(self.epoch + 1, value, 0, self.factor)
        stale = self.stale + 1
        shrinks = patience > 0 and stale % patience == 0
        return Standing(self.epoch + 1, self.best, stale, self.factor * (factor if shrinks else 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, max(0.0, share)))) / 2
