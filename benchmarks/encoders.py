"""Encoders against each other: what each learns in the same time of the same teacher, and what it costs to run.

    python -m benchmarks.encoders distil.h5 captions.h5 --output runs/encoders [--minutes 6] [--only NAME] [--json FILE]

Each is trained by the recipe "encoder" from random weights for as many pictures as go into the minutes (the speed of
all is measured first), on pictures of 0.4 to 1 times the side it is meant for. On its features of `captions.h5`, what
`vsearch prepare captions` wrote, the recipe "devise-tuned" trains a head; the recall of its best epoch on dev counts.
Then all take turns at describing pictures in batches of 32. A training that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from training import recipe as recipes
from training.data.features import encoder_network, write_features
from training.loop.checkpoint import below
from training.loop.config import LoopConfig
from training.loop.step import Stepper, Watch
from training.recipe import Inputs
from training.run import train
from training.tasks.distil import DistilConfig, DistilTask
from vsearch.config import EncoderConfig, ModelConfig, PreprocessConfig, from_dict
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.model import FastModel
from vsearch.networks.joint import JointModel

CPU = torch.device("cpu")
SHARES = (0.4, 0.6, 0.8, 1.0)  # of its side, as in the recipe's four phases


@dataclass(frozen=True)
class Candidate:
    name: str
    side: int
    width: int = 64

    @property
    def label(self) -> str:
        return f"{self.name}{'' if self.width == 64 else f', {self.width} wide'}, {self.side} pixels"

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.width}-{self.side}"

    @property
    def sides(self) -> list[int]:
        return [round(self.side * share / 8) * 8 for share in SHARES]

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(name=self.name, width=self.width)


CANDIDATES = (
    Candidate("resnet18", 128),
    Candidate("resnet18", 160),
    Candidate("resnet18", 224),
    Candidate("resnet34", 160, 48),
    Candidate("mobilenet_v3_large", 160),
    Candidate("mobilenet_v3_large", 224),
)


def overrides(candidate: Candidate, pictures: int, epochs: int) -> dict[str, str]:
    """Return what differs from the recipe "encoder": `pictures` an epoch."""
    return {
        "encoder.name": json.dumps(candidate.name),
        "encoder.width": str(candidate.width),
        "task.sides": json.dumps(candidate.sides),
        "task.epoch_pictures": str(pictures),
        "loop.epochs": str(epochs),
    }


def seconds_of(candidate: Candidate, data: Path, steps: int = 4) -> list[float]:
    """Return seconds of a training step in each phase: the median of `steps` after two more."""
    table = recipes.read("encoder", overrides(candidate, 100_000, len(SHARES)))
    task_table = table["task"] | {"phases": [n / len(SHARES) for n in range(len(SHARES))]}
    task = DistilTask(
        from_dict(DistilConfig, task_table), candidate.encoder, PreprocessConfig(), data, len(SHARES), CPU
    )
    stepper, watch = Stepper(task, from_dict(LoopConfig, table["loop"]), CPU), Watch(0, CPU)
    task.module.train()
    found = []
    for phase in range(len(SHARES)):
        times = []
        for n, batch in enumerate(task.batches(phase, torch.Generator().manual_seed(0))):
            started = time.perf_counter()
            stepper.step(batch, 1e-4, 0.9, watch, n)
            times.append(time.perf_counter() - started)
            if n == steps + 1:
                break
        found.append(statistics.median(times[2:]))
    return found


def pictures_in(seconds: Sequence[float], minutes: float, epochs: int) -> int:
    """Return pictures of an epoch, so that `epochs` of the recipe's phases take the minutes."""
    task = from_dict(DistilConfig, recipes.read("encoder")["task"])
    ends = [*task.phases[1:], 1.0]
    share = [end - begin for begin, end in zip(task.phases, ends, strict=True)]
    step = sum(s * t for s, t in zip(share, seconds, strict=True))  # the mean step
    return max(1, round(minutes * 60 / step / epochs)) * task.batch


