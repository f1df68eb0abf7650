"""Explain hits: the words of the training captions that are nearest to each picture.

W is the number of words, D the length of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.model import Model
from index.search.searcher import Hit

if TYPE_CHECKING:
    from vsearch.text.phrase import PhraseSpace

COMMON = 2.0  # idf of a word in one caption of seven: "a", "in", "the" and the like are below it


def explain(database: Database, model: Model, hits: Iterable[Hit], k: int = 5) -> dict[int, list[str]]:
    """Return the `k` telling words nearest to each hit, by its id; hits that are gone are left out.

    Raises LibraryError if the library was made by another model, ModelError if the model has no words.
    """
    with database.snapshot():
        database.check_identity(model.identity)
        ids, vectors = database.read.vectors([hit.id for hit in hits])
    return dict(zip(ids.tolist(), nearest_words(model, vectors, k), strict=True))


def nearest_words(model: Model, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
    """Return the `k` telling words nearest to each of some pictures, unit vectors (n, D).

    Raises ModelError if the model has no words.
    """
    words = telling_words(model.space)
    table = model.space.vectors_of([word] for word in words)  # (W, D), in the space where the pictures are
    orders = [np.argsort(-(table @ vector), kind="stable")[:k] for vector in vectors]
    return [[words[i] for i in order] for order in orders]


def telling_words(space: PhraseSpace) -> list[str]:
    """Return the words of the training captions that are neither in most of them nor too rare to be sure of."""
    known = (word for word in space.idf if word in space.vectors)
    usual = max(space.idf.values(), default=0.0)
    return sorted(word for word in known if COMMON < space.idf[word] < usual) or sorted(space.idf)
