"""The one training loop: every task trains through `fit`."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from training.loop import checkpoint, distributed
from training.loop.config import LoopConfig
from training.loop.ema import Average
from training.loop.schedule import Standing, schedule
from training.loop.step import Stepper, Watch, steps_of
from training.loop.task import Report, Status, Task
from vsearch.errors import ConfigError
from vsearch.networks.fast.process import keep_kernels, keep_memory

LOOK = 20  # steps between two looks at the loss on a device that must be waited for


def fit(task: Task, config: LoopConfig, output: Path, device: torch.device, report: Report | None = None) -> None:
    """Train `task` into the folder `output`; continues where an earlier run stopped.

    After every epoch there stand `checkpoint.safetensors`, `best.safetensors` (the weights of the best epoch by
    `task.monitor`, averaged ones where the recipe averages) and a line more in `log.jsonl`. On several processes only
    the first one writes and reports.

    Raises Stopped if the loss, a gradient or a weight is no finite number, ConfigError for a recipe that does not
    fit, DataError for a checkpoint that cannot be used.
    """
    _Fit(task, config, output, device, report).run()


def check_checkpoint(output: Path, task: Task) -> None:
    """Raise DataError if `output` holds a checkpoint that `task` cannot go on from; nothing is written."""
    last = output / "checkpoint.safetensors"
    if last.is_file():
        own = {name: value.clone() for name, value in task.module.state_dict().items()}
        checkpoint.load(last, task.module)
        task.module.load_state_dict(own)


class _Fit:
    """One training, as `fit` runs it. A class, for its steps (resume, train, evaluate, keep) share ten things: the
    stepper, the average, the schedule, the standing and others, of which each uses most."""

    def __init__(
        self, task: Task, config: LoopConfig, output: Path, device: torch.device, report: Report | None
    ) -> None:
        if not task.monitor and (config.schedule == "plateau" or config.stop_after):
            raise ConfigError(
                "this task has no metric to wait for", "set loop.schedule = one_cycle, loop.stop_after = 0"
            )
        self.task, self.config, self.output, self.device = task, config, output, device
        if device.type == "cpu":
            keep_memory()
            keep_kernels()
        self.first = distributed.first()
        self.report = report if self.first else None
        self.stepper = Stepper(task, config, device)
        self.average = Average(task.module, config.average) if config.average else None
        self.steps = steps_of(task, config.epochs)
        self.begins = [0, *accumulate(self.steps)]  # the first step of each epoch, and the end of the last
        self.at = schedule(config.schedule, config.lr, self.begins[-1], config.warmup, config.warmup_steps)
        self.standing = Standing()
        output.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        self.resume()
        self.started, self.done_before = time.monotonic(), self.begins[min(self.standing.epoch, self.config.epochs)]
        patience = self.config.decay_patience if self.config.schedule == "plateau" else 0
        while self.standing.epoch < self.config.epochs and not self.is_over():
            epoch = self.standing.epoch
            record = {"epoch": epoch + 1, **self.train(epoch), **self.evaluate()}
            value = distributed.broadcast(self.monitored(record), self.device)
            self.standing = self.standing.after(value, patience, self.config.decay_factor)
            if self.first:
                self.keep(record)

    def is_over(self) -> bool:
        return 0 < self.config.stop_after <= self.standing.stale

    def resume(self) -> None:
        last = self.output / "checkpoint.safetensors"
        if last.is_file():
            average, state = checkpoint.load(last, self.task.module, self.stepper.optimizer)
            if self.average:
                self.average.load(average)
            self.standing = Standing(**state)
        distributed.assert_equal(self.standing.epoch, self.device, f"checkpoint {last}")
        if self.first:
            self.cut_log()

    def cut_log(self) -> None:
        """Take from the log the epochs that the checkpoint does not know: they are run again."""
        log = self.output / "log.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        if len(lines) > self.standing.epoch:
            log.write_text("".join(f"{line}\n" for line in lines[: self.standing.epoch]))

    def train(self, epoch: int) -> dict[str, float]:
        """Train one epoch; return the means of loss and parts over its items."""
        self.task.module.train()
        seed = self.config.seed * 100_003 + epoch
        torch.manual_seed(seed + (distributed.rank() << 40))  # each process drops out other cells
        watch, sums, items, started = Watch(epoch, self.device), _Means(), 0, time.monotonic()
        for step, batch in enumerate(self.task.batches(epoch, torch.Generator().manual_seed(seed))):
            lr, momentum = self.at(self.begins[epoch] + step)
            lr *= self.standing.factor
            value, loss = self.stepper.step(batch, lr, momentum, watch, step)
            if self.average:
                self.average.update()
            items += loss.items
            sums.add({**loss.parts, "loss": value}, loss.items)
            if step % LOOK == 0:
                watch.raise_pending()
                self.tell(epoch, step, value, lr, items / (time.monotonic() - started))
        watch.raise_pending()
        self.stepper.check_weights(epoch)
        means = sums.result()
        seconds = time.monotonic() - started
        return {**means, "lr": lr, "items_per_second": items / seconds, "seconds": seconds}

    def tell(self, epoch: int, step: int, value: Tensor, lr: float, speed: float) -> None:
        if self.report is None:
            return
        done = self.begins[epoch] + step + 1
        elapsed = time.monotonic() - self.started
        left = elapsed / max(1, done - self.done_before) * (self.begins[-1] - done)
        self.report(Status(epoch + 1, self.config.epochs, step, self.steps[epoch], float(value), lr, speed, left))

    def evaluate(self) -> dict[str, float]:
        """Measure the task's metrics with the averaged weights, if there are any; on the first process only."""
        if not self.first:
            return {}
        with self.average.in_place() if self.average else nullcontext(), distributed.single_process(), torch.no_grad():
            self.task.module.eval()
            return self.task.evaluate()

    def monitored(self, record: dict[str, float]) -> float:
        """Return the metric that chooses the best epoch; without one the last epoch is the best."""
        if not self.task.monitor or not self.first:
            return math.inf
        if self.task.monitor not in record:
            raise ConfigError(f"the task has no metric {self.task.monitor!r}", f"known: {', '.join(record)}")
        return record[self.task.monitor]

    def keep(self, record: dict[str, float]) -> None:
        """Write what an epoch has made. The checkpoint comes last: before it stands, the epoch is not done."""
        if self.standing.stale == 0:
            weights = self.average.values if self.average else self.task.module.state_dict()
            checkpoint.write(self.output / "best.safetensors", weights)
        with (self.output / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        average = self.average.values if self.average else {}
        last = self.output / "checkpoint.safetensors"
        checkpoint.save(last, self.task.module, self.stepper.optimizer, average, dataclasses.asdict(self.standing))


class _Means:
    """Means of named values, each over the items of the batches that had it; the values stay on their device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.items: dict[str, int] = {}

    def add(self, values: dict[str, Tensor], items: int) -> None:
        for name, value in values.items():
            part = value.detach().float() * items
            self.sums[name] = self.sums[name] + part if name in self.sums else part
            self.items[name] = self.items.get(name, 0) + items

    def result(self) -> dict[str, float]:
        names = sorted(self.sums, key=lambda name: name != "loss")
        if not names:
            return {}
        means = distributed.average(torch.stack([self.sums[n] / self.items[n] for n in names]))
        return dict(zip(names, means.tolist(), strict=True))
