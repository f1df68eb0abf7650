"""What the training loop and the tasks owe each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.loop.schedule import SCHEDULES
from vsearch.errors import ConfigError, VsearchError


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


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate of `scale` and a weight decay of `decay` times the recipe's."""

    parameters: list[nn.Parameter]
    scale: float = 1.0
    decay: float = 1.0


@dataclass(frozen=True)
class Loss:
    """What a task says of one batch: the loss to descend, values to log, and how many items it held."""

    value: Tensor
    items: int
    parts: dict[str, Tensor] = field(default_factory=dict)


class Task(Protocol):
    """A model, its data and its losses.

    On several processes all of them draw the same batches; `loss` runs the network on this process's slice alone, by
    `training.loop.distributed.spread` or `shard`. `items` are those of the whole batch, `value` averaged over the
    processes is its loss.
    """

    monitor: str  # the metric of `evaluate` that chooses the best epoch, higher is better; "" keeps the last

    @property
    def module(self) -> nn.Module: ...
    def groups(self) -> list[Group]: ...
    def steps(self, epoch: int) -> int: ...
    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Any]: ...
    def loss(self, batch: Any) -> Loss: ...
    def evaluate(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Progress:
    """Where a training stands; `left` in seconds."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    lr: float
    items_per_second: float
    left: float


Report = Callable[[Progress], None]


class Stopped(VsearchError):
    """The loss stopped being a number; the last good checkpoint is kept."""


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """The random numbers that an epoch draws by NumPy, from those that the loop hands it."""
    return np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
