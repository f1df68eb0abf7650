"""A prepared set of captioned pictures without its pictures: names, splits, token ids and texts.

Shapes: I pictures, M captions, L longest caption with start and end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import SPLITS, open_prepared
from vsearch.errors import DataError
from vsearch.text.vocab import Vocabulary

Texts = list[list[str]]  # tokenised captions


@dataclass(frozen=True)
class CaptionSet:
    """What a prepared file of captions holds, but for the pictures."""

    file: Path
    names: NDArray[Any]  # (I,) UTF-8
    split: NDArray[np.uint8]  # (I,) index into SPLITS
    guessed: NDArray[np.bool_]  # (I,) whether a model wrote the captions
    ids: NDArray[np.int64]  # (M, L)
    lengths: NDArray[np.int64]  # (M,)
    owner: NDArray[np.int64]  # (M,) row of the picture
    texts: Texts
    vocabulary: Vocabulary

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of the pictures of `split`. Raises DataError if it is unknown or has none."""
        if split not in SPLITS:
            raise DataError(f"no split {split!r}", f"splits: {', '.join(SPLITS)}")
        rows = np.flatnonzero(self.split == SPLITS.index(split))
        if not len(rows):
            raise DataError(f"{self.file} has no picture in the split {split!r}", "prepare the data set again")
        return rows

    def references(self, rows: NDArray[np.int64]) -> list[Texts]:
        """Return the tokenised captions of each picture in `rows`."""
        groups: dict[int, Texts] = {int(i): [] for i in rows}
        for picture, text in zip(self.owner.tolist(), self.texts, strict=True):
            if picture in groups:
                groups[picture].append(text)
        return list(groups.values())

    def captions(self, split: str, longest: int) -> dict[int, list[int]]:
        """Return the rows of the captions of each picture of `split`, those of at most `longest` tokens, marks
        included; a picture without such a caption is left out."""
        chosen = set(self.rows(split).tolist())
        found: dict[int, list[int]] = {}
        for row, picture in enumerate(self.owner.tolist()):
            if picture in chosen and self.lengths[row] <= longest:
                found.setdefault(picture, []).append(row)
        return found


def read_caption_set(data: Path) -> CaptionSet:
    """Read a prepared file of captions. Raises DataError if `data` is none."""
    with open_prepared(data, "captions") as file:
        return CaptionSet(
            data,
            file["pictures/name"][:],
            file["pictures/split"][:],
            _guessed(file),
            file["captions/ids"][:].astype(np.int64),
            file["captions/length"][:].astype(np.int64),
            file["captions/picture"][:].astype(np.int64),
            [text.decode().split() for text in file["captions/text"][:]],
            Vocabulary(json.loads(file.attrs["vocabulary"])),
        )


def _guessed(file: Any) -> NDArray[np.bool_]:
    """Return the marks of a prepared file; one made before there were any has no guessed captions."""
    if "pictures/guessed" not in file:
        return np.zeros(len(file["pictures/split"]), np.bool_)
    return np.asarray(file["pictures/guessed"][:], np.bool_)
