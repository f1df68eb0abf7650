"""DeViSE on cached features: retrieval on a caption set, unseen classes, and how much of the time is matrix products.

    python -m benchmarks.devise retrieval --data captions.h5 --features features.h5 --words FOLDER --runs RUNS [--test]
    python -m benchmarks.devise zero-shot --data labels.h5 --features label-features.h5 --words FOLDER --runs RUNS
    python -m benchmarks.devise speed [--batch 2048] [--losses cosine]

`retrieval` trains the recipe devise-tuned twice, with the words as they are and with tuned words, and prints recall on
dev, or with --test on test, through the word vectors as they are written to disk. `zero-shot` trains the recipe
devise-zero-shot with word vectors, random vectors and a softmax, and prints what `vsearch evaluate devise` has of them.
`speed` times training steps against only their matrix products, taking turns. Trainings that are done are not done
again. --json FILE writes the table, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from training import recipe as recipes
from training.assemble.words import tuned_space
from training.data.prepared import SPLITS, open_prepared
from training.loop.checkpoint import below
from training.recipe import Inputs
from training.run import train
from training.tasks.devise import DeviseTask, DeviseTaskConfig
from training.tasks.targets import mean_view, recall
from vsearch.config import DeviseConfig, from_dict
from vsearch.text.phrase import PhraseSpace

Table = dict[str, dict[str, Any]]
RECALLS = [f"{way}_r{k}" for way in ("t2i", "i2t") for k in (1, 5, 10)]
PUBLISHED: Table = {
    "DeViSE (Frome et al. 2013), published": dict(zip(RECALLS, (5.9, 20.1, 29.6, 4.8, 16.5, 27.3), strict=True)),
    "DVSA (Karpathy and Fei-Fei 2015), published": dict(
        zip(RECALLS, (11.8, 32.1, 44.7, 16.5, 40.6, 54.2), strict=True)
    ),
}
CPU = torch.device("cpu")


def retrieval(args: argparse.Namespace) -> Table:
    """Measure recall with fixed and with tuned words."""
    table: Table = {}
    for words in ("fixed", "tuned"):
        run = args.runs / f"retrieval-{words}"
        overrides = {"task.words": words, "task.views": "0"}
        train("devise-tuned", Inputs(args.data, args.features), run, "cpu", overrides)
        table[f"{words} words"] = _recall(run, args, words)
    return {**PUBLISHED, **table}


@torch.no_grad()
def _recall(run: Path, args: argparse.Namespace, words: str) -> dict[str, float]:
    settings = recipes.read("devise-tuned", {"task.words": words})
    config, head = from_dict(DeviseTaskConfig, settings["task"]), from_dict(DeviseConfig, settings["devise"])
    task = DeviseTask(config, head, args.data, args.features, CPU)
    weights = load_file(run / "best.safetensors")
    task.module.load_state_dict(weights)
    task.module.eval()
    with open_prepared(args.data, "captions") as file:
        rows = np.flatnonzero(file["pictures/split"][:] == SPLITS.index("test" if args.test else "dev"))
        owner, texts = file["captions/picture"][:], file["captions/text"].asstr()[:]
    pictures = mean_view(task.embed, task.pool[rows])
    place = {int(row): i for i, row in enumerate(rows)}
    mine = [m for m, picture in enumerate(owner) if int(picture) in place]
    with tempfile.TemporaryDirectory() as scratch:
        if words == "tuned":
            space = tuned_space(args.words, args.data, below(weights, "phrases."), Path(scratch))
        else:
            space = PhraseSpace.load(args.words)
        phrases = torch.from_numpy(space.vectors_of(str(texts[m]).split() for m in mine))
    return recall(phrases, np.array([place[int(owner[m])] for m in mine]), pictures)


def zero_shot(args: argparse.Namespace) -> Table:
    """Measure hits and precisions of word vectors, random vectors, softmax and ConSE."""
    from training.evaluate.devise import dev_pictures, read_runs, read_unseen, run_columns
    from training.evaluate.naming import evaluate_column
    from training.tasks.labels import read_labelled_set

    runs = [args.runs / f"zero-shot-{target}" for target in ("words", "random", "softmax")]
    for run in runs:
        overrides = {"task.target": run.name.removeprefix("zero-shot-")}
        train("devise-zero-shot", Inputs(args.data, args.features), run, "cpu", overrides)
    labelled = read_labelled_set(args.data)
    pictures = dev_pictures(labelled, PhraseSpace.load(args.words), read_unseen("devise-zero-shot"), "tiny-imagenet")
    columns = [c for run in read_runs(runs) for c in run_columns(run, labelled, args.features, CPU)]
    return {column.name: evaluate_column(column, pictures) for column in columns}


def _products(batch: int, channels: int, hidden: int, dim: int, contrastive: bool) -> Callable[[], None]:
    """Return a function of the matrix products of a head's step and nothing else: two forward, three back, and three
    of the contrastive loss, on tensors that lie ready."""
    pool, first, second = torch.randn(batch, channels), torch.randn(channels, hidden), torch.randn(hidden, dim)
    inner, outer, target, logits = (torch.randn(batch, n) for n in (hidden, dim, dim, batch))

    def step() -> None:
        pool @ first, inner @ second
        outer @ second.T, inner.T @ outer, pool.T @ inner
        if contrastive:
            outer @ target.T, logits @ target, logits.T @ outer

    return step


def speed(args: argparse.Namespace) -> Table:
    """Measure the seconds per step of a real training, through the loop with data, losses, AdamW, averaging and log;
    and of only its matrix products."""
    return {
        f"{channels}-1024-{dim}, {name}, batch {args.batch}": _compare(args, channels, dim, name)
        for channels, dim in ((2048, 300), (1280, 200))
        for name in args.losses or ("cosine", "cosine + contrastive")
    }


def _compare(args: argparse.Namespace, channels: int, dim: int, losses: str) -> dict[str, float]:
    contrastive, steps = "contrastive" in losses, args.pictures // args.batch
    products = _products(args.batch, channels, 1024, dim, contrastive)
    overrides = {
        "task.label_batch": "0", "task.batch": str(args.batch), "task.contrastive": str(float(contrastive)),
        "devise.dim": str(dim), "devise.hidden": "1024", "loop.epochs": "1",
    }  # fmt: skip
    training, alone = [], []
    with tempfile.TemporaryDirectory() as scratch:
        files = _drawn(Path(scratch), args.pictures, channels, dim)
        for turn in range(args.turns):
            run = Path(scratch) / f"run{turn}"
            train("devise", Inputs(*files), run, "cpu", overrides)
            log = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
            training.append(1e3 * log["seconds"] / steps)
            alone.append(1e3 * _seconds(products, steps))
    ratio = statistics.median(t / a for t, a in zip(training, alone, strict=True))
    return {"step, ms": statistics.median(training), "products, ms": statistics.median(alone), "ratio": ratio}


def _seconds(step: Callable[[], None], count: int) -> float:
    step()
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def _drawn(folder: Path, count: int, channels: int, dim: int) -> tuple[Path, Path]:
    """Write a prepared file of `count` training photos with five captions each, and features; random numbers."""
    import h5py

    from training.data.prepared import PreparedWriter

    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(count + 10)]
    with PreparedWriter(folder / "c.h5", "captions", vocabulary="[]", max_len=5) as writer:
        writer.add_pictures([b""] * count, names[:count], "train")
        writer.add_pictures([b""] * 10, names[count:], "dev")
        vectors = rng.normal(size=(5 * len(names), dim)).astype(np.float32)
        writer.write("captions/vector", (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))
        writer.write("captions/picture", np.repeat(np.arange(len(names), dtype=np.int32), 5))
    with h5py.File(folder / "f.h5", "w") as file:
        file["name"] = names
        file["pool"] = rng.normal(size=(len(names), channels)).astype(np.float16)
    return folder / "c.h5", folder / "f.h5"


def show(table: Table) -> None:
    keys = list(dict.fromkeys(key for row in table.values() for key in row))
    width = max(map(len, keys))
    for name in table:
        print(f"# {name}")
    print(" " * width, *(f"{n + 1:>10}" for n in range(len(table))))
    for key in keys:
        cells = [row.get(key) for row in table.values()]
        print(f"{key:<{width}}", *("         -" if c is None else f"{c:10.2f}" for c in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("retrieval", retrieval), ("zero-shot", zero_shot), ("speed", speed)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--json", type=Path)
        if name == "speed":
            command.add_argument("--losses", action="append", choices=("cosine", "cosine + contrastive"))
            for option, default in (("--batch", 2048), ("--pictures", 40960), ("--turns", 5)):
                command.add_argument(option, type=int, default=default)
            continue
        for option in ("--data", "--features", "--words", "--runs"):
            command.add_argument(option, type=Path, required=True)
        if name == "retrieval":
            command.add_argument("--test", action="store_true")
    args = parser.parse_args()
    table = args.function(args)
    show(table)
    if args.json:
        args.json.write_text(json.dumps({"command": sys.argv[1:], "table": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
