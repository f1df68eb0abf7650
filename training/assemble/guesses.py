"""Photos without captions, captioned by a model in the making: its next decoder learns from their cells, too.

A decoder that knows what only texts speak of has seen the cells of those photos only that have captions, and the cells
of all others pull its captions back to them. Told what the head sees in such photos, and trained on their cells with
its own captions as targets, it no longer has to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vsearch.errors import PictureError
from vsearch.files import write_json
from vsearch.image.pixels import read_pixels
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress

BATCH = 32
KEPT = 3  # captions of each photo


def guess_captions(model: FastModel, photos: Sequence[Path], file: Path, progress: Progress | None = None) -> None:
    """Write the best captions of `photos` as `vsearch caption --json` prints them, for `prepare captions --guessed`.

    A photo that cannot be read is left out.
    """
    rows = []
    for start in range(0, len(photos), BATCH):
        read = [(path, _pixels(path, model.config.preprocess.side)) for path in photos[start : start + BATCH]]
        there = [(path, pixels) for path, pixels in read if pixels is not None]
        if there:
            pixels = torch.from_numpy(np.stack([pixels for _, pixels in there]))
            found = model.describe(pixels, n_best=KEPT).captions
            assert found is not None
            rows += [_row(path, [model.text(one) for one in own]) for (path, _), own in zip(there, found, strict=True)]
        if progress:
            progress(min(start + BATCH, len(photos)), len(photos))
    write_json(file, rows)


def _pixels(path: Path, side: int) -> np.ndarray | None:
    try:
        return read_pixels(path, side)
    except PictureError:
        return None


def _row(path: Path, captions: list[str]) -> dict[str, object]:
    return {"path": str(path), "caption": captions[0], "runner_ups": [{"caption": text} for text in captions[1:]]}
