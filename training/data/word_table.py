"""The words of captions, or of the names of classes, with their vectors: a training can tune them without fastText.

A word whose plural or singular the dictionary has stands with it in the table, so that a training can blend the two.
In the prepared file (W words, D word-vector size): `words/word` (W,) str, `words/vector` (W, D) float16 of length 1 (0
where a word has none), `words/weight` (W,) float32, `words/known` (W,) bool (the dictionary has it), `words/partner`
(W,) int32 (the row of its plural or singular, its own where it has neither), `words/mean` (D,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.data.plurals import Numbers
from training.data.prepared import PreparedWriter
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class WordTable:
    """W words: unit vectors (W, D), weights (W,), whether the dictionary has them (W,), the rows of their plurals or
    singulars (W,), and the mean caption (D,)."""

    words: list[str]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    known: NDArray[np.bool_]
    partner: NDArray[np.int64]
    mean: NDArray[np.float32]

    def joined(self, other: WordTable) -> WordTable:
        """Return these words, then those of `other` that are not among them. Raises DataError if a word of both, or
        the mean, is not the same."""
        index = {word: i for i, word in enumerate(self.words)}
        both = [(index[word], i) for i, word in enumerate(other.words) if word in index]
        same = self.mean.shape == other.mean.shape and np.allclose(self.mean, other.mean, atol=1e-3)
        if not same or not all(np.allclose(self.vectors[i], other.vectors[k], atol=5e-3) for i, k in both):
            raise DataError("captions and labels were prepared with different words", "prepare both with the same")
        new = [i for i, word in enumerate(other.words) if word not in index]
        words = self.words + [other.words[i] for i in new]
        place = {word: i for i, word in enumerate(words)}
        return WordTable(
            words,
            np.concatenate([self.vectors, other.vectors[new]]),
            np.concatenate([self.weights, other.weights[new]]),
            np.concatenate([self.known, other.known[new]]),
            np.concatenate([self.partner, np.array([place[other.words[other.partner[i]]] for i in new], np.int64)]),
            self.mean,
        )

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the words of M tokenised captions, (M, L), filled up with -1."""
        index = {word: i for i, word in enumerate(self.words)}
        split = [text.split() for text in texts]
        table = np.full((len(split), max(map(len, split), default=0)), -1, np.int64)  # (M, L)
        for row, words in zip(table, split, strict=True):
            row[: len(words)] = [index[word] for word in words]
        return table


def table_of(texts: Sequence[str], space: PhraseSpace) -> WordTable:
    """Return the words of tokenised captions, and their plurals and singulars in the dictionary, by the alphabet."""
    numbers = Numbers(space.vectors.words)
    used = {word for text in texts for word in text.split()}
    partner = {word: numbers.partner(word) for word in used if word in numbers.rank}
    words = sorted(used | {other for other in partner.values() if other is not None})
    place = {word: i for i, word in enumerate(words)}
    vectors = np.array([space.vectors.unit(word) for word in words], np.float32).reshape(len(words), -1)
    weights = np.array([space.idf.get(word, space.default_idf) for word in words], np.float32)
    known = np.array([word in space.vectors for word in words], np.bool_)
    rows = np.array([place[numbers.partner(word) or word] if word in numbers.rank else place[word] for word in words])
    return WordTable(words, vectors, weights, known, rows.astype(np.int64), space.mean)


def write_words(writer: PreparedWriter, texts: Sequence[str], space: PhraseSpace) -> None:
    """Put the table of the words in `texts` into a prepared file."""
    table = table_of(texts, space)
    writer.write("words/word", table.words)
    writer.write("words/vector", table.vectors.astype(np.float16))
    writer.write("words/weight", table.weights)
    writer.write("words/known", table.known)
    writer.write("words/partner", table.partner.astype(np.int32))
    writer.write("words/mean", table.mean)


def read_words(file: h5py.File) -> WordTable:
    """Read the table of words of a prepared file. Raises DataError if it is of an earlier version and has none.

    In one that does not say which words are singular and plural, each is its own partner.
    """
    if "words" not in file:
        raise DataError(f"{file.filename} has no table of words", "prepare it again")
    group = file["words"]
    partner = group["partner"][:].astype(np.int64) if "partner" in group else np.arange(len(group["word"]))
    return WordTable(
        [str(word) for word in group["word"].asstr()[:]], group["vector"][:].astype(np.float32), group["weight"][:],
        group["known"][:], partner, group["mean"][:],
    )  # fmt: skip
