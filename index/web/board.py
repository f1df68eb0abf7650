"""The query as a board of terms, each with a weight: words, a picture, what was learned from votes, and what votes say.

With p_t the part of a word or label t (see `PhraseSpace.parts`), w_t its weight, I the picture's unit vector, w_I its
weight, T what `Library.teach` learned for this query (see `index.teach.correction`), and V what the votes on this very
query add (see `votes.py`), the vector that is looked for is

    v = unit(unit(unit(unit(sum of w_t p_t) + w_I I) + T) + V)

so its cosine with a picture x is linear in the parts x . p_t, x . I, x . T and x . V, once the four lengths are known;
and these follow from the products of the parts with each other (`gram`). The server sends both, and the page re-orders
its hits as a weight is moved, without asking again. B is the number of parts, D the length of a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index.search.query import Query
from index.search.terms import merged, shown
from vsearch.errors import QueryError
from vsearch.scores import Kind
from vsearch.text.phrase import PhraseSpace, parse

Vector = NDArray[np.float32]
KINDS = ("word", "picture", "taught", "votes")  # in the order in which they are added
_NOTHING = 1e-6  # a shorter vector has no direction


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a query: what it is called, its kind, its weight and its vector (D,)."""

    word: str
    kind: str  # "word", "picture", "taught" or "votes"
    weight: float
    vector: Vector


@dataclass(frozen=True, eq=False)
class Board:
    """The parts of a query, words first, then the picture, what was learned, votes; and words that are not known."""

    parts: tuple[Part, ...]
    unknown: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the query is made of: words and a picture together count as words."""
        return "words" if any(part.kind == "word" for part in self.parts) else "picture"

    @property
    def key(self) -> str:
        """Under which name votes on this query are kept: its words without weights, in one order, minus signs kept."""
        words = {("-" if part.weight < 0 else "") + part.word for part in self.parts if part.kind == "word"}
        return " ".join(sorted(words))

    def basis(self) -> Vector:
        """Return the vectors of the parts: (B, D)."""
        return np.stack([part.vector for part in self.parts])

    def gram(self) -> NDArray[np.float64]:
        """Return the products of the parts with each other: (B, B)."""
        basis = self.basis().astype(np.float64)
        return basis @ basis.T

    def coefficients(self) -> NDArray[np.float64]:
        """Return how much of each part is in what is looked for: (B,). Raises QueryError if nothing is left."""
        gram, total = self.gram(), np.zeros(len(self.parts))
        for kind in KINDS:
            own = np.array([part.weight if part.kind == kind else 0.0 for part in self.parts])
            if own.any():
                total = total + own
                length = math.sqrt(max(float(total @ gram @ total), 0.0))
                if length < _NOTHING:
                    raise QueryError("the terms cancel each other out", "take one away, or weigh them differently")
                total = total / length
        return total

    def query(self, identity: str) -> Query:
        """Return the query of a model for the searcher."""
        vector = self.coefficients() @ self.basis().astype(np.float64)
        return Query(vector.astype(np.float32), self.kind, self.unknown, identity)

    def with_taught(self, vector: Vector | None) -> Board:
        """Return the same board and what was learned for it, from votes on queries that mean nearly the same."""
        return self if vector is None else replace(self, parts=(*self.parts, Part("learned", "taught", 1.0, vector)))

    def with_votes(self, vector: Vector | None) -> Board:
        """Return the same board and what votes add to it."""
        return self if vector is None else replace(self, parts=(*self.parts, Part("your votes", "votes", 1.0, vector)))


def make_board(
    space: PhraseSpace | None, text: str, picture: Vector | None = None, picture_weight: float = 1.0, name: str = ""
) -> Board | None:
    """Return the board of a query by words, by a picture (its unit vector), or by both; None if there is neither.

    Raises QueryError if the words cannot be parsed, or none is known.
    """
    parts: list[Part] = []
    unknown: list[str] = []
    if text.strip() and space is not None:
        terms = merged(space.folded(parse(text)))
        found = space.parts(terms)
        parts += [Part(shown(term), "word", term.weight, row) for term, row in zip(terms, found.vectors, strict=True)]
        unknown = found.unknown
    if picture is not None:
        parts.append(Part(name, "picture", picture_weight, picture))
    return Board(tuple(parts), tuple(unknown)) if parts else None
