"""One training on several processes, one for each GPU, started by torchrun.

Every process draws the same batches. The network runs on each process's slice of a batch (every n-th row), its outputs
are gathered, and each process computes the same loss of the whole batch: so in-batch negatives come from all of it.
DistributedDataParallel then averages the gradients. With one process all functions here give back what they are given.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist

from training.loop.task import Loss, Task
from vsearch.device import resolve
from vsearch.errors import ConfigError, DataError

T = TypeVar("T")
PATIENCE = timedelta(hours=1)  # of a process whose fellows are silent; torchrun sees at once where one has died
_single = False


def started() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Return whether this is the process that writes, logs and reports."""
    return not started() or os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[torch.device]:
    """Yield the device for this process, called `device`; the processes of torchrun are joined within the block.

    Raises ConfigError for a numbered device under torchrun, which gives each process its own, VsearchError for one
    that is not there.
    """
    if not started():
        yield resolve(device)
        return
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"torchrun gives each process its device, not {device!r}", "use `device` auto, cpu or cuda")
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    place = resolve(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE, device_id=place if cuda else None)
    yield place
    dist.destroy_process_group()  # not after an error: it could wait for those who wait for us; our end tells them


def world() -> int:
    """Return how many processes share the work."""
    return dist.get_world_size() if dist.is_initialized() and not _single else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


@contextmanager
def single_process() -> Iterator[None]:
    """Let this process work, within the block, as if there were no other, as in an evaluation that only one does."""
    global _single
    _single, before = True, _single
    try:
        yield
    finally:
        _single = before


def wrap(task: Task) -> Callable[[Any], Loss]:
    """Return `task.loss`, whose gradients are averaged over the processes."""
    if world() == 1:
        return task.loss
    return nn.parallel.DistributedDataParallel(_Step(task), find_unused_parameters=True)


class _Step(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.module, self.loss = task.module, task.loss
        self.spare = nn.Parameter(torch.zeros(()))  # never used: were all parameters, DDP would complain of the search

    def forward(self, batch: Any) -> Loss:
        return self.loss(batch)


def shard(batch: T) -> T:
    """Return this process's slice of a batch: of a tensor, or of every tensor of a dataclass, rows rank, rank + world,
    ...

    Raises ConfigError if the rows do not divide evenly.
    """
    if world() == 1:
        return batch
    if isinstance(batch, Tensor):
        if len(batch) % world():
            raise ConfigError(
                f"a batch of {len(batch)} does not divide among {world()} processes", "change the recipe's task.batch"
            )
        return cast(T, batch[rank() :: world()])
    tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}  # type: ignore[arg-type]
    parts = {name: shard(value) for name, value in tensors.items() if isinstance(value, Tensor)}
    return dataclasses.replace(batch, **parts)  # type: ignore[type-var]


def run_sharded(network: Callable[[Tensor], Any], rows: Tensor) -> Any:
    """Return `network(rows)`, a tensor or a tuple of them, each process having computed its slice; with gradient.

    Each process must then compute the same loss from it.
    """
    if world() == 1:
        return network(rows)
    found = network(shard(rows))
    return gather(found) if isinstance(found, Tensor) else tuple(gather(x) for x in found)


def gather(own: Tensor) -> Tensor:
    """Gather the whole (world * b, ...) of which each process has a slice (b, ...), made by `shard`; with gradient.

    All processes compute the same loss of the whole, so the gradient of their mean loss with respect to a slice is the
    one that its own process finds; DistributedDataParallel divides by `world`, so it is multiplied by it (as the local
    loss of OpenCLIP is). Nothing needs to be sent on the way back.
    """
    gathered: Tensor = own if world() == 1 else _Gather.apply(own)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        pieces = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(pieces, own.contiguous())
        return torch.stack(pieces, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad[rank() :: world()] * world()


def weighted_mean(value: Tensor, count: int) -> Tensor:
    """Return a mean over `count` things of this process, weighed so that its average over the processes is the mean
    over all of theirs."""
    if world() == 1:
        return value
    return value * (count / average(torch.tensor(float(count), device=value.device)))


def average(value: Tensor) -> Tensor:
    """Return the mean over the processes, without gradient."""
    if world() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world()


def broadcast(value: float, device: torch.device) -> float:
    """Broadcast `value` from process 0 to all processes."""
    if world() == 1:
        return value
    said = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(said, 0)
    return float(said)


def assert_equal(value: float, device: torch.device, what: str) -> None:
    """Raise DataError, on every process, if they do not all have the same `value` of `what`."""
    if world() == 1:
        return
    ends = torch.tensor([value, -value], dtype=torch.float64, device=device)
    dist.all_reduce(ends, dist.ReduceOp.MAX)
    if float(ends[0]) != -float(ends[1]):
        raise DataError(f"the processes do not see the same {what}", "put files where all of them can read them")
