"""The training loop: schedule, resume bit for bit, averaging, bad losses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.loop import checkpoint, step
from training.loop.config import LoopConfig
from training.loop.ema import Average
from training.loop.fit import fit
from training.loop.schedule import OneCycle, Standing, schedule
from training.loop.step import Stepper, Watch, compile_module
from training.loop.task import Loss, ParameterGroup, Status, Stopped
from vsearch.config import DeviseConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.networks.devise import DeviseHead
from vsearch.networks.fast.dropout import QuickDropout

CPU = torch.device("cpu")


class Line:
    """y = 3 x - 1 by least squares; dropout makes the random state matter."""

    monitor = "fit"

    def __init__(self, poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.poison, self.seen = poison, 0

    def groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup(list(self.module[0].parameters()), 0.1),
            ParameterGroup(list(self.module[2].parameters())),
        ]

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
        error = float(((self.module(x) - 3 * x + 1) ** 2).mean().detach())
        return {"fit": -error, "error": error}


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


class Enough(Exception):
    pass


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize(
    "config",
    [
        LoopConfig(epochs=4, lr=0.05, bf16=False),
        LoopConfig(epochs=4, lr=0.05, bf16=False, average=0.9, clip=0.1),
        LoopConfig(epochs=4, lr=0.05, bf16=False, schedule="plateau", decay_patience=2, average=0.5, warmup_steps=4),
    ],
)
def test_resume_is_bit_for_bit(tmp_path: Path, config: LoopConfig, done: int) -> None:
    whole, parts, again = Line(), Line(), Line()
    for task in (whole, parts, again):
        task.monitor = "error" if config.schedule == "plateau" else "fit"  # the error falls: no gain, ever
    fit(whole, config, tmp_path / "whole", CPU)

    def stop(progress: Status) -> None:
        if progress.epoch == done + 1:
            raise Enough

    with pytest.raises(Enough):
        fit(parts, config, tmp_path / "parts", CPU, stop)
    fit(again, config, tmp_path / "parts", CPU)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    for file in ("best.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    rates = [[r["lr"] for r in records(tmp_path / run)] for run in ("whole", "parts")]
    assert rates[0] == rates[1]
    if config.schedule == "plateau":
        assert rates[0] == pytest.approx([0.05, 0.05, 0.05, 0.04])  # two epochs without gain after the first


def test_a_run_killed_while_writing_does_its_epoch_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LoopConfig(epochs=3, lr=0.05, bf16=False)
    fit(Line(), config, tmp_path / "whole", CPU)
    whole = checkpoint.save
    saved: list[Path] = []

    def killed(path: Path, *rest: Any) -> None:
        if len(saved) == 1:
            raise Enough
        saved.append(path)
        whole(path, *rest)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(Enough):
        fit(Line(), config, tmp_path / "killed", CPU)
    assert [r["epoch"] for r in records(tmp_path / "killed")] == [1, 2]
    monkeypatch.undo()
    fit(Line(), config, tmp_path / "killed", CPU)
    assert [r["epoch"] for r in records(tmp_path / "killed")] == [1, 2, 3]
    for file in ("best.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


def records(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


class Scripted(Line):
    """Its epochs' metrics are given; `seen` tells how many were asked for."""

    def __init__(self, *metrics: float) -> None:
        super().__init__()
        self.metrics, self.asked = metrics, 0

    def evaluate(self) -> dict[str, float]:
        self.asked += 1
        return {"fit": self.metrics[self.asked - 1]}


def test_plateau_lowers_the_rate_after_patience_and_stops(tmp_path: Path) -> None:
    # Gains in epochs 1 and 3. Patience 2: after epoch 5 (two without gain) x 0.5, after epoch 7 (four) x 0.5 again.
    # stop_after 5: epoch 8 is the fifth without gain, and the last.
    task = Scripted(1, 1, 2, 2, math.nan, 1, 0, 2, 9, 9)
    config = LoopConfig(
        epochs=10, lr=0.8, bf16=False, schedule="plateau", decay_factor=0.5, decay_patience=2, stop_after=5
    )
    fit(task, config, tmp_path, CPU)
    assert [r["lr"] for r in records(tmp_path)] == pytest.approx([0.8] * 5 + [0.4] * 2 + [0.2])
    _, state = checkpoint.load(tmp_path / "checkpoint.safetensors", Line().module)
    assert state == {"epoch": 8, "best": 2.0, "stale": 5, "factor": 0.25}
    fit(task, config, tmp_path, CPU)
    assert task.asked == 8  # it had ended: nothing is trained on


