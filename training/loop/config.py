"""The settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from training.loop.schedule import Schedules
from vsearch.config import CANNOT_BE, Range

Share = Annotated[float, Range(0, 1, CANNOT_BE)]
Factor = Annotated[float, Range(message=CANNOT_BE, above=0, below=1)]
Decay = Annotated[float, Range(0, message=CANNOT_BE, below=1)]
AtLeast0 = Annotated[int, Range(0, message=CANNOT_BE)]


@dataclass(frozen=True)
class LoopConfig:
    """How to optimise; the `[loop]` table of a recipe."""

    epochs: int = 10
    lr: float = 1e-3
    schedule: Schedules = "one_cycle"
    warmup: Share = 0.25  # one_cycle: share of the steps that rise
    warmup_steps: AtLeast0 = 0  # so many steps rise, in every schedule; 0: `warmup` says it, or there is none
    decay_factor: Factor = 0.8  # plateau: the learning rate is multiplied by it ...
    decay_patience: Annotated[int, Range(1, message=CANNOT_BE)] = 8  # ... after so many epochs without gain
    stop_after: AtLeast0 = 0  # epochs without gain that end the training; 0: none do
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0  # longest gradient; 0: any
    average: Decay = 0.0  # decay of the exponential moving average of the weights; 0: none
    bf16: bool = True
    compile: bool = False
    seed: int = 0
