"""The training loop: schedule, resume bit for bit, averaging, bad losses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import checkpoint
from training.loop import Group, LoopConfig, Loss, Progress, Stopped, fit
from training.prefetch import prefetch
from training.schedule import OneCycle
from vsearch.errors import DataError

CPU = torch.device("cpu")


class Line:
    """y = 3 x - 1 by least squares; dropout makes the random state matter."""

    monitor = "fit"

    def __init__(self, poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.poison, self.seen = poison, 0

    def groups(self) -> list[Group]:
        return [Group(list(self.module[0].parameters()), 0.1), Group(list(self.module[2].parameters()))]

    def steps(self, epoch: int) -> int:
        return 5

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(5):
            yield torch.rand(16, 1, generator=generator)

    def loss(self, batch: Tensor) -> Loss:
        self.seen += 1
        value = ((self.module(batch) - 3 * batch + 1) ** 2).mean()
        return Loss(value * math.nan if self.seen == self.poison else value, len(batch))

    def evaluate(self) -> dict[str, float]:
        x = torch.linspace(0, 1, 9)[:, None]
        return {"fit": -float(((self.module(x) - 3 * x + 1) ** 2).mean().detach())}


def test_one_cycle_ends_and_peak() -> None:
    cycle = OneCycle(peak=1.0, warmup=0.25, start=25, end=100)
    assert cycle.at(0.0) == pytest.approx((1 / 25, 0.95))
    assert cycle.at(0.25) == pytest.approx((1.0, 0.85))
    assert cycle.at(1.0) == pytest.approx((0.01, 0.95))
    # Halfway up, a cosine is at the middle: (1/25 + 1) / 2 = 0.52.
    assert cycle.at(0.125)[0] == pytest.approx(0.52)


def test_loss_falls_and_best_epoch_is_kept(tmp_path: Path) -> None:
    fit(Line(), LoopConfig(epochs=30, lr=0.1, bf16=False), tmp_path, CPU)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in log] == list(range(1, 31))
    assert log[-1]["loss"] < log[0]["loss"] / 4
    task = Line()
    from safetensors.torch import load_file

    task.module.load_state_dict(load_file(tmp_path / "best.safetensors"))
    task.module.eval()
    assert task.evaluate()["fit"] == pytest.approx(max(r["fit"] for r in log))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resume_is_bit_for_bit(tmp_path: Path, average: float) -> None:
    config = LoopConfig(epochs=4, lr=0.05, bf16=False, average=average)
    whole, halves = Line(), Line()
    fit(whole, config, tmp_path / "whole", CPU)

    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.epoch == 3:
            raise Enough

    with pytest.raises(Enough):
        fit(halves, config, tmp_path / "halves", CPU, stop)
    again = Line()
    fit(again, config, tmp_path / "halves", CPU)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    best = [(tmp_path / run / "best.safetensors").read_bytes() for run in ("whole", "halves")]
    assert best[0] == best[1]


def test_average_differs_from_the_last_weights_and_is_what_is_kept(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    task = Line()
    task.monitor = ""
    fit(task, LoopConfig(epochs=2, lr=0.05, bf16=False, average=0.9), tmp_path, CPU)
    kept = load_file(tmp_path / "best.safetensors")
    assert not torch.equal(kept["2.weight"], task.module.state_dict()["2.weight"])


def test_nan_stops_names_the_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="epoch 2, step 0"):
        fit(Line(poison=6), LoopConfig(epochs=3, bf16=False), tmp_path, CPU)
    task = Line()
    _, state = checkpoint.load(tmp_path / "checkpoint.safetensors", task.module)
    assert state["epoch"] == 1
    assert all(bool(p.isfinite().all()) for p in task.module.parameters())


def test_nan_between_checked_steps_is_found_too(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="epoch 2"):
        fit(Line(poison=8), LoopConfig(epochs=3, bf16=False), tmp_path, CPU)
    assert checkpoint.load(tmp_path / "checkpoint.safetensors", Line().module)[1]["epoch"] == 1


def test_damaged_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    fit(Line(), LoopConfig(epochs=1, bf16=False), tmp_path, CPU)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(DataError, match="another network"):
        checkpoint.load(path, nn.Linear(2, 2))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable checkpoint"):
        checkpoint.load(path, Line().module)


def test_prefetch_keeps_order_and_hands_over_errors() -> None:
    assert list(prefetch(iter(range(20)))) == list(range(20))

    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)


def test_prefetch_stops_its_source_when_left_early() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    items = prefetch(source(), ahead=2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 5
