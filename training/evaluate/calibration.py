"""From cosines to the probability that a photo shows what was asked: a logistic curve, or one that only has to rise.

What fits is told by people's captions, which omit most of what can be seen, and by labels, which omit nothing. So a hit
has a `said`: the probability that a photo which fits is told to fit, 1 for labels. The curve p of the cosine is fitted
to what is told, whose probability is said * p, by expectation maximisation: a hit that is not told to fit does so with
probability p (1 - said) / (1 - said p) (Elkan & Noto 2008, "Learning classifiers from only positive and unlabeled
data", with a `said` for each query). For labels that is the plain fit.
Shapes: H hits, B blocks of hits, K knots.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DataError
from vsearch.scores import Curve, Kind, Knots, Scores, Shares, shares_of

Floats = NDArray[np.float64]
BINS = 10
ROUNDS = 200  # of expectation maximisation, at most
KNOTS = 16  # of a curve that only rises


@dataclass(frozen=True)
class Judged:
    """The hits of many queries: their cosines (H,), whether each is told to fit (H,), and how likely it would be told
    if it fits, `said` (H,), by default 1; how much each counts, `weight` (H,), by default 1."""

    cosines: Floats
    fits: NDArray[np.bool_]
    said: Floats = field(default_factory=lambda: np.zeros(0))
    weight: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        for name in ("said", "weight"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.ones(len(self.fits)))


@dataclass(frozen=True)
class Bin:
    """The hits whose share was predicted to lie in one of BINS equal parts of 0 to 1; means of both."""

    count: int
    predicted: float
    found: float


@dataclass(frozen=True)
class Reliability:
    """How well shares were predicted; `error` is the expected calibration error, 0 to 1."""

    hits: int
    error: float
    bins: list[Bin]


def together(*sets: Judged) -> Judged:
    """Return the hits of several sets, each set as heavy as the others, all together as heavy as there are hits."""
    count = sum(len(one.fits) for one in sets)
    weights = [one.weight * (count / len(sets) / max(one.weight.sum(), 1e-9)) for one in sets]
    return Judged(
        np.concatenate([one.cosines for one in sets]),
        np.concatenate([one.fits for one in sets]),
        np.concatenate([one.said for one in sets]),
        np.concatenate(weights),
    )


def fit_curve(hits: Judged) -> Curve:
    """Slope and offset of the logistic curve of highest likelihood (Platt 1999, with his targets).

    Raises DataError where hits that fit, or that do not, are missing, or cosines do not rise with fitting.
    """
    low, high = _platt(hits)
    chance = hits.fits.astype(float)  # that a hit fits
    curve = _logistic(hits, low + (high - low) * chance)
    for _ in range(ROUNDS if hits.said.min() < 1 else 0):
        chance = _chance(hits, shares_of(hits.cosines, curve))
        before, curve = curve, _logistic(hits, low + (high - low) * chance)
        if max(abs(a - b) for a, b in zip(before, curve, strict=True)) < 1e-6:
            break
    if not curve[0] > 0:
        raise DataError("hits of higher cosine fit no more often: there is nothing to fit", "train the model further")
    return curve


def fit_knots(hits: Judged) -> Knots:
    """Return points (cosine, share), at most KNOTS and two ends, of the likeliest curve that only has to rise.

    Isotonic regression by pooling adjacent violators (Zadrozny & Elkan 2002), its steps joined by straight lines, which
    begin with 0 at -1 and end with 1 at 1. Raises DataError as `fit_curve`.
    """
    _platt(hits)
    order = np.argsort(hits.cosines, kind="stable")
    knots: Knots = ((float(hits.cosines.min()), 0.5), (float(hits.cosines.max()), 0.5))
    for _ in range(ROUNDS if hits.said.min() < 1 else 1):
        chance = _chance(hits, shares_of(hits.cosines, knots))
        before, knots = knots, _rising(hits.cosines[order], chance[order], hits.weight[order])
        if before == knots:
            break
    return knots


def _platt(hits: Judged) -> tuple[float, float]:
    """Return what stands for 0 and 1: no step, however few the hits are."""
    right, wrong = float(hits.weight[hits.fits].sum()), float(hits.weight[~hits.fits].sum())
    if not right or not wrong:
        told = f"{int(hits.fits.sum())} hits fit and {int((~hits.fits).sum())} do not"
        raise DataError(f"{told}: no curve fits those", "prepare more photos")
    return 1 / (wrong + 2), (right + 1) / (right + 2)


def _chance(hits: Judged, shares: Floats) -> Floats:
    """Return how likely each hit fits, given what is told of it and the share of such hits that fit."""
    silent = shares * (1 - hits.said) / np.maximum(1 - hits.said * shares, 1e-12)
    return np.where(hits.fits, 1.0, silent)


def _logistic(hits: Judged, targets: Floats) -> Curve:
    """Slope and offset of the logistic curve nearest to the targets (H,), by Newton's method."""
    middle, spread = float(hits.cosines.mean()), max(float(hits.cosines.std()), 1e-9)
    features = np.stack([(hits.cosines - middle) / spread, np.ones(len(targets))], axis=1)  # (H, 2)
    mean = float(np.average(targets, weights=hits.weight))
    point = np.array([0.0, np.log(mean / (1 - mean))])
    for _ in range(100):
        shares = 1 / (1 + np.exp(-np.clip(features @ point, -500, 500)))
        gradient = features.T @ (hits.weight * (targets - shares))
        curvature = (features * (hits.weight * shares * (1 - shares))[:, None]).T @ features + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        point += step / max(1.0, float(np.abs(step).max()))  # no leap where the curve is flat
        if np.abs(step).max() < 1e-9:
            break
    slope = float(point[0] / spread)
    return slope, float(point[1] - slope * middle)