def test_the_tutorials_plateau() -> None:
    # Show, Attend and Tell tutorial: x 0.8 after 8 epochs in a row without gain, again after 16.
    standing = Standing().after(1.0, 8, 0.8)
    factors = []
    for _ in range(16):
        standing = standing.after(0.5, 8, 0.8)
        factors.append(standing.factor)
    assert factors == pytest.approx([1.0] * 7 + [0.8] * 8 + [0.64])
    assert standing.after(1.1, 8, 0.8).stale == 0


def test_steady_schedules_rise_in_a_straight_line() -> None:
    for name in ("plateau", "constant"):
        at = schedule(name, 2.0, total=100, warmup=0.25, warmup_steps=4)
        assert [at(s) for s in (0, 1, 3, 4, 99)] == [(0.5, 0.9), (1.0, 0.9), (2.0, 0.9), (2.0, 0.9), (2.0, 0.9)]
        assert schedule(name, 2.0, 100, 0.25, 0)(0) == (2.0, 0.9)
    assert schedule("one_cycle", 1.0, 100, 0.25, warmup_steps=10)(10) == pytest.approx((1.0, 0.85))
    assert schedule("one_cycle", 1.0, 100, 0.25, 0)(25) == pytest.approx((1.0, 0.85))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "cosine"}, "'cosine'"), ({"decay_factor": 1.0}, "decay_factor cannot be 1.0"),
        ({"decay_patience": 0}, "decay_patience"), ({"average": 1.0}, "average"), ({"stop_after": -1}, "stop_after"),
        ({"warmup_steps": -1}, "warmup_steps"), ({"warmup": 1.5}, "warmup"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(LoopConfig, wrong, "loop")


def test_waiting_for_a_metric_needs_one(tmp_path: Path) -> None:
    task = Line()
    task.monitor = ""
    for config in (LoopConfig(schedule="plateau"), LoopConfig(stop_after=3)):
        with pytest.raises(ConfigError, match="no metric"):
            fit(task, config, tmp_path, CPU)
    task.monitor = "cider"
    with pytest.raises(ConfigError, match="no metric 'cider'"):
        fit(task, LoopConfig(epochs=1, bf16=False), tmp_path, CPU)
    task.steps = lambda epoch: 0  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="fewer items"):
        fit(task, LoopConfig(epochs=1, bf16=False), tmp_path, CPU)


def test_average_differs_from_the_last_weights_and_is_what_is_kept(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    task = Line()
    task.monitor = ""
    fit(task, LoopConfig(epochs=2, lr=0.05, bf16=False, average=0.9), tmp_path, CPU)
    kept = load_file(tmp_path / "best.safetensors")
    assert not torch.equal(kept["2.weight"], task.module.state_dict()["2.weight"])


@pytest.mark.parametrize(("poison", "where"), [(6, "epoch 2, step 0"), (8, "epoch 2, step 2")])
def test_nan_stops_before_its_own_step(tmp_path: Path, poison: int, where: str) -> None:
    kept: list[Tensor] = []

    class Watched(Line):
        def loss(self, batch: Tensor) -> Loss:
            kept.append(self.state())
            return super().loss(batch)

        def state(self) -> Tensor:
            return torch.cat([p.detach().flatten() for p in self.module.parameters()])

    task = Watched(poison)
    with pytest.raises(Stopped, match=where):
        fit(task, LoopConfig(epochs=3, bf16=False), tmp_path, CPU)
    assert len(kept) == poison  # nothing was trained after the bad batch ...
    assert torch.equal(task.state(), kept[-1])  # ... nor with it
    assert not torch.equal(kept[-1], kept[-2])
    assert checkpoint.load(tmp_path / "checkpoint.safetensors", Line().module)[1]["epoch"] == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("poison", [7, 9, 10])
def test_after_nan_all_that_is_kept_is_good_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool, poison: int
) -> None:
    monkeypatch.setattr(step, "waits_for_nothing", lambda device: at_once)
    config = LoopConfig(epochs=3, lr=0.05, bf16=False, average=0.9)
    fit(Line(), config, tmp_path / "whole", CPU)
    names = ("checkpoint.safetensors", "best.safetensors", "log.jsonl")
    kept: list[bytes] = []

    class Watched(Line):
        def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
            if epoch == 1:
                kept.extend((tmp_path / "run" / name).read_bytes() for name in names)
            return super().batches(epoch, generator)

    with pytest.raises(Stopped, match=f"epoch 2, step {poison - 6}"):  # found late, but named exactly
        fit(Watched(poison), config, tmp_path / "run", CPU)
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == kept
    fit(Line(), config, tmp_path / "run", CPU)
    for name in names[:2]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_the_first_bad_step_is_named_every_twentieth_at_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "waits_for_nothing", lambda device: False)
    watch = Watch(4, CPU)
    for number, value in enumerate([1.0, math.inf, 2.0, math.nan]):
        watch.check(torch.tensor(value), number)
    with pytest.raises(Stopped, match="epoch 5, step 1;"):
        watch.raise_pending()


