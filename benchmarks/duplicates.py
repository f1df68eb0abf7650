"""At which cosine two pictures are one: pairs of different photos that reach it, and altered copies that do.

    python -m benchmarks.duplicates PHOTOS [--names FILE] [--pictures 2000] [--copies 300] [--model FOLDER]

PHOTOS is a folder of photos, FILE names those of it to draw from, a line each. Pairs are those among --pictures of
them; copies are made of --copies others, as JPEG.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vsearch.image.pixels import read_pixels
from vsearch.model import Model
from vsearch.storage.modelfolder import bundled

THRESHOLDS = (0.97, 0.975, 0.98, 0.985)
Change = Callable[[Image.Image], Image.Image]


def resized(share: float) -> Change:
    return lambda image: image.resize((int(image.width * share), int(image.height * share)))


def cropped(left: float, top: float, right: float, bottom: float) -> Change:
    """Return shares of width and height that are cut off."""
    return lambda image: image.crop(
        (
            int(image.width * left),
            int(image.height * top),
            image.width - int(image.width * right),
            image.height - int(image.height * bottom),
        )
    )


COPIES: dict[str, tuple[Change, int]] = {  # what is done, and the JPEG quality
    "JPEG quality 90": (lambda image: image, 90),
    "JPEG quality 75": (lambda image: image, 75),
    "three quarters of the size": (resized(0.75), 92),
    "4 % cropped": (cropped(0.02, 0.02, 0.02, 0.02), 92),
    "5 % cut off one side": (cropped(0.05, 0, 0, 0), 92),
    "JPEG quality 40": (lambda image: image, 40),
    "half the size": (resized(0.5), 92),
}


def vectors(model: Model, paths: Sequence[Path], batch: int = 50) -> NDArray[np.float32]:
    """Return the vectors (I, D), of unit length."""
    parts = (paths[start : start + batch] for start in range(0, len(paths), batch))
    return np.concatenate([model.describe(pixels_of(part, model.side), captions=False)[0] for part in parts])


def pixels_of(paths: Sequence[Path], side: int) -> NDArray[np.uint8]:
    return np.stack([read_pixels(path, side) for path in paths])


def pairs(found: NDArray[np.float32]) -> list[int]:
    """Return how many pairs of the rows reach each of THRESHOLDS."""
    cosines = (found @ found.T)[np.triu_indices(len(found), 1)]
    return [int((cosines >= threshold).sum()) for threshold in THRESHOLDS]


def copies(model: Model, paths: Sequence[Path], change: Change, quality: int) -> list[float]:
    """Return the share of the photos, in percent, whose altered copy reaches each of THRESHOLDS."""
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / f"{n:05}.jpg" for n in range(len(paths))]
        for source, target in zip(paths, made, strict=True):
            with Image.open(source) as image:
                change(image.convert("RGB")).save(target, quality=quality)
        cosines = (vectors(model, made) * vectors(model, paths)).sum(1)
    return [100 * float((cosines >= threshold).mean()) for threshold in THRESHOLDS]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--model", type=Path)
    a = parser.parse_args(given)
    listed = a.names.read_text().split() if a.names else [path.name for path in a.photos.iterdir()]
    drawn = [a.photos / name for name in np.random.default_rng(0).permutation(sorted(listed))]
    model = Model(a.model or bundled())
    print(f"| | {' | '.join(map(str, THRESHOLDS))} |\n|---|{'---:|' * len(THRESHOLDS)}")
    print(f"| pairs joined | {' | '.join(map(str, pairs(vectors(model, drawn[: a.pictures]))))} |")
    others = drawn[a.pictures : a.pictures + a.copies]
    for name, (change, quality) in COPIES.items():
        print(f"| {name} | {' | '.join(f'{share:.1f} %' for share in copies(model, others, change, quality))} |")


if __name__ == "__main__":
    main()
