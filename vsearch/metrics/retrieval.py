"""Ranking metrics. Shapes: M texts, I pictures, Q queries, K labels. Shares are in percent; ranks count from 1.

What ties with the right answer counts as ranked before it, so that a model that gives one score to all gains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
CUTS = (1, 5, 10)


def text_to_picture_ranks(similarity: Floats, owner: Integers) -> Integers:
    """Return the rank (M,) of each text's picture: `similarity` (M, I), `owner` (M,) the picture of each text."""
    right = np.take_along_axis(similarity, owner[:, None], 1)  # (M, 1)
    return np.asarray((similarity >= right).sum(1), np.int64)


def picture_to_text_ranks(similarity: Floats, owner: Integers) -> Integers:
    """Return the rank (I,) of the best of each picture's own texts among all texts, of pictures that have any."""
    own = owner[:, None] == np.arange(similarity.shape[1])[None]  # (M, I)
    best = np.where(own, similarity, -np.inf).max(0)  # (I,)
    ranks = 1 + ((similarity >= best) & ~own).sum(0)
    return np.asarray(ranks[own.any(0)], np.int64)


def recall_at(ranks: Integers, k: int) -> float:
    """Return the share of queries whose answer is among the first `k`."""
    return 100 * float(np.mean(ranks <= k))


def hit_at(similarity: Floats, label: Integers, k: int) -> float:
    """Return flat hit@k (Frome et al. 2013, section 4): the right label is among the `k` nearest; (Q, K) and (Q,)."""
    return recall_at(text_to_picture_ranks(similarity, label), k)


def evaluate_retrieval(similarity: Floats, owner: Integers) -> dict[str, float]:
    """Measure retrieval both ways over `similarity` (M, I): t2i_r1, t2i_r5, t2i_r10, t2i_median, and the same for
    i2t."""
    ways = {"t2i": text_to_picture_ranks(similarity, owner), "i2t": picture_to_text_ranks(similarity, owner)}
    table: dict[str, float] = {}
    for way, ranks in ways.items():
        table |= {f"{way}_r{k}": recall_at(ranks, k) for k in CUTS}
        table[f"{way}_median"] = float(np.median(ranks))
    return table


def mean_recall(table: Mapping[str, float]) -> float:
    """Return the mean of the recalls of both ways, of a table that `evaluate_retrieval` made."""
    return float(np.mean([table[f"{way}_r{k}"] for way in ("t2i", "i2t") for k in CUTS]))
