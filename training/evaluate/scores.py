"""How the hits of a model are best ranked and scored, found on photos with captions and on photos with labels.

The weight of generated captions against the pictures is what finds most photos by their human captions. A score is the
probability that the photo shows what was asked. People's captions omit most of what can be seen; how much, the captions
themselves tell, for several people described each photo (`said_share`). Labels omit nothing. Curves are fitted to both,
see `training.evaluate.calibration`.
Shapes: I photos, M captions, K classes, D word-vector size, H hits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import SPLITS, open_prepared
from training.evaluate.calibration import (
    Judged,
    Reliability,
    fit_curve,
    fit_knots,
    log_loss,
    predicted,
    reliability,
    together,
)
from training.evaluate.captions import Split, describe, read_split
from vsearch.captions.rerank import caption_embedder
from vsearch.errors import DataError
from vsearch.metrics.retrieval import CUTS, recall_at, text_to_picture_ranks
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress
from vsearch.scores import Scores, mix
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace, Term
from vsearch.text.tokenise import tokenise

GRID = tuple(step / 20 for step in range(21))  # weights of captions that are tried
WORD_HITS, PICTURE_HITS = 20, 10  # judged per query
SHARES = 0.01, 0.30  # queries stand in the captions of at least, at most this share of the photos
SURE = 0.01  # of a photo's area; what covers less, and yet is there, is not judged
FEWEST = 0.05  # a query is said of at least this share of the photos that show it
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
class Labelled:
    """I photos as search has them, unit vectors (I, D) each, and how much of each a class covers, `shares` (I, K), 1
    where only known to be there, 0: not there; the classes by name."""

    vectors: NDArray[np.float32]
    captions: NDArray[np.float32]
    shares: NDArray[np.float32]
    names: list[str]


@dataclass(frozen=True)
class Choice:
    """A ranking, how it was chosen, and how right it is: `losses` of both forms of the curve of words and
    `reliabilities`, all on the half of the photos that the curve was not fitted on, both halves in turn."""

    ranking: Scores
    losses: dict[str, float]
    reliabilities: dict[str, Reliability]


@dataclass(frozen=True)
class ScoresReport:
    """A ranking on some photos: recalls of the pictures alone, the captions alone and the mix, reliability by kind."""

    ranking: Scores
    recalls: dict[str, dict[str, float]]
    reliabilities: dict[str, Reliability]
    choice: Choice | None = None


def evaluate_folder(
    folder: Path, data: Path, split: str, labels: Path | None = None, *, write: bool = False, device: str = "auto",
    progress: Progress | None = None,
) -> ScoresReport:  # fmt: skip
    """Measure how the hits of the model in `folder` are ranked and scored on a split of captioned photos, and on the
    photos that a prepared file of scenes, `labels`, holds back.

    `write` first chooses weight and curves on these photos and writes them into the folder.
    """
    model, space, chosen = modelfolder.load_fast(folder, device), PhraseSpace.load(folder), Scores.load(folder)
    photos = encode_photos(model, space, read_split(data, split), progress)
    labelled = encode_labelled(model, space, labels, "dev", progress) if labels is not None else None
    choice = choose_scores(photos, space, labelled) if write else None
    if choice is not None:
        chosen = choice.ranking
        chosen.save(folder)
    return replace(measure(photos, space, chosen, labelled), choice=choice)


def encode_photos(model: FastModel, space: PhraseSpace, split: Split, progress: Progress | None = None) -> Photos:
    """Run the photos of a split through encoder and decoder. Raises DataError if the model writes no captions."""
    return Photos(*_encoded(model, space, split, progress), split.captions)


def encode_labelled(
    model: FastModel, space: PhraseSpace, path: Path, split: str, progress: Progress | None = None
) -> Labelled:
    """Run the photos of a split of a prepared file of scenes through encoder and decoder.

    Photos without a label are left out: nobody said what they show. Raises DataError if the file has no other of that
    split, or the model writes no captions.
    """
    if split not in SPLITS:
        raise DataError(f"no split {split!r}", f"splits: {', '.join(SPLITS)}")
    with open_prepared(path, "scenes") as file:
        shares = file["scenes/share"][:].astype(np.float32)
        rows = np.flatnonzero((file["pictures/split"][:] == SPLITS.index(split)) & shares.any(axis=1))
        names, shares = file["pictures/name"].asstr()[:][rows].tolist(), shares[rows]
        classes = [str(name) for name, _ in json.loads(file.attrs["classes"])]
    if not len(rows):
        raise DataError(f"{path} has no labelled photo in the split {split!r}", "prepare it with `dev_every`")
    photos = Split(names, path, rows.tolist(), [], "scenes")
    return Labelled(*_encoded(model, space, photos, progress), shares, classes)


def _encoded(
    model: FastModel, space: PhraseSpace, split: Split, progress: Progress | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if model.config.decoder is None:
        raise DataError("this model writes no captions to rank by", "use one with a caption decoder")
    vectors, [found] = describe(model, split, [None], progress=progress)
    return vectors, caption_embedder(space)([model.text(caption).split() for caption in found])


def recalls(photos: Photos, space: PhraseSpace, weights: Sequence[float]) -> list[dict[str, float]]:
    """Return for each weight of the captions r1, r5 and r10 in percent: every human caption looks for its photo."""
    targets = np.concatenate([space.vectors_of(group) for group in photos.texts])  # (M, D)
    owner = np.repeat(np.arange(len(photos.texts)), [len(group) for group in photos.texts])
    table = []
    for weight in weights:
        ranks = text_to_picture_ranks(targets @ mix(photos.vectors, photos.captions, weight).T, owner)
        table.append({f"r{k}": recall_at(ranks, k) for k in CUTS})
    return table


def choose_scores(photos: Photos, space: PhraseSpace, labelled: Labelled | None = None) -> Choice:
    """Choose the weight of GRID with the highest mean of r1, r5 and r10 (the lowest of equals), and the curves for it.

    The curve of words is fitted on captions and labels alike; it is logistic, or only rises where that is nearer to
    what is told of the other half of the photos. Raises DataError where there are too few photos to fit a curve.
    """
    means = [float(np.mean(list(row.values()))) for row in recalls(photos, space, GRID)]
    weight = GRID[int(np.argmax(means))]
    halves = [(_half(photos, first), labelled and _half(labelled, first)) for first in (0, 1)]
    sets = [_words_sets(own, space, weight, other) for own, other in halves]
    logistic = [Scores(weight, fit_curve(together(*one.values()))) for one in sets]
    rising = [Scores(weight, words_knots=fit_knots(together(*one.values()))) for one in sets]
    losses = {name: _loss(curves, sets) for name, curves in (("logistic", logistic), ("rising", rising))}
    whole = together(*_words_sets(photos, space, weight, labelled).values())
    chosen = Scores(weight, fit_curve(whole), fit_curve(picture_hits(photos)))
    if losses["rising"] < losses["logistic"]:
        chosen = replace(chosen, words_knots=fit_knots(whole))
    fitted = rising if chosen.words_knots else logistic
    return Choice(chosen, losses, {name: _crossed(name, fitted, sets) for name in sets[0]})


def _half(photos: Any, first: int) -> Any:
    """Return every other one of some photos, from `first` on."""
    table = {name: value[first::2] for name, value in vars(photos).items() if name != "names"}
    return replace(photos, **table)


def _words_sets(photos: Photos, space: PhraseSpace, weight: float, labelled: Labelled | None) -> dict[str, Judged]:
    sets = {"words": word_hits(photos, space, weight)}
    if labelled is not None:
        sets["labels"] = label_hits(labelled, space, weight)
    return sets


def _loss(curves: Sequence[Scores], sets: Sequence[dict[str, Judged]]) -> float:
    """Return the mean loss of the curve of either half on the hits of the other."""
    losses = []
    for curve, hits in zip(curves, reversed(sets), strict=True):
        shape = curve.words_knots or curve.words
        assert shape is not None
        losses.append(log_loss(together(*hits.values()), shape))
    return float(np.mean(losses))


def _crossed(name: str, curves: Sequence[Scores], sets: Sequence[dict[str, Judged]]) -> Reliability:
    """Return how reliable the curve of either half is on the hits of the other, all of these together."""
    hits = [one[name] for one in reversed(sets)]
    shares = [predicted(own, curve, "words") for own, curve in zip(hits, curves, strict=True)]
    return reliability(np.concatenate(shares), np.concatenate([own.fits for own in hits]))


def measure(
    photos: Photos, space: PhraseSpace, ranking: Scores, labelled: Labelled | None = None
) -> ScoresReport:  # fmt: skip
    """Measure what a ranking reaches on these photos; kinds of query without a curve are left out."""
    table = recalls(photos, space, [0.0, 1.0, ranking.caption_weight])
    found: dict[str, Reliability] = {}
    if ranking.is_calibrated("words"):
        for name, hits in _words_sets(photos, space, ranking.caption_weight, labelled).items():
            found[name] = reliability(predicted(hits, ranking, "words"), hits.fits)
    if ranking.picture is not None:
        hits = picture_hits(photos)
        found["picture"] = reliability(predicted(hits, ranking, "picture"), hits.fits)
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
    """Judge the best of each of `queries`; a hit is told to fit if each word of the query stands in a caption of it."""
    held = [words_of(group) for group in photos.texts]
    rows = mix(photos.vectors, photos.captions, weight)
    cosines, fits, said = [], [], []
    for words in queries(photos.texts):
        if any(word not in space.vectors for word in words):
            continue
        share = said_share(words, photos.texts)
        scores = rows @ space.query([Term((word,), 1.0) for word in words]).vector  # (I,)
        for photo in np.argsort(-scores, kind="stable")[:WORD_HITS]:
            cosines.append(float(scores[photo]))
            fits.append(set(words) <= held[photo])
            said.append(share)
    return Judged(np.array(cosines), np.array(fits, bool), np.array(said))


def said_share(words: Sequence[str], texts: list[list[list[str]]]) -> float:
    """Of the photos that show what a query asks for, estimate the share in whose captions it stands.

    f1 photos have all words of it in one caption only, f2 in two: about f1 (f1 - 1) / (2 (f2 + 1)) more show it, of
    which nobody said so (Chao 1987, "Estimating the population size for capture-recapture data", a lower bound). 1 if
    no photo has two captions, at least FEWEST.
    """
    if max(map(len, texts), default=0) < 2:
        return 1.0
    times = Counter(sum(set(words) <= set(tokens) for tokens in group) for group in texts)
    seen = sum(count for often, count in times.items() if often)
    hidden = times[1] * (times[1] - 1) / (2 * (times[2] + 1))
    return max(FEWEST, seen / (seen + hidden)) if seen else 1.0


def label_hits(photos: Labelled, space: PhraseSpace, weight: float) -> Judged:
    """Judge the best of each class that any photo shows, its name asked for; a hit fits if the photo shows it.

    What covers less than SURE of the photo is not judged.
    """
    rows = mix(photos.vectors, photos.captions, weight)
    cosines, fits = [], []
    for name, shares in zip(photos.names, photos.shares.T, strict=True):
        words = [word for word in tokenise(name) if word in space.vectors]
        if not words or not shares.any():
            continue
        scores = rows @ space.query([Term((word,), 1.0) for word in words]).vector  # (I,)
        for photo in np.argsort(-scores, kind="stable")[:WORD_HITS]:
            if shares[photo] == 0 or shares[photo] >= SURE:
                cosines.append(float(scores[photo]))
                fits.append(bool(shares[photo]))
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