def plan(candidate: Candidate, data: Path, folder: Path, minutes: float, epochs: int) -> None:
    """Note how many pictures an epoch has."""
    if not (folder / "pictures.json").is_file():
        pictures = pictures_in(seconds_of(candidate, data), minutes, epochs)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pictures.json").write_text(json.dumps(pictures))


def learn(candidate: Candidate, data: Path, captions: Path, folder: Path, epochs: int) -> Encoder:
    """Train it, and a head on its features."""
    run, pictures = folder / "encoder", json.loads((folder / "pictures.json").read_text())
    train("encoder", Inputs(data), run, "cpu", overrides(candidate, pictures, epochs))
    encoder = Encoder(candidate.encoder)
    encoder.load_state_dict(below(load_file(run / "best.safetensors"), "encoder."))
    if not (folder / "features.h5").is_file():
        network = encoder_network(encoder, PreprocessConfig(side=candidate.side), CPU)
        write_features(network, captions, folder / "features.h5", CPU, grid=False, views=2)
    train("devise-tuned", Inputs(captions, folder / "features.h5"), folder / "head", "cpu")
    return encoder


def quality(folder: Path) -> dict[str, float]:
    """Return the best epoch of its head on dev, and how far the encoder is from the teacher on held-out photos."""
    epochs = [json.loads(line) for line in (folder / "head" / "log.jsonl").read_text().splitlines()]
    best = max(epochs, key=lambda epoch: epoch["recall"])
    trained = [json.loads(line) for line in (folder / "encoder" / "log.jsonl").read_text().splitlines()]
    return {
        "pictures trained on": json.loads((folder / "pictures.json").read_text()) * len(trained),
        "1 - cosine to the teacher": trained[-1]["held_out_feature"],
        **{key: best[key] for key in ("t2i_r1", "t2i_r10", "i2t_r10", "recall")},
    }


def costs(encoders: dict[Candidate, Encoder], repeats: int, batch: int = 32) -> dict[Candidate, float]:
    """Return milliseconds a picture on all threads, medians of turns; the first round only warms up."""
    models, found = {}, {candidate: list[float]() for candidate in encoders}
    for candidate, encoder in encoders.items():
        config = ModelConfig(preprocess=PreprocessConfig(side=candidate.side), encoder=candidate.encoder)
        models[candidate] = FastModel(JointModel(config, encoder, None, None, None).eval().requires_grad_(False))
    for _ in range(repeats + 1):
        for candidate, model in models.items():
            pixels = torch.randint(0, 256, (batch, candidate.side, candidate.side, 3), dtype=torch.uint8)
            started = time.perf_counter()
            model.describe(pixels)
            found[candidate].append((time.perf_counter() - started) / batch * 1e3)
    return {candidate: statistics.median(times[1:]) for candidate, times in found.items()}


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--epochs", type=int, default=12, help="parts that each training is cut into")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", action="append", help="folders of candidates, such as resnet18-64-160")
    parser.add_argument("--json", type=Path, help="write the results there")
    a = parser.parse_args(given)
    chosen = [c for c in CANDIDATES if not a.only or c.folder in a.only]
    for candidate in chosen:
        plan(candidate, a.data, a.output / candidate.folder, a.minutes, a.epochs)
    encoders = {c: learn(c, a.data, a.captions, a.output / c.folder, a.epochs) for c in chosen}
    rows = {c.label: quality(a.output / c.folder) for c in chosen}
    for candidate, milliseconds in costs(encoders, a.repeats).items():
        row = rows[candidate.label]
        row["ms a picture"] = milliseconds
        row["recall per ms"] = row["recall"] / milliseconds
    columns = list(next(iter(rows.values())))
    print(f"{torch.get_num_threads()} threads\n| encoder | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for label, row in rows.items():
        print(f"| {label} | {' | '.join(f'{row[c]:.4g}' for c in columns)} |")
    if a.json:
        a.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
