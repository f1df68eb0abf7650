"""How the hits of a model are best ranked and scored, found on the photos of a prepared caption set.

The weight of generated captions against the pictures is what finds most photos by their human captions. The curves from
cosine to the share of hits that fit are logistic (Platt 1999, "Probabilistic outputs for support vector machines", with
his targets). Only the human captions tell what fits.
Shapes: I photos, M captions, D word-vector size, H hits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluate.captions import Split, describe, read_split
from vsearch.captions.rerank import caption_embedder
from vsearch.errors import DataError
from vsearch.metrics.retrieval import CUTS, recall_at, text_to_picture_ranks
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress
from vsearch.scores import Curve, Kind, Scores, mix
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace, Term

GRID = tuple(step / 20 for step in range(21))  # weights of captions that are tried
WORD_HITS, PICTURE_HITS = 20, 10  # judged per query
SHARES = 0.01, 0.30  # queries stand in the captions of at least, at most this share of the photos
BINS = 10
FUNCTION_WORDS = frozenset(
    "a an the this that these those some one two three other another each both all and or but as while with without"
    " in on at of to for from by into onto over under through along across up down out off near next behind between"
    " around against toward towards top front back side is are was be being been has have having its it he she they his"
    " her their him them who which what there".split()
)


@dataclass(frozen=True)
class Photos:
    """I photos as search has them, unit vectors (I, D) each, and their human captions, tokenised.

    A row of zeros among `captions` means that the generated caption has no vector.
    """

    vectors: NDArray[np.float32]
    captions: NDArray[np.float32]
    texts: list[list[list[str]]]


@dataclass(frozen=True)
class Judged:
    """The hits of many queries: their cosines (H,), and whether each fits (H,)."""

    cosines: NDArray[np.float64]
    fits: NDArray[np.bool_]


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


@dataclass(frozen=True)
class ScoresReport:
    """A ranking on some photos: recalls of the pictures alone, the captions alone and the mix, reliability by kind."""

    ranking: Scores
    recalls: dict[str, dict[str, float]]
    reliabilities: dict[str, Reliability]


def evaluate_folder(
    folder: Path, data: Path, split: str, *, write: bool = False, device: str = "auto", progress: Progress | None = None
) -> ScoresReport:
    """Measure how the hits of the model in `folder` are ranked and scored on a split of captioned photos.

    `write` first chooses weight and curves on these photos and writes them into the folder.
    """
    model, space, chosen = modelfolder.load_fast(folder, device), PhraseSpace.load(folder), Scores.load(folder)
    photos = encode_photos(model, space, read_split(data, split), progress)
    if write:
        chosen = choose_scores(photos, space)
        chosen.save(folder)
    return measure(photos, space, chosen)


def encode_photos(model: FastModel, space: PhraseSpace, split: Split, progress: Progress | None = None) -> Photos:
    """Pass the photos of a split through encoder and decoder. Raises DataError where the model describes nothing."""
    if model.joint.decoder is None:
        raise DataError("this model writes no captions to rank by", "use one with a caption decoder")
    vectors, [found] = describe(model, split, [None], progress=progress)
    placed = caption_embedder(space)([model.text(caption).split() for caption in found])
    return Photos(vectors, placed, split.captions)


def recalls(photos: Photos, space: PhraseSpace, weights: Sequence[float]) -> list[dict[str, float]]:
    """Return for each weight of the captions r1, r5 and r10 in percent: every human caption looks for its photo."""
    targets = np.concatenate([space.vectors_of(group) for group in photos.texts])  # (M, D)
    owner = np.repeat(np.arange(len(photos.texts)), [len(group) for group in photos.texts])
    table = []
    for weight in weights:
        ranks = text_to_picture_ranks(targets @ mix(photos.vectors, photos.captions, weight).T, owner)
        table.append({f"r{k}": recall_at(ranks, k) for k in CUTS})
    return table


def choose_scores(photos: Photos, space: PhraseSpace) -> Scores:
    """Return the weight of GRID with the highest mean of r1, r5 and r10 (the lowest of equals), and both curves with
    it.

    Raises DataError where there are too few photos to fit a curve.
    """
    means = [float(np.mean(list(row.values()))) for row in recalls(photos, space, GRID)]
    weight = GRID[int(np.argmax(means))]
    words = fit_curve(word_hits(photos, space, weight))
    return Scores(weight, words, fit_curve(picture_hits(photos)))


def measure(photos: Photos, space: PhraseSpace, ranking: Scores) -> ScoresReport:
    """Measure what a ranking reaches on these photos; kinds of query without a curve are left out."""
    table = recalls(photos, space, [0.0, 1.0, ranking.caption_weight])
    found: dict[str, Reliability] = {}
    if ranking.words is not None:
        found["words"] = reliability(word_hits(photos, space, ranking.caption_weight), ranking, "words")
    if ranking.picture is not None:
        found["picture"] = reliability(picture_hits(photos), ranking, "picture")
    return ScoresReport(ranking, dict(zip(("picture alone", "caption alone", "mix"), table, strict=True)), found)


def queries(texts: list[list[list[str]]]) -> list[tuple[str, ...]]:
    """Return content words, and pairs of them that stand side by side, which SHARES of the photos have in their
    captions."""
    held = [words_of(group) for group in texts]
    singles = Counter(word for words in held for word in words - FUNCTION_WORDS)
    adjacent = {
        pair
        for group in texts
        for tokens in group
        for pair in pairwise(tokens)
        if pair[0] != pair[1] and not FUNCTION_WORDS & set(pair)
    }
    low, high = (share * len(texts) for share in SHARES)
    found: list[tuple[str, ...]] = [(word,) for word, n in sorted(singles.items()) if low <= n <= high]
    common = {word for word, n in singles.items() if n >= low}  # a pair is at most as frequent as its words
    photos = {word: np.array([word in words for words in held]) for word in sorted(common)}
    for first, second in sorted(adjacent):
        if first in common and second in common and low <= (photos[first] & photos[second]).sum() <= high:
            found.append((first, second))
    return found


def word_hits(photos: Photos, space: PhraseSpace, weight: float) -> Judged:
    """Return the best of each of `queries`; a hit fits if every word of the query stands in one of its captions."""
    held = [words_of(group) for group in photos.texts]
    rows = mix(photos.vectors, photos.captions, weight)
    cosines, fits = [], []
    for words in queries(photos.texts):
        if any(word not in space.vectors for word in words):
            continue
        scores = rows @ space.query([Term((word,), 1.0) for word in words]).vector  # (I,)
        for photo in np.argsort(-scores, kind="stable")[:WORD_HITS]:
            cosines.append(float(scores[photo]))
            fits.append(set(words) <= held[photo])
    return Judged(np.array(cosines), np.array(fits, bool))


def picture_hits(photos: Photos) -> Judged:
    """Return the photos nearest to each photo; they fit with half of the content words that two of its captions share.

    A photo of whose captions no two share such a word asks nothing.
    """
    held = [words_of(group) for group in photos.texts]
    similar = photos.vectors @ photos.vectors.T  # (I, I)
    np.fill_diagonal(similar, -np.inf)
    cosines, fits = [], []
    for photo, group in enumerate(photos.texts):
        counts = Counter(word for tokens in group for word in set(tokens) - FUNCTION_WORDS)
        shared = {word for word, n in counts.items() if n >= 2}
        if not shared:
            continue
        for other in np.argsort(-similar[photo], kind="stable")[: min(PICTURE_HITS, len(held) - 1)]:
            cosines.append(float(similar[photo, other]))
            fits.append(2 * len(shared & held[other]) >= len(shared))
    return Judged(np.array(cosines), np.array(fits, bool))


def words_of(group: list[list[str]]) -> set[str]:
    """Return all words of a photo's captions."""
    return {word for tokens in group for word in tokens}


