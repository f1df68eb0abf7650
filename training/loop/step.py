"""One step of optimisation, as the training loop and the learning-rate finder take it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from training.loop import distributed
from training.loop.config import LoopConfig
from training.loop.task import Loss, Stopped, Task
from vsearch.device import autocast
from vsearch.errors import ConfigError
from vsearch.networks.fast.training import speed_up

HINT = "lower the learning rate, then resume"


class Watch:
    """The guard of an epoch: it finds the first step at which a number was not finite.

    On the CPU `check` raises Stopped at once. Elsewhere it would have to wait for the device: the step is noted there,
    and `raise_pending` raises Stopped later, with the same message.
    """

    def __init__(self, epoch: int, device: torch.device) -> None:
        self.epoch, self.device, self.at_once = epoch, device, waits_for_nothing(device)
        self.first = torch.full((), -1, device=device)

    def check(self, value: Tensor, step: int) -> None:
        if not self.at_once:
            self.first = torch.where((self.first < 0) & ~value.isfinite(), step, self.first)
        elif not math.isfinite(float(value)):
            self.stop(step)

    def raise_pending(self) -> None:
        if not self.at_once and (step := int(self.first)) >= 0:
            self.stop(step)

    def stop(self, step: int) -> None:
        raise Stopped(
            f"the loss or its gradient was not finite at epoch {self.epoch + 1}, step {step}; what was kept before is "
            "untouched", HINT,
        )  # fmt: skip


def waits_for_nothing(device: torch.device) -> bool:
    """Return whether a tensor's value can be had there without waiting for work that is still under way."""
    return device.type == "cpu"


class Stepper:
    """AdamW over a task's parameter groups, on all processes of the training. The task's module is sped up for it."""

    def __init__(self, task: Task, config: LoopConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        speed_up(task.module)
        groups = [g for g in task.groups() if g.parameters]
        self.scales = [g.scale for g in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": g.parameters, "weight_decay": config.weight_decay * g.decay} for g in groups],
            lr=config.lr, betas=(0.9, config.beta2), fused=True,
        )  # fmt: skip
        self.parameters = [p for g in groups for p in g.parameters]
        if config.compile:
            compile_module(task.module)
        self.loss = distributed.wrap(task)

    def step(self, batch: Any, lr: float, momentum: float, watch: Watch, number: int) -> tuple[Tensor, Loss]:
        """Descend; returns the loss over all processes, without gradient, and the task's own words.

        Raises Stopped if `watch` does; the weights are then as before.
        """
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"], group["betas"] = lr * scale, (momentum, self.config.beta2)
        with autocast(self.device, enabled=self.config.bf16):
            loss = self.loss(batch)
        value = distributed.average(loss.value)
        watch.check(value, number)
        self.optimizer.zero_grad(set_to_none=True)
        loss.value.backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            watch.check(nn.utils.clip_grad_norm_(self.parameters, self.config.clip), number)
        self.optimizer.step()
        return value, loss

    def check_weights(self, epoch: int) -> None:
        """Raise Stopped if a weight is no finite number: the last step of an epoch can leave it so."""
        if not all_finite(self.parameters):
            raise Stopped(f"the weights are not finite after epoch {epoch + 1}; what was kept is untouched", HINT)


def steps_of(task: Task, epochs: int) -> list[int]:
    """Return the steps of each epoch. Raises ConfigError if one has none."""
    steps = [task.steps(epoch) for epoch in range(epochs)]
    if 0 in steps:
        raise ConfigError("there are fewer items than one batch holds", "make task.batch smaller")
    return steps


def all_finite(tensors: list[nn.Parameter]) -> bool:
    norms = torch._foreach_norm([t.detach() for t in tensors], math.inf)
    return bool(torch.stack([n.float() for n in norms]).isfinite().all())


def compile_module(module: nn.Module, backend: str = "inductor") -> None:
    """Compile in place what a task calls: the module itself, or its children where it has no `forward` of its own.

    The names of the weights stay as they are.
    """
    whole = type(module).forward is not nn.Module.forward
    for part in [module] if whole else module.children():
        part.compile(backend=backend)
