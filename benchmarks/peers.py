"""Photos a second, and a query in a new process: next to programs that stand on CLIP's ViT-B/32, by shapes only.

    python -m benchmarks.peers [--repeats 7] [--runs 7]

The peers' weights are random numbers of the right shapes (nothing is downloaded), which is enough for speed: ViT-B/32
at 224 pixels by torch in float32, as open_clip runs it on a processor, and as an ONNX graph in float32 by ONNX Runtime,
as rclip does; for a query the text tower (12 layers of 512, 49,408 tokens), read by a process that imports numpy and
ONNX Runtime only and compares the vector with 10,000 of 512 numbers. Their tokenisers, databases and start of program
are left out. Ours are the bundled model's encoder and head, and `vsearch search dog` among 10,000 pictures as it is.
Passes of 32 pictures take turns; medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

import vsearch
from benchmarks.filled import draw, fill
from benchmarks.measuring import ROOT, once
from vsearch.torchvision import torchvision

BATCH, PICTURES, WIDTH, TOKENS, CONTEXT = 32, 10_000, 512, 49_408, 77
SEARCH = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
[vector] = session.run(None, {"tokens": np.ones((1, 77), np.int64)})
scores = np.load(sys.argv[2]) @ vector[0]
print(np.argsort(-scores)[:10])
"""


class TextTower(nn.Module):
    """Tokens (B, 77) -> vectors (B, 512), of the shape of CLIP's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.place = nn.Parameter(torch.randn(CONTEXT, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 12, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.out(self.layers(self.embedding(tokens) + self.place)[:, -1])
        return found


def exported(module: nn.Module, sample: Tensor, name: str, path: Path) -> Path:
    """Write a module as an ONNX graph in float32."""
    names: dict[str, Any] = {"input_names": [name], "output_names": ["vectors"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        torch.onnx.export(module.eval(), (sample,), str(path), dynamo=True, verbose=False, **names)
    return path


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def encoders(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what each does with a batch of pictures."""
    ours = vsearch.load(device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    vit = torchvision().models.vit_b_32(weights=None, num_classes=WIDTH).eval()
    images = torch.randn(BATCH, 3, 224, 224)
    peer, array = session(exported(vit, images, "images", folder / "vit.onnx")), images.numpy()

    def by_torch() -> object:
        with torch.inference_mode():
            return vit(images)

    return {
        f"vsearch: ResNet-50, {ours.engine.kind}": lambda: ours.describe(pixels, captions=False),
        "ViT-B/32, torch, float32 (open_clip)": by_torch,
        "ViT-B/32, ONNX Runtime, float32 (rclip)": lambda: peer.run(None, {"images": array}),
    }


def in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median pictures a second of each; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: BATCH / statistics.median(each) for name, each in seconds.items()}


def queries(folder: Path, runs: int) -> dict[str, tuple[float, float]]:
    """Return seconds by the clock and of the processor of a query in a new process, medians."""
    model = vsearch.load()
    fill(folder / "library", draw(PICTURES, model.dim, 500, 1.0, model.dim), model.identity, model.dim)
    np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((PICTURES, WIDTH), np.float32))
    tower = exported(TextTower(), torch.ones(1, CONTEXT, dtype=torch.long), "tokens", folder / "text.onnx")
    place = str(folder / "library")
    commands = {
        "vsearch search dog": [sys.executable, str(ROOT / "cli.py"), "search", "dog", "--library", place],
        "CLIP's text tower, ONNX Runtime": [sys.executable, "-c", SEARCH, str(tower), str(folder / "vectors.npy")],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            cost = once(command)
            if turn:
                found[name].append(cost)
    return {
        name: (statistics.median(c for c, _ in costs), statistics.median(p for _, p in costs))
        for name, costs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for way, rate in in_turns(encoders(Path(name)), given.repeats).items():
            print(f"{way:42}{rate:8.1f} pictures/s")
        for way, (clock, processor) in queries(Path(name), given.runs).items():
            print(f"{way:42}{clock:8.2f} s{processor:8.2f} s of the processor")


if __name__ == "__main__":
    main()