def fit_curve(hits: Judged) -> Curve:
    """Fit slope and offset of the logistic curve of highest likelihood, by Newton's method.

    Raises DataError where hits that fit, or that do not, are missing, or cosines do not rise with fitting.
    """
    right, wrong = int(hits.fits.sum()), int((~hits.fits).sum())
    if not right or not wrong:
        raise DataError(f"{right} hits fit and {wrong} do not: no curve fits those", "prepare more photos")
    targets = np.where(hits.fits, (right + 1) / (right + 2), 1 / (wrong + 2))  # Platt's: the curve never becomes a step
    middle, spread = float(hits.cosines.mean()), max(float(hits.cosines.std()), 1e-9)
    features = np.stack([(hits.cosines - middle) / spread, np.ones(len(targets))], axis=1)  # (H, 2)
    point = np.array([0.0, np.log(right / wrong)])
    for _ in range(100):
        shares = 1 / (1 + np.exp(-np.clip(features @ point, -500, 500)))
        gradient = features.T @ (targets - shares)
        curvature = (features * (shares * (1 - shares))[:, None]).T @ features + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        point += step / max(1.0, float(np.abs(step).max()))  # no leap where the curve is flat
        if np.abs(step).max() < 1e-9:
            break
    slope = float(point[0] / spread)
    if not slope > 0:
        raise DataError("hits of higher cosine fit no more often: there is nothing to fit", "train the model further")
    return slope, float(point[1] - slope * middle)


def reliability(hits: Judged, ranking: Scores, kind: Kind) -> Reliability:
    """Return bins that hold a hit, and their error: the mean over hits of |predicted - found|.

    (Guo et al. 2017, "On calibration of modern neural networks", eq. 3.)
    """
    shares = np.array([ranking.calibrate(float(cosine), kind) for cosine in hits.cosines])
    at = np.minimum((shares * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(at):
        inside = at == number
        bins.append(Bin(int(inside.sum()), float(shares[inside].mean()), float(hits.fits[inside].mean())))
    error = sum(one.count * abs(one.predicted - one.found) for one in bins) / len(shares)
    return Reliability(len(shares), error, bins)
