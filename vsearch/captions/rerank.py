"""Two heads, one caption: of those that beam search found, the one that also lies near the picture among words.

Captions are ranked by score + weight * cosine: the decoder's log-probability over its length, and the cosine of the
caption's phrase vector with the vector that the DeViSE head gave the picture. It costs no second look at the picture.

Shapes: B pictures, M captions, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import QueryError
from vsearch.text.phrase import PhraseSpace

if TYPE_CHECKING:
    from vsearch.captions.hypothesis import Hypothesis

Words = list[str]
EmbedCaptions = Callable[[Sequence[Words]], NDArray[np.float32]]  # M captions -> unit vectors (M, D), zero where none


@dataclass(frozen=True)
class Reranker:
    """The phrase vectors of captions, and how much their cosine with the picture's vector counts."""

    embed: EmbedCaptions
    weight: float

    def rerank(
        self, found: Sequence[Sequence[Hypothesis]], vectors: NDArray[np.float32], words: Callable[[Hypothesis], Words]
    ) -> list[list[Hypothesis]]:
        """Return the captions of each picture, whose unit vectors are `vectors` (B, D), best first."""
        embedded = self.embed([words(caption) for own in found for caption in own])  # (M, D)
        counts = [len(own) for own in found]
        scores = np.array([caption.score for own in found for caption in own])
        scores = scores + self.weight * (embedded * np.repeat(vectors, counts, 0)).sum(1)
        ends = np.cumsum(counts)
        ranks = [np.argsort(-scores[end - n : end], kind="stable") for end, n in zip(ends, counts, strict=True)]
        return [[own[i] for i in rank] for own, rank in zip(found, ranks, strict=True)]


def caption_embedder(space: PhraseSpace) -> EmbedCaptions:
    """Return what embeds captions by the words of a model."""

    def embed(captions: Sequence[Words]) -> NDArray[np.float32]:
        rows = [caption_vector(space, words) for words in captions]
        none = np.zeros(space.vectors.dim, np.float32)
        return np.array([none if row is None else row for row in rows], np.float32).reshape(-1, len(none))

    return embed


def lazy_caption_embedder(folder: Path) -> EmbedCaptions:
    """Return what embeds captions by the words of the model in `folder`, read when the first captions come."""
    found: list[EmbedCaptions] = []

    def embed(captions: Sequence[Words]) -> NDArray[np.float32]:
        if not found:
            found.append(caption_embedder(PhraseSpace.load(folder)))
        return found[0](captions)

    return embed


def caption_vector(space: PhraseSpace, words: Words) -> NDArray[np.float32] | None:
    """Return the unit vector (D,) of a tokenised caption; None if no word of it is in the dictionary."""
    if not any(word in space.vectors for word in words):
        return None
    try:
        return space.vector(words)
    except QueryError:  # the words cancel each other out
        return None
