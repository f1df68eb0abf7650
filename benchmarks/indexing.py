"""Pictures per second of `build-index` against the bare forward pass of the same network at its best batch size.

    python -m benchmarks.indexing PHOTOS [--pictures 1000] [--size WxH] [--batch N] [--repeats 5]
    python -m benchmarks.indexing rescan [--files 100000] [--runs 5] [--graph-from 1000] [--json FILE]

PHOTOS is a folder of photos; without one, photos of 640 x 480 are drawn. With --size they are enlarged to that, and
saved as JPEG; with --batch no best batch size is looked for. Bare passes and builds take turns, so that a
machine that slows down slows both; medians are compared. The bare pass takes pictures that are decoded already.
`rescan` measures a build with nothing to do, see `benchmarks.rescan`.
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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import rescan
from index.build.build import build_index
from index.build.scan import scan
from index.database.database import Database
from vsearch.device import threads
from vsearch.image.pixels import read_pixels
from vsearch.model import Model
from vsearch.storage.modelfolder import bundled

BATCHES = (8, 16, 32, 64, 128)


def draw_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Draw JPEG photos with as much detail as real ones: noise of several sizes over each other."""
    rng = np.random.default_rng(0)
    width, height = size
    for n in range(count):
        photo = np.zeros((height, width, 3), np.float32)
        for cells in (4, 16, 64, width // 4):
            noise = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8))
            photo += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), np.float32) / 4
        Image.fromarray(photo.astype(np.uint8)).save(folder / f"{n:05}.jpg", quality=90)


def take_photos(given: Path | None, folder: Path, count: int, size: tuple[int, int] = (640, 480)) -> list[Path]:
    """Put `count` photos into `folder`: links to given ones, or drawn ones of `size`."""
    if given is None:
        draw_photos(folder, count, size)
    else:
        for n, found in enumerate(scan([given])):
            if n == count:
                break
            path = Path(found.path)
            (folder / f"{n:05}{path.suffix}").symlink_to(path.resolve())
    return sorted(folder.iterdir())


def enlarge(path: Path, size: tuple[int, int]) -> Path:
    """Put a JPEG of that size in the place of a photo, which may be a link; return its path."""
    with Image.open(path) as photo:
        large = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    path.unlink()
    large.save(path.with_suffix(".jpg"), quality=90)
    return path.with_suffix(".jpg")


def bare(model: Model, pixels: NDArray[np.uint8], batch: int, captions: bool) -> float:
    """Measure the pictures per second through the network by itself."""
    started = time.perf_counter()
    for at in range(0, len(pixels), batch):
        model.describe(pixels[at : at + batch], captions)
    return len(pixels) / (time.perf_counter() - started)


def build(model: Model, photos: Path, count: int, batch: int, captions: bool) -> float:
    """Measure the pictures per second of a whole build into a new library."""
    with tempfile.TemporaryDirectory() as folder, Database.open(Path(folder) / "library", create=True) as library:
        started = time.perf_counter()
        report = build_index(library, [photos], model, captions=captions, batch=batch)
        seconds = time.perf_counter() - started
    assert report.added == count, report
    return count / seconds


def best_batch(measure: Callable[[int], float], repeats: int = 3) -> int:
    """Return the batch size of the highest median; the first round only warms up."""
    rounds = [{batch: measure(batch) for batch in BATCHES} for _ in range(repeats + 1)][1:]
    return max(BATCHES, key=lambda batch: statistics.median(r[batch] for r in rounds))


def compare(
    model: Model, photos: Path, pixels: NDArray[np.uint8], count: int, repeats: int, captions: bool, batch: int | None
) -> dict[str, float | int | bool]:
    sample = pixels[: min(len(pixels), 128 if captions else 256)]
    best = batch or best_batch(lambda size: bare(model, sample, size, captions))
    build(model, photos, count, best, captions)  # warms the file cache
    forward, builds = [], []
    for _ in range(repeats):
        forward.append(bare(model, pixels, best, captions))
        builds.append(build(model, photos, count, best, captions))
    network, whole = statistics.median(forward), statistics.median(builds)
    return {"captions": captions, "batch": best, "forward": network, "build_index": whole, "ratio": whole / network}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), help="as 4000x3000")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args()
    model = Model(given.model or bundled(), given.device)
    with tempfile.TemporaryDirectory() as folder:
        paths = take_photos(given.photos, Path(folder), given.pictures)
        if given.size:
            paths = [enlarge(path, given.size) for path in paths]
        size = statistics.median(path.stat().st_size for path in paths)
        pixels = np.stack([read_pixels(path, model.side) for path in paths])
        rows = [
            compare(model, Path(folder), pixels, len(paths), given.repeats, captions, given.batch)
            for captions in (False, True)
        ]
    run = f"{threads()} threads, {model.engine.kind}, {given.repeats} repeats"
    print(f"{len(paths)} photos of {size / 1024:.0f} KB, {run}")
    print(f"{'captions':<10}{'batch':>6}{'bare forward':>16}{'build-index':>16}{'ratio':>8}")
    for row in rows:
        name = "on" if row["captions"] else "off"
        rates = f"{row['forward']:>13.1f}/s{row['build_index']:>14.1f}/s"
        print(f"{name:<10}{row['batch']:>6}{rates:>32}{row['ratio']:>8.2f}")
    if given.json:
        given.json.write_text(json.dumps({"pictures": len(paths), "median_bytes": size, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    rescan.main(sys.argv[2:]) if sys.argv[1:2] == ["rescan"] else main()
