"""A model's encoder in eight bits next to torch: recall, neighbours, libraries that mix the two, and speed.

    python -m benchmarks.eight_bits MODEL captions.h5 [--split dev] [--batch 32] [--repeats 9]

MODEL was exported (`vsearch export-onnx`), captions.h5 is what `vsearch prepare captions` wrote. Torch is what runs
without the export: `FastModel`, in bfloat16 where the processor multiplies that. "Half and half" is a library whose
photos were embedded by either, drawn by lot. Neighbours: of the ten photos nearest to each photo by torch, how many
are found when the photo is embedded in eight bits, among photos embedded by torch or in eight bits, too. For speed the
two take turns; the ratio is the median of the turns'.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate.captions import read_split, retrieval
from vsearch.storage import modelfolder, onnx
from vsearch.text.phrase import PhraseSpace

Floats = NDArray[np.float32]
Embed = Callable[[NDArray[np.uint8]], Floats]
NEIGHBOURS = 10


def neighbours(queries: Floats, rows: Floats) -> NDArray[np.int64]:
    """Return the rows nearest to each query (n, 10), but for the photo itself."""
    cosines = queries @ rows.T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return how many of ten neighbours two lists share, percent."""
    return 100 * statistics.fmean(
        len({*a} & {*b}) / NEIGHBOURS for a, b in zip(one.tolist(), other.tolist(), strict=True)
    )


def turns(ways: dict[str, Embed], pixels: NDArray[np.uint8], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Measure seconds by the clock and of the processor of each way over the same pictures; the first turn warms up."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, embed in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            embed(pixels)
            found[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: seconds[1:] for name, seconds in found.items()}


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    a = parser.parse_args(given)
    config = modelfolder.read_config(a.model)
    fast, small = modelfolder.load_fast(a.model, "cpu"), onnx.load(a.model, config)
    ways: dict[str, Embed] = {
        "torch": lambda pixels: fast.encode(torch.from_numpy(pixels)).vectors,
        "eight bits": small.embed,
    }
    split, space = read_split(a.data, a.split), PhraseSpace.load(a.model)
    with open_prepared(a.data, "captions") as file:
        pixels = read_stored_pixels(file, split.rows, config.preprocess.side)
    seconds = turns(ways, pixels[: a.batch], a.repeats)
    parts = np.array_split(pixels, -(-len(pixels) // a.batch))
    vectors = {name: np.concatenate([embed(part) for part in parts]) for name, embed in ways.items()}
    whole, rounded = vectors["torch"], vectors["eight bits"]
    lot = np.random.default_rng(0).random(len(whole)) < 0.5
    vectors["half and half"] = np.where(lot[:, None], whole, rounded)
    print(
        f"| {len(whole)} photos | text to image R@1 / 5 / 10 | image to text R@1 / 5 / 10 | mean |\n|---|---|---|---:|"
    )
    for name, rows in vectors.items():
        found = retrieval(rows, split, space)
        both = [[found[f"{way}_r{k}"] for k in (1, 5, 10)] for way in ("t2i", "i2t")]
        texts = [" / ".join(f"{value:.1f}" for value in row) for row in both]
        print(f"| {name} | {texts[0]} | {texts[1]} | {np.mean(both):.2f} |")
    cosines = (whole * rounded).sum(1)
    low = float(np.percentile(cosines, 1))
    print(f"cosines: mean {cosines.mean():.4f}, 99 % at {low:.4f} or more, least {cosines.min():.4f}")
    near = neighbours(whole, whole)
    print(f"neighbours shared, asked in eight bits among torch's: {shared(near, neighbours(rounded, whole)):.1f} %,")
    print(f"among photos in eight bits: {shared(near, neighbours(rounded, rounded)):.1f} %")
    for what, n in (("clock", 0), ("processor", 1)):
        own = {name: statistics.median(turn[n] for turn in found) / a.batch for name, found in seconds.items()}
        ratio = statistics.median(t[n] / e[n] for t, e in zip(*seconds.values(), strict=True))
        rates = ", ".join(f"{name} {1e3 * value:.1f} ms a picture" for name, value in own.items())
        print(f"by the {what}: {rates}; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
