"""Pictures of a prepared file in batches, as a network that is trained with its encoder takes them.

Shapes: B batch, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import augment
from training.data.prepared import open_prepared, read_stored_pixels
from training.loop.task import in_batches, numpy_generator
from vsearch.config import PreprocessConfig
from vsearch.image.pixels import normalise

CROP = 8 / 7  # pictures are read larger than the network sees them, so that a crop loses nothing
Rows = NDArray[np.int64]


def augmented(
    data: Path, order: Rows, batch: int, steps: int, preprocess: PreprocessConfig, rng: np.random.Generator,
    smallest: float,
) -> Iterator[tuple[Rows, Tensor]]:  # fmt: skip
    """Yield `steps` batches of rows in `order`, each with its pictures (B, 3, S, S), augmented and normalised."""
    with open_prepared(data, "captions") as file:
        for rows in in_batches(order, batch, steps):
            pixels = read_stored_pixels(file, rows.tolist(), round(preprocess.side * CROP))
            yield rows, augment(pixels, preprocess.side, preprocess, rng, smallest)


def steps(rows: Rows, batch: int) -> int:
    """Count the whole batches in an epoch over `rows`; one at least."""
    return max(1, len(rows) // batch)


def drawn(
    data: Path, rows: Rows, batch: int, preprocess: PreprocessConfig, smallest: float, generator: torch.Generator
) -> tuple[np.random.Generator, Iterator[tuple[Rows, Tensor]]]:
    """Return an epoch over `rows` in random order, as `augmented` gives it, and the generator that it draws from."""
    rng = numpy_generator(generator)
    order = rng.permutation(rows)
    return rng, augmented(data, order, batch, steps(rows, batch), preprocess, rng, smallest)


def whole(data: Path, rows: Rows, batch: int, preprocess: PreprocessConfig) -> Iterator[Tensor]:
    """Yield the whole pictures of `rows`, normalised, in batches (B, 3, S, S)."""
    with open_prepared(data, "captions") as file:
        for start in range(0, len(rows), batch):
            pixels = read_stored_pixels(file, rows[start : start + batch].tolist(), preprocess.side)
            yield normalise(torch.from_numpy(pixels), preprocess)
