"""Two captions of one photo that is not here: they belong together, and the words they are made of are tuned to it.

Shapes: M captions, L words of the longest, P pairs of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.texts import read_captions
from training.data.word_table import WordTable
from vsearch.errors import DataError

if TYPE_CHECKING:
    import h5py


class CaptionPairs:
    """The captions without photos of a prepared file, as rows of words, by the photos that they are of."""

    def __init__(self, file: h5py.File, table: WordTable) -> None:
        """Read the captions. Raises DataError if there are none, or no photo has two of them."""
        texts, photo = read_captions(file)
        self.rows = table.rows(texts)  # (M, L)
        order = np.argsort(photo, kind="stable")
        self.order = order
        count = np.bincount(photo)
        first = np.cumsum(count) - count
        several = count > 1
        self.first, self.count = first[several], count[several]
        if not len(self.count):
            raise DataError(f"no photo of {file.filename} has two captions that stand without it", "give other `texts`")

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` photos, and two different captions of each: rows of words, (P, L) and (P, L)."""
        photo = rng.integers(len(self.count), size=count)
        one = rng.integers(self.count[photo])
        other = (one + 1 + rng.integers(self.count[photo] - 1)) % self.count[photo]
        return self._rows(photo, one), self._rows(photo, other)

    def _rows(self, photo: NDArray[np.int64], place: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.rows[self.order[self.first[photo] + place]])
