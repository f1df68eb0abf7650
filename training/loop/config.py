"""The settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from training.loop.schedule import SCHEDULES
from vsearch.errors import ConfigError


@dataclass(frozen=True)
class LoopConfig:
    """How to optimise; the `[loop]` table of a recipe."""

    epochs: int = 10
    lr: float = 1e-3
    schedule: str = "one_cycle"  # one_cycle | plateau | constant
    warmup: float = 0.25  # one_cycle: share of the steps that rise
    warmup_steps: int = 0  # so many steps rise, in every schedule; 0: `warmup` says it, or there is none
    decay_factor: float = 0.8  # plateau: the learning rate is multiplied by it ...
    decay_patience: int = 8  # ... after so many epochs without gain
    stop_after: int = 0  # epochs without gain that end the training; 0: none do
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0  # longest gradient; 0: any
    average: float = 0.0  # decay of the exponential moving average of the weights; 0: none
    bf16: bool = True
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"loop.schedule is {self.schedule!r}", f"known: {', '.join(SCHEDULES)}")
        bounds = {
            "decay_factor": 0 < self.decay_factor < 1,
            "decay_patience": self.decay_patience >= 1,
            "stop_after": self.stop_after >= 0,
            "warmup_steps": self.warmup_steps >= 0,
            "warmup": 0 <= self.warmup <= 1,
            "average": 0 <= self.average < 1,
        }
        for name, fits in bounds.items():
            if not fits:
                raise ConfigError(f"loop.{name} cannot be {getattr(self, name)}")
