"""A correction of queries, learned from votes: kernel ridge regression on pairs of a query and a picture.

With unit vectors q of a query and x of a picture, n votes y_i (1: fits, -1: not) on pairs (q_i, x_i), and the kernel

    k((q, x), (q', x')) = max(0, q . q')^4  (x . x')

a = (K + RIDGE I)^-1 (y - mean of the votes on the same query, two votes of both kinds added) makes the score

    q . x + SCALE * sum of a_i k((q, x), (q_i, x_i)),   which is   (q + SCALE * sum of a_i max(0, q . q_i)^4 x_i) . x

So only the query is moved, towards pictures that fitted and away from those that did not; vectors of pictures, caches
and graphs stay as they are. The fourth power keeps it to queries that mean nearly the same: cosine 0.9 gives 0.66, 0.5
gives 0.06. RIDGE, SCALE and the power were chosen on Flickr8k's dev photos, see docs/results.md. D is the length of a
vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Votes = NDArray[np.float64]  # 1 or -1 each
RIDGE, SCALE, POWER = 3.0, 0.3, 4
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Correction:
    """What was learned: weights (n,), and the queries (n, D) and pictures (n, D) that were voted on, unit vectors."""

    weights: NDArray[np.float64]
    queries: Vectors
    pictures: Vectors

    def apply(self, query: Vectors) -> Vectors:
        """Return the corrected unit vector (D,) of a query of any length above zero."""
        unit = query / max(float(np.linalg.norm(query)), 1e-12)
        moved = unit + self.step(query)
        return np.asarray(moved / max(float(np.linalg.norm(moved)), 1e-12), np.float32)

    def step(self, query: Vectors) -> NDArray[np.float64]:
        """Return what is added (D,) to the unit vector of a query of any length above zero."""
        unit = query / max(float(np.linalg.norm(query)), 1e-12)
        return np.asarray(SCALE * (self.weights * _near(self.queries, unit[None])[:, 0]) @ self.pictures, np.float64)


def fit(queries: Vectors, pictures: Vectors, votes: Votes, names: Sequence[str]) -> Correction:
    """Learn from n votes on unit vectors (n, D) of queries, which have `names`, and of pictures."""
    kernel = _near(queries, queries) * (pictures @ pictures.T)  # (n, n)
    kinds = np.unique(np.array(names), return_inverse=True)[1]
    means = np.bincount(kinds, votes) / (np.bincount(kinds) + 2)
    weights = np.linalg.solve(kernel.astype(np.float64) + RIDGE * np.eye(len(votes)), votes - means[kinds])
    return Correction(np.asarray(weights, np.float64), queries, pictures)


def held_out(queries: Vectors, pictures: Vectors, votes: Votes, names: Sequence[str]) -> tuple[float, float] | None:
    """Return the share of pairs of votes on one query that are in order, before and after, by corrections that were
    learned from the votes of other folds only. A tie is half in order. None if no query has votes of both kinds.
    """
    before = (queries * pictures).sum(axis=1).astype(np.float64)  # (n,)
    after = before.copy()
    folds = np.random.default_rng(0).permutation(len(votes)) % min(FOLDS, len(votes))
    for fold in range(min(FOLDS, len(votes))):
        out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(rest):
            learned = fit(queries[rest], pictures[rest], votes[rest], [names[i] for i in rest.tolist()])
            after[out] = [learned.apply(queries[i]) @ pictures[i] for i in out]
    shares = [_in_order(scores, votes, names) for scores in (before, after)]
    return None if shares[0] is None or shares[1] is None else (shares[0], shares[1])


def _in_order(scores: NDArray[np.float64], votes: Votes, names: Sequence[str]) -> float | None:
    """Return the mean share of pairs (fits, fits not) in order, over queries that have both."""
    labels, shares = np.array(names), []
    for name in np.unique(labels):
        good, bad = (scores[(labels == name) & (votes == vote)] for vote in (1, -1))
        if len(good) and len(bad):
            pairs = good[:, None] - bad[None]
            shares.append(float(((pairs > 0) + 0.5 * (pairs == 0)).mean()))
    return float(np.mean(shares)) if shares else None


def _near(queries: Vectors, others: Vectors) -> NDArray[np.float64]:
    """Return how much queries (n, D) have to do with others (m, D): (n, m), 0 to 1."""
    return np.asarray(np.clip(queries @ others.T, 0, 1) ** POWER, np.float64)
