"""What the training loop and the tasks owe each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsearch.errors import VsearchError


@dataclass(frozen=True)
class ParameterGroup:
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

    On several processes all of them draw the same batches; `loss` runs the network only on this process's slice, by
    `training.loop.distributed.run_sharded` or `shard`. `items` are those of the whole batch, `value` averaged over the
    processes is its loss.
    """

    monitor: str  # the metric of `evaluate` that chooses the best epoch, higher is better; "" keeps the last

    @property
    def module(self) -> nn.Module:
        """The network that is trained; its state is what a checkpoint keeps."""

    def groups(self) -> list[ParameterGroup]:
        """Return the parameters to optimise; the others stay as they are."""

    def steps(self, epoch: int) -> int:
        """Return how many batches `batches` yields in `epoch`, counted from 0."""

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Any]:
        """Yield the batches of `epoch`. All that is random is drawn from `generator`."""

    def loss(self, batch: Any) -> Loss:
        """Run the network on a batch; return the loss, with gradient, and the values to log."""

    def evaluate(self) -> dict[str, float]:
        """Return the metrics of the dev split by name, higher is better for `monitor`."""


@dataclass(frozen=True)
class Status:
    """Where a training stands; `left` in seconds."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    lr: float
    items_per_second: float
    left: float


Report = Callable[[Status], None]


class Stopped(VsearchError):
    """The loss stopped being a number; the last good checkpoint is kept."""


def in_batches(order: NDArray[np.int64], size: int, steps: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each of `steps` batches of `size`, in `order`."""
    for step in range(steps):
        yield order[step * size : (step + 1) * size]


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return the generator of the random numbers that an epoch draws by NumPy, from those that the loop hands it."""
    return np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