class Cliff(Line):
    """A finite loss whose gradient is infinite: the root at 0."""

    def loss(self, batch: Tensor) -> Loss:
        return Loss((self.module(batch) * 0).sum().abs().sqrt(), len(batch))


@pytest.mark.parametrize(("clip", "message"), [(1.0, "epoch 1, step 0"), (0.0, "weights are not finite")])
def test_a_bad_gradient_of_a_good_loss_is_found(tmp_path: Path, clip: float, message: str) -> None:
    task = Cliff()
    task.steps = lambda epoch: 1  # type: ignore[method-assign]
    task.batches = lambda epoch, generator: iter([torch.ones(2, 1)])  # type: ignore[method-assign]
    with pytest.raises(Stopped, match=message):
        fit(task, LoopConfig(epochs=1, bf16=False, clip=clip), tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_average_is_that_of_the_definition_and_copies_what_is_no_float() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    average = Average(module, decay=0.75)
    expected = {k: v.clone() for k, v in module.state_dict().items()}
    for _ in range(3):
        module(torch.randn(4, 3))
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p))
        average.update()
        for name, value in module.state_dict().items():
            moved = 0.75 * expected[name] + 0.25 * value if value.is_floating_point() else value
            expected[name] = moved.clone()
    assert average.values["1.num_batches_tracked"] == 3
    for name, value in expected.items():
        assert torch.allclose(average.values[name], value, atol=1e-6), name
    own = {k: v.clone() for k, v in module.state_dict().items()}
    with average.in_place():
        assert torch.equal(module.state_dict()["0.weight"], average.values["0.weight"])
    assert torch.equal(module.state_dict()["0.weight"], own["0.weight"])


def test_an_average_begun_later_starts_from_the_weights(tmp_path: Path) -> None:
    fit(Line(), LoopConfig(epochs=1, bf16=False), tmp_path, CPU)
    fit(Line(), LoopConfig(epochs=2, bf16=False, average=0.9), tmp_path, CPU)
    average, state = checkpoint.load(tmp_path / "checkpoint.safetensors", Line().module)
    assert state["epoch"] == 2
    assert set(average) == set(Line().module.state_dict())


def test_compiled_parts_keep_their_weights_names_and_their_values() -> None:
    class Parts(nn.Module):  # no forward of its own, as in the tasks
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

    for module in (nn.Linear(3, 2), Parts()):
        names, called = list(module.state_dict()), module.head if isinstance(module, Parts) else module
        x = torch.randn(4, 3)
        plain = called(x)
        compile_module(module, backend="eager")
        assert called._compiled_call_impl is not None
        assert torch.allclose(called(x), plain)
        assert list(module.state_dict()) == names


def test_groups_learn_at_their_own_rates() -> None:
    task = Line()
    stepper = Stepper(task, LoopConfig(bf16=False), CPU)
    stepper.step(torch.ones(4, 1), 0.5, 0.9, Watch(0, CPU), 0)
    assert [g["lr"] for g in stepper.optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_what_is_trained_is_sped_up_and_keeps_its_names() -> None:
    task = Line()
    task.module = nn.Sequential(nn.Linear(1, 8), DeviseHead(DeviseConfig(hidden=4, dim=2), 8), nn.Linear(2, 1))
    names = list(task.module.state_dict())
    Stepper(task, LoopConfig(bf16=False), CPU)
    assert any(isinstance(part, QuickDropout) for part in task.module.modules())
    assert list(task.module.state_dict()) == names


def test_damaged_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    fit(Line(), LoopConfig(epochs=1, bf16=False), tmp_path, CPU)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(DataError, match="another network"):
        checkpoint.load(path, nn.Linear(2, 2))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable checkpoint"):
        checkpoint.load(path, Line().module)