def _rising(cosines: Floats, chance: Floats, weight: Floats) -> Knots:
    """Pool the hits, in order of their cosines, into blocks whose mean chance rises; at most KNOTS of them."""
    blocks: list[list[float]] = []  # weight, mean chance, mean cosine
    for part in np.array_split(np.arange(len(cosines)), min(KNOTS, len(cosines))):
        total = float(weight[part].sum())
        blocks.append([total, float(weight[part] @ chance[part]) / total, float(weight[part] @ cosines[part]) / total])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            (m, a, x), (n, b, y) = blocks[-2:]
            blocks[-2:] = [[m + n, (m * a + n * b) / (m + n), (m * x + n * y) / (m + n)]]
    inner = [(round(cosine, 6), round(mean, 6)) for _, mean, cosine in blocks if -1 < cosine < 1]
    return ((-1.0, 0.0), *inner, (1.0, 1.0))  # so that no two cosines get the same share


def log_loss(hits: Judged, curve: Shares) -> float:
    """Return the mean of -log of the probability that a curve gives to what is told of each hit; 0 without hits."""
    told = np.clip(hits.said * shares_of(hits.cosines, curve), 1e-6, 1 - 1e-6)
    losses = -np.where(hits.fits, np.log(told), np.log(1 - told))
    return float(hits.weight @ losses / max(hits.weight.sum(), 1e-9))


def predicted(hits: Judged, ranking: Scores, kind: Kind) -> Floats:
    """Return the probability (H,) that each hit is told to fit."""
    return np.asarray(hits.said * ranking.calibrate_all(hits.cosines, kind), np.float64)


def reliability(shares: Floats, fits: NDArray[np.bool_]) -> Reliability:
    """Bins of what was predicted (H,) that hold a hit, and their error: the mean over hits of |predicted - found|.

    (Guo et al. 2017, "On calibration of modern neural networks", eq. 3.)
    """
    at = np.minimum((shares * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(at):
        inside = at == number
        bins.append(Bin(int(inside.sum()), float(shares[inside].mean()), float(fits[inside].mean())))
    error = sum(one.count * abs(one.predicted - one.found) for one in bins) / max(len(shares), 1)
    return Reliability(len(shares), error, bins)
