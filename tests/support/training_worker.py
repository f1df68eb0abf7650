"""What test_training_distributed.py runs in two processes: python training_worker.py FOLDER."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from tests.support.training_data import features
from training.loop import distributed
from training.loop.config import LoopConfig
from training.loop.fit import fit
from training.loop.step import Stepper, Watch
from training.loop.task import Loss, ParameterGroup, Stopped, Task
from training.tasks.caption import CaptionTask, CaptionTaskConfig
from training.tasks.devise import DeviseTask, DeviseTaskConfig
from vsearch.config import DecoderConfig, DeviseConfig
from vsearch.errors import ConfigError, DataError

CPU = torch.device("cpu")
CONFIG = LoopConfig(epochs=2, lr=0.02, bf16=False, average=0.9)
PICTURES, CLASSES, DIM = 40, 5, 6


def prepared(folder: Path) -> None:
    """captions.h5 and labels.h5 with their features: two captions a picture, random vectors."""
    rng, names = np.random.default_rng(0), [f"{i}.jpg" for i in range(PICTURES)]
    vectors = rng.normal(size=(2 * PICTURES + CLASSES, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, lengths = rng.integers(4, 9, (2 * PICTURES, 7)), rng.integers(3, 8, 2 * PICTURES)
    ids[:, 0] = 1
    for row, length in zip(ids, lengths, strict=True):
        row[length - 1 :] = [2, *[0] * (7 - length)]
    with h5py.File(folder / "captions.h5", "w") as file:
        words = ["a", "b", "c", "d", "e"]
        file.attrs.update({"kind": "captions", "version": 1, "vocabulary": json.dumps(words)})
        file["pictures/name"], file["pictures/split"] = names, np.repeat([0, 1], [PICTURES - 8, 8]).astype(np.uint8)
        file["captions/vector"], file["captions/picture"] = vectors[:-CLASSES], np.repeat(np.arange(PICTURES), 2)
        file["captions/ids"], file["captions/length"] = ids.astype(np.int32), lengths.astype(np.int16)
        file["captions/text"] = ["a b c d"] * (2 * PICTURES)
    with h5py.File(folder / "labels.h5", "w") as file:
        file.attrs.update({"kind": "labels", "version": 1})
        file["pictures/name"], file["pictures/split"] = names, np.zeros(PICTURES, np.uint8)
        file["labels/class"], file["labels/vector"] = rng.integers(0, CLASSES, PICTURES), vectors[-CLASSES:]
    features(folder / "features.h5", names)


def devise(folder: Path) -> DeviseTask:
    torch.manual_seed(1)
    config = DeviseTaskConfig(batch=8, label_batch=4, cosine=1.0, hinge=0.5, contrastive=0.7)
    head = DeviseConfig(hidden=16, dropout=0.0, dim=DIM)
    places = [folder / name for name in ("captions.h5", "features.h5", "labels.h5", "features.h5")]
    return DeviseTask(config, head, places[0], places[1], CPU, places[2], places[3])


def caption(folder: Path) -> CaptionTask:
    torch.manual_seed(1)
    decoder = DecoderConfig(embed=8, hidden=12, attention=8, dropout=0.0, max_len=8)
    return CaptionTask(CaptionTaskConfig(batch=8), decoder, folder / "captions.h5", folder / "features.h5", CPU)


def losses(task: Task) -> list[float]:
    """The loss of every step of an epoch."""
    stepper, watch = Stepper(task, CONFIG, CPU), Watch(0, CPU)
    batches = enumerate(task.batches(0, torch.Generator().manual_seed(5)))
    return [float(stepper.step(batch, 0.02, 0.9, watch, i)[0]) for i, batch in batches]


def gathered() -> dict[str, Any]:
    """The mean of squares of A x, the rows of x shared out, as value and as gradient; and unlike means made one."""
    x = torch.arange(12.0).reshape(6, 2)
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [0.5, -1.0]]))
    whole = distributed.run_sharded(lambda rows: rows @ weight, x)
    (whole @ whole.T).square().mean().backward()
    assert weight.grad is not None
    slices = torch.arange(4.0)[: 1 + 2 * distributed.rank()]  # one row here, three there
    mean = distributed.average(distributed.weighted_mean(slices.mean(), len(slices)))
    own = distributed.shard(x)
    calls = [
        lambda: distributed.shard(x[:5]),
        lambda: distributed.assert_equal(len(own[0]), CPU, "width"),
        lambda: distributed.assert_equal(distributed.rank(), CPU, "checkpoint"),
    ]
    return {
        "value": whole.tolist(), "grad": distributed.average(weight.grad).tolist(), "mean": float(mean),
        "shard": own.tolist(), "told": distributed.broadcast(float(distributed.rank()), CPU),
        "refused": [refusal(call) for call in calls],
    }  # fmt: skip


def refusal(call: Any) -> str:
    try:
        call()
    except (ConfigError, DataError, Stopped) as error:
        return str(error)
    return ""


class Poisoned:
    """One process alone meets a loss that is no number, in its third step, or fails there."""

    monitor = "there is none"

    def __init__(self, fails: bool) -> None:
        self.module, self.fails, self.seen = nn.Linear(1, 1), fails, 0

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return 5

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        return iter([torch.ones(4, 1)] * 5)

    def loss(self, batch: Tensor) -> Loss:
        self.seen += 1
        bad = self.seen == 3 and distributed.rank() == 1
        if bad and self.fails:
            raise RuntimeError("this process has had enough")
        return Loss(self.module(distributed.shard(batch)).square().mean() * (torch.nan if bad else 1), 4)

    def evaluate(self) -> dict[str, float]:
        return {}


def work(folder: Path) -> None:
    """Each process writes what it found; in the end one fails, and so do both."""
    with distributed.process_group("auto"):
        found = gathered()
        found |= {"devise": losses(devise(folder)), "caption": losses(caption(folder))}
        told: list[float] = []
        fit(devise(folder), CONFIG, folder / "run", CPU, lambda p: told.append(p.loss))
        more = LoopConfig(epochs=3, lr=0.02, bf16=False, average=0.9, schedule="constant")
        again = devise(folder)
        fit(again, more, folder / "run", CPU)
        found["stopped"] = refusal(lambda: fit(Poisoned(False), CONFIG, folder / "nan", CPU))
        found["weights"] = {k: v.tolist() for k, v in again.module.state_dict().items()}
        found["told"] = [found["told"], len(told)]
        (folder / f"rank{distributed.rank()}.json").write_text(json.dumps(found))
        fit(Poisoned(True), CONFIG, folder / "failed", CPU)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
