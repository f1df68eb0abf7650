"""How well a model names pictures, and finds them by a word: the figures of the DeViSE paper, from scores and vectors.

Frome et al. 2013, section 4: flat hit@k and hierarchical precision@k, of dev pictures of classes that were trained on
(seen) and of classes that were not (unseen), each among its own and among all classes. Shapes: I pictures, K classes,
S seen classes, D word-vector size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.metrics.hierarchy import hierarchical_precision
from vsearch.metrics.retrieval import hit_at

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Table = dict[str, float | None]  # None: the model cannot do that
HITS = (1, 2, 5, 10)
PRECISIONS = (2, 5, 10)
NEAREST = 10  # pictures of a search by a word
CONSE_TOP = 10  # classes that ConSE combines
LOCAL = 10  # training pictures that tell how crowded a class is


@dataclass(frozen=True)
class Column:
    """What one model says of I pictures: how well each class fits, (I, K), -inf where it cannot name that class; and
    the unit vectors (I, D) that place them among words, where it does so."""

    name: str
    scores: Floats
    vectors: Floats | None


@dataclass(frozen=True)
class DevPictures:
    """The dev pictures of a labelled set; distance: steps (K, K) in the hierarchy; queries: unit vectors by class."""

    label: NDArray[np.int64]  # (I,)
    vectors: Floats  # (K, D)
    seen: Flags  # (K,)
    distance: NDArray[np.float32] | None
    queries: dict[int, Floats | None]  # None: the word is not in the dictionary, so a search is refused


def evaluate_column(column: Column, pictures: DevPictures) -> Table:
    """Measure all figures of one model: hits and precisions in percent, the mean of 1 - cos, precision of searches by a
    word.

    Without an unseen class there is only the case "all among all".
    """
    seen, every = pictures.seen, np.ones_like(pictures.seen)
    cases = {"all among all": (every, every)}
    if not seen.all():
        cases = {
            "seen among seen": (seen, seen), "seen among all": (seen, every), "unseen among unseen": (~seen, ~seen),
            "unseen among all": (~seen, every), **cases,
        }  # fmt: skip
    table: Table = {}
    for name, (rows, columns) in cases.items():
        figures = _naming(column.scores, pictures, rows[pictures.label], columns)
        table |= {f"{name}, {figure}": value for figure, value in figures.items()}
    groups = {"seen": seen, "unseen": ~seen, "all": every} if not seen.all() else {"all": every}
    table |= {f"1 - cos, {name}": _cosine_loss(column, pictures, group) for name, group in groups.items()}
    found = word_precisions(column, pictures)
    table[f"word precision@{NEAREST}"] = float(np.mean(list(found.values()))) if found else None
    return table


def word_precisions(column: Column, pictures: DevPictures) -> dict[int, float]:
    """Return by class the share, in percent, of the ten pictures nearest to its word that show it. Empty where the
    model does not place pictures among words."""
    if column.vectors is None:
        return {}
    found = {}
    for k, query in pictures.queries.items():
        found[k] = 0.0
        if query is not None:
            nearest = np.argsort(-(column.vectors @ query), kind="stable")[:NEAREST]
            found[k] = 100 * float((pictures.label[nearest] == k).mean())
    return found


def _naming(scores: Floats, pictures: DevPictures, rows: Flags, columns: Flags) -> Table:
    """Measure flat hits and hierarchical precisions of the pictures `rows` (I,) among the classes `columns` (K,)."""
    part = scores[rows][:, columns]
    label = (np.cumsum(columns) - 1)[pictures.label[rows]]
    nameable: Flags = np.isfinite(part).max(0, initial=False)  # (classes,)
    table: Table = {f"hit@{k}": hit_at(part, label, k) if nameable[label].any() else None for k in HITS}
    if pictures.distance is not None:
        distance = pictures.distance[np.ix_(columns, columns)]
        for k in PRECISIONS:
            able = nameable.sum() >= min(k, len(nameable))
            table[f"precision@{k}"] = hierarchical_precision(part, label, distance, k) if able else None
    return table


def _cosine_loss(column: Column, pictures: DevPictures, classes: Flags) -> float | None:
    if column.vectors is None:
        return None
    rows = classes[pictures.label]
    return 1 - float((column.vectors[rows] * pictures.vectors[pictures.label[rows]]).sum(1).mean())


def conse(probability: Floats, vectors: Floats, top: int = CONSE_TOP) -> Floats:
    """Embed pictures by ConSE (Norouzi et al. 2014, eq. 3): the mean of the word vectors (S, D) of the `top` likeliest
    classes, weighed by their probabilities (I, S), at length 1: (I, D)."""
    top = min(top, probability.shape[1])
    best = np.argpartition(-probability, top - 1, axis=1)[:, :top]  # (I, top)
    mixed = np.einsum("it,itd->id", np.take_along_axis(probability, best, 1), vectors[best])
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def local_scaling(scores: Floats, training: Floats, nearest: int = LOCAL) -> Floats:
    """Return cosines (I, K) less half the mean of the `nearest` greatest cosines of each class in `training` (T, K).

    Cross-domain similarity local scaling (Conneau et al. 2018, section 2.3; its constant half of a picture's own mean
    changes no ranking): classes that training pictures crowd around, as they do around those that were trained on, win
    less easily against those that were not.
    """
    best = np.sort(training, 0)[-nearest:]  # (nearest, K)
    return np.asarray(scores - best.mean(0) / 2, np.float32)
