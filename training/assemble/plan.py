"""What a bundle is about to do: its stages, and how long each takes, told before the first begins.

A stage that passes the encoder over pictures is reckoned from one batch timed on the spot; for the others the recipe
says what was measured on two processor cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from training.data.features import Network
from vsearch.device import autocast

BATCH = 32  # pictures of the batch that is timed


@dataclass(frozen=True)
class Planned:
    """A stage: whether what it makes lies ready, how many minutes it takes (None: not known), and how that is known."""

    stage: str
    ready: bool
    minutes: float | None
    source: str = "measured on two cores"

    def line(self) -> str:
        """Return a line of the plan."""
        if self.ready:
            return f"  {self.stage:<12} ready"
        if self.minutes is None:
            return f"  {self.stage:<12} time not known"
        return f"  {self.stage:<12} {self.minutes:5.0f} min, {self.source}"


def told(plan: Iterable[Planned]) -> list[str]:
    """Return the lines of a plan: every stage, then how long all that is left takes together."""
    stages = list(plan)
    left = [one.minutes for one in stages if not one.ready and one.minutes is not None]
    return ["plan:", *(one.line() for one in stages), f"  together     {sum(left):5.0f} min"]


@torch.inference_mode()
def pictures_per_second(network: Network, device: torch.device) -> float:
    """Return how many pictures a second the network sees in a batch: the second of two, as the first warms up."""
    pixels = torch.from_numpy(np.zeros((BATCH, network.side, network.side, 3), np.uint8)).to(device)
    took = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with autocast(device):
            network.encode(pixels)[1].float().cpu()  # waits for a GPU
        took = time.perf_counter() - start
    return BATCH / took
