"""Learning-rate schedules: plain functions of the share of training done."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
        """(learning rate, momentum) when `share` (0 to 1) of the steps are done."""
        high, low = self.momenta
        if share < self.warmup:
            return _cosine(self.peak / self.start, self.peak, share / self.warmup), _cosine(
                high, low, share / self.warmup
            )
        rest = (share - self.warmup) / max(1e-9, 1 - self.warmup)
        return _cosine(self.peak, self.peak / self.end, rest), _cosine(low, high, rest)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, max(0.0, share)))) / 2
