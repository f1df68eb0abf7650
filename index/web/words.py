"""The words of a model for people who type: completion, guesses, the words nearest to a picture.

W is a number of words, D the length of a vector.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from index.search.explain import telling_words
from vsearch.text.phrase import PhraseSpace

Floats = NDArray[np.float32]


class Words:
    """Words of captions, the most usual first, and those that tell pictures apart; made when first asked for."""

    def __init__(self, space: PhraseSpace) -> None:
        self.space = space

    def complete(self, prefix: str, count: int) -> list[str]:
        """Return known words that begin with `prefix`, those of captions first, the most usual first."""
        start = prefix.lower()
        found = [word for word in self._usual if word.startswith(start)][:count]
        if len(found) < count:
            known = set(found)
            more = (word for word in self.space.vectors.words if word.startswith(start) and word not in known)
            found += [word for word, _ in zip(more, range(count - len(found)), strict=False)]
        return found

    def guess(self, word: str) -> str | None:
        """Return the usual word spelled like an unknown one, else the word of the captions that is nearest to it by its
        letters, None if there is none."""
        if meant := self.space.spelled(word):
            return meant
        vector = self.space.vectors.unit(word)
        names, table = self._spelled
        return names[int(np.argmax(table @ vector))] if len(names) and vector.any() else None

    def near(self, vectors: Floats, count: int) -> list[list[tuple[str, float]]]:
        """Return the `count` telling words nearest to each vector (n, D), with their cosines, best first."""
        names, table = self._telling
        cosines = vectors @ table.T  # (n, W)
        return [
            [(names[i], float(own[i])) for i in np.argsort(-own, kind="stable")[:count].tolist()] for own in cosines
        ]

    @functools.cached_property
    def _usual(self) -> list[str]:
        """The words of captions by how many captions hold them."""
        return sorted((word for word in self.space.idf if word in self.space.vectors), key=lambda w: self.space.idf[w])

    @functools.cached_property
    def _spelled(self) -> tuple[list[str], Floats]:
        """The words of captions and their unit vectors as fastText has them: (W, D)."""
        words = self._usual
        rows = [self.space.vectors.unit(word) for word in words]
        return words, np.array(rows, np.float32).reshape(len(words), self.space.vectors.dim)

    @functools.cached_property
    def _telling(self) -> tuple[list[str], Floats]:
        """The telling words and where they lie among pictures: (W, D)."""
        words = telling_words(self.space)
        return words, self.space.vectors_of([word] for word in words)
