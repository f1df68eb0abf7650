"""The one training loop: every task trains through `fit`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training import checkpoint
from training.schedule import OneCycle
from vsearch.device import autocast
from vsearch.errors import VsearchError


@dataclass(frozen=True)
class LoopConfig:
    """How to optimise; the `[loop]` table of a recipe."""

    epochs: int = 10
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.25
    beta2: float = 0.99
    clip: float = 1.0
    average: float = 0.0  # decay of the exponential moving average of the weights; 0: none
    bf16: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate of `scale` times the recipe's."""

    parameters: list[nn.Parameter]
    scale: float = 1.0


@dataclass(frozen=True)
class Loss:
    """What a task says of one batch: the loss to descend, values to log, and how many items it held."""

    value: Tensor
    items: int
    parts: dict[str, Tensor] = field(default_factory=dict)


class Task(Protocol):
    """A model, its data and its losses."""

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


def fit(task: Task, config: LoopConfig, output: Path, device: torch.device, report: Report | None = None) -> None:
    """Train `task` into the folder `output`; continues where an earlier run stopped.

    After every epoch there stand `checkpoint.safetensors`, `best.safetensors` (the weights of the best epoch by
    `task.monitor`, averaged ones where the recipe averages) and a line more in `log.jsonl`.
    """
    _Fit(task, config, output, device, report).run()


class _Fit:
    def __init__(
        self, task: Task, config: LoopConfig, output: Path, device: torch.device, report: Report | None
    ) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self.task, self.config, self.output, self.device, self.report = task, config, output, device, report
        groups = [g for g in task.groups() if g.parameters]
        self.scales = [g.scale for g in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": g.parameters} for g in groups],
            lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self.parameters = [p for g in groups for p in g.parameters]
        self.schedule = OneCycle(config.lr, config.warmup)
        self.steps = [task.steps(e) for e in range(config.epochs)]
        self.average = _copy(task.module) if config.average else {}
        self.first, self.best = 0, -math.inf
        self.started, self.done_before = time.monotonic(), 0

    def run(self) -> None:
        last = self.output / "checkpoint.safetensors"
        if last.is_file():
            average, state = checkpoint.load(last, self.task.module, self.optimizer)
            self.average = average
            self.first, self.best = state["epoch"], state["best"]
        self.done_before = sum(self.steps[: self.first])
        for epoch in range(self.first, self.config.epochs):
            record = {"epoch": epoch + 1, **self.train(epoch), **self.evaluate()}
            self.keep(record)
            state = {"epoch": epoch + 1, "best": self.best}
            checkpoint.save(last, self.task.module, self.optimizer, self.average, state)
            with (self.output / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")

    def train(self, epoch: int) -> dict[str, float]:
        """One epoch; returns the means of loss and parts over its items."""
        self.task.module.train()
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
        torch.manual_seed(self.config.seed * 100_003 + epoch)
        sums: dict[str, Tensor] = {}
        items, started = 0, time.monotonic()
        for step, batch in enumerate(self.task.batches(epoch, generator)):
            share = (sum(self.steps[:epoch]) + step) / sum(self.steps)
            lr, loss = self.step(batch, share)
            items += loss.items
            for name, value in {"loss": loss.value, **loss.parts}.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float() * loss.items
            if step % 20 == 0:
                self.check(loss.value, epoch, step)
                self.tell(epoch, step, float(loss.value.detach()), lr, items / (time.monotonic() - started))
        seconds = time.monotonic() - started
        means = {k: float(v) / items for k, v in sums.items()}
        if not math.isfinite(means["loss"]):
            raise Stopped(f"the loss was not a number in epoch {epoch + 1}", "lower the learning rate, then resume")
        return {**means, "lr": lr, "items_per_second": items / seconds, "seconds": seconds}

    def step(self, batch: Any, share: float) -> tuple[float, Loss]:
        lr, momentum = self.schedule.at(share)
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"], group["betas"] = lr * scale, (momentum, self.config.beta2)
        with autocast(self.device, enabled=self.config.bf16):
            loss = self.task.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.value.backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        if self.average:
            with torch.no_grad():
                for name, value in self.task.module.state_dict().items():
                    _blend(self.average[name], value, self.config.average)
        return lr, loss

    def check(self, value: Tensor, epoch: int, step: int) -> None:
        if not math.isfinite(float(value.detach())):
            raise Stopped(
                f"the loss is {float(value.detach())} at epoch {epoch + 1}, step {step}; the checkpoint of the epoch "
                "before is kept", "lower the learning rate, then resume",
            )  # fmt: skip

    def tell(self, epoch: int, step: int, loss: float, lr: float, speed: float) -> None:
        if self.report is None:
            return
        done = sum(self.steps[:epoch]) + step + 1
        elapsed = time.monotonic() - self.started
        left = elapsed / max(1, done - self.done_before) * (sum(self.steps) - done)
        self.report(Progress(epoch + 1, self.config.epochs, step, self.steps[epoch], loss, lr, speed, left))

    def evaluate(self) -> dict[str, float]:
        """The task's metrics with the averaged weights, where there are any."""
        own = _copy(self.task.module) if self.average else {}
        if self.average:
            self.task.module.load_state_dict(self.average)
        self.task.module.eval()
        with torch.no_grad():
            metrics = self.task.evaluate()
        if self.average:
            self.task.module.load_state_dict(own)
        return metrics

    def keep(self, record: dict[str, float]) -> None:
        from safetensors.torch import save_file

        value = record.get(self.task.monitor, math.inf) if self.task.monitor else math.inf
        if value < self.best or (value == self.best and math.isfinite(value)):
            return
        self.best = value
        weights = self.average or self.task.module.state_dict()
        partial = self.output / "best.safetensors.partial"
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in weights.items()}, partial)
        partial.replace(self.output / "best.safetensors")


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def _blend(average: Tensor, value: Tensor, decay: float) -> None:
    if average.is_floating_point():
        average.lerp_(value.to(average.dtype), 1 - decay)
    else:
        average.copy_(value)
