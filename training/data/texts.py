"""Captions without their photos, next to a caption set: text for a decoder to learn from.

In the prepared file (M captions without photos, L longest with start and end, D word-vector size):

    texts/ids     (M, L) int32     <start> w1 ... wn <end> <pad> ...
    texts/length  (M,) int32       n + 2
    texts/photo   (M,) int32       which captions are of one photo: its number, rising
    texts/text    (M,) str
    texts/vector  (M, D) float16   unit phrase vectors
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import PreparedWriter
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.text.vocab import Vocabulary

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Told:
    """What people said of one photo that is not here, and the names that the photo goes by."""

    names: frozenset[str]
    captions: list[str]


@dataclass(frozen=True)
class Texts:
    """M captions without photos: ids (M, L), lengths (M,) with start and end, photo (M,), words, vectors (M, D)."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    photo: NDArray[np.int64]
    words: list[list[str]]
    vectors: NDArray[np.float32]


def names_of(photo: str) -> set[str]:
    """Return the names that a photo's file goes by: its stem; the number that it ends in, as COCO's do; and what stands
    before an underscore, Flickr's number of the photo.

    >>> sorted(names_of("COCO_train2014_000000000009.jpg")), sorted(names_of("1000268201_693b08cb0e.jpg"))
    (['9', 'COCO_train2014_000000000009'], ['1000268201', '1000268201_693b08cb0e'])
    """
    stem = Path(photo).stem
    first, last = stem.split("_")[0], stem.split("_")[-1]
    return {stem} | {str(int(part)) for part in (first, last) if part.isdecimal()}


def apart(texts: Iterable[Told], photos: Iterable[str]) -> list[Told]:
    """Return those of `texts` that are of none of the `photos`, named by their files: what is tested is not learned."""
    known = {name for photo in photos for name in names_of(photo)}
    return [told for told in texts if not told.names & known]


def tokenised(texts: Sequence[Told], longest: int) -> list[list[list[str]]]:
    """Return each photo's captions as words, those of 1 to `longest`."""
    return [[words for words in map(tokenise, told.captions) if 0 < len(words) <= longest] for told in texts]


def write_texts(
    writer: PreparedWriter, captions: Sequence[Sequence[list[str]]], vocabulary: Vocabulary, space: PhraseSpace
) -> list[str]:
    """Write the tokenised captions of each photo; one without any vector is left out. Returns those written."""
    flat = [(photo, words) for photo, own in enumerate(captions) for words in own if _has_place(words, space)]
    longest = max((len(words) for _, words in flat), default=0)
    ids = np.zeros((len(flat), longest + 2), np.int32)
    for row, (_, words) in zip(ids, flat, strict=True):
        row[: len(words) + 2] = vocabulary.encode(words, longest)
    writer.write("texts/ids", ids)
    writer.write("texts/length", np.asarray([len(words) + 2 for _, words in flat], np.int32))
    writer.write("texts/photo", np.asarray([photo for photo, _ in flat], np.int32))
    lines = [" ".join(words) for _, words in flat]
    writer.write("texts/text", lines)
    writer.write("texts/vector", space.vectors_of([words for _, words in flat]).astype(np.float16))
    return lines


def _has_place(words: list[str], space: PhraseSpace) -> bool:
    """Return whether some word of a caption is in the dictionary; the rest is guesses from letters."""
    return any(word in space.vectors for word in words)


def read_captions(file: h5py.File) -> tuple[list[str], NDArray[np.int64]]:
    """Read the tokenised captions without photos, words parted by spaces, and the number of the photo of each (M,).

    Raises DataError if the file holds none.
    """
    if "texts" not in file:
        raise DataError(f"{file.filename} holds no captions without photos", "prepare it with `texts`")
    return [str(text) for text in file["texts/text"].asstr()[:]], file["texts/photo"][:].astype(np.int64)


def read_table(file: h5py.File) -> Texts:
    """Read what `write_texts` wrote. Raises DataError if the file holds no captions without photos."""
    lines, photo = read_captions(file)
    group: Any = file["texts"]
    return Texts(
        group["ids"][:].astype(np.int64), group["length"][:].astype(np.int64), photo,
        [line.split() for line in lines], group["vector"][:].astype(np.float32),
    )  # fmt: skip
