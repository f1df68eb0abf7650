"""What DeViSE is trained towards: the phrase vectors of captions, the word vectors of classes, and the losses to them.

Shapes: I pictures, M captions, L words of the longest, A views, B batch, C channels, D word-vector size, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.labels import lemma_texts
from training.data.prepared import SPLITS
from training.data.word_table import WordTable, read_words
from vsearch.errors import ConfigError, DataError
from vsearch.metrics.retrieval import evaluate_retrieval, mean_recall
from vsearch.networks.losses import Contrastive, cosine_loss, hinge_rank_loss
from vsearch.networks.phrases import PhraseEncoder

if TYPE_CHECKING:
    import h5py


class LossWeights(Protocol):
    """What the losses ask of a task's settings: the weight of each, and the margin of the hinge."""

    @property
    def cosine(self) -> float: ...
    @property
    def hinge(self) -> float: ...
    @property
    def contrastive(self) -> float: ...
    @property
    def margin(self) -> float: ...


def train_and_dev(split: NDArray[np.uint8], file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of either split, of all rows' `split` (I,). Raises DataError if one has no picture."""
    found = {name: np.flatnonzero(split == SPLITS.index(name)) for name in ("train", "dev")}
    for name, rows in found.items():
        if not len(rows):
            raise DataError(f"the {name} split of {file} has no picture", "prepare it from data that has one")
    return found["train"], found["dev"]


class Captions:
    """The captions of a prepared file as targets: phrase vectors, or rows of words where the words are tuned."""

    def __init__(self, file: h5py.File, words: str = "fixed", averaged: int = 1) -> None:
        if words not in ("fixed", "tuned"):
            raise ConfigError(f"task.words is {words!r}", "known: fixed, tuned")
        if words == "tuned" and averaged != 1:
            raise ConfigError("where words are tuned, no captions are averaged", "set task.captions_averaged to 1")
        self.averaged = averaged
        owner = file["captions/picture"][:]
        self.count = np.bincount(owner, minlength=len(file["pictures/split"]))  # (I,)
        self.order = np.argsort(owner, kind="stable")  # the captions of picture 0, of picture 1, ...
        self.first = np.cumsum(self.count) - self.count  # (I,)
        vectors = file["captions/vector"][:].astype(np.float32)
        self.dim = vectors.shape[1]
        self.targets: NDArray[Any] = vectors[self.order]  # (M, D)
        if words == "tuned":
            self.table = read_words(file)
            self.targets = self.table.rows(file["captions/text"].asstr()[:])[self.order]  # (M, L)

    def draw(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Draw a target for each picture in `rows`: of one of its captions, or the mean of several."""
        count = self.count[rows, None]
        if self.averaged == 1:
            chosen = self.first[rows] + (rng.random(len(rows)) * count[:, 0]).astype(np.int64)
            return torch.from_numpy(self.targets[chosen])
        keys = rng.random((len(rows), int(count.max())))
        keys[np.arange(keys.shape[1]) >= count] = np.inf
        drawn = np.argsort(keys, 1)[:, : self.averaged]  # (B, n), different captions
        there = drawn < count
        vectors = self.targets[self.first[rows, None] + drawn * there] * there[..., None]
        return nn.functional.normalize(torch.from_numpy(vectors.sum(1)), dim=-1)

    def all_of(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Return the targets of all captions of the pictures in `rows`, and which of those pictures each belongs to."""
        chosen = np.concatenate([np.arange(self.first[i], self.first[i] + self.count[i]) for i in rows])
        return torch.from_numpy(self.targets[chosen]), np.repeat(np.arange(len(rows)), self.count[rows])


class TunedClasses:
    """The lemmas of classes as rows of words: with the words of captions, the classes' vectors move."""

    def __init__(self, file: h5py.File, captions: WordTable, named: str = "classes") -> None:
        """Read the classes that the attribute `named` of a prepared file lists.

        Raises DataError if the file was prepared with other words than the captions.
        """
        self.table = captions.joined(read_words(file))
        lemmas = [[text for text in lemma_texts(own) if text] for _, own in json.loads(file.attrs[named])]
        self.rows = torch.from_numpy(self.table.rows([text for own in lemmas for text in own]))  # (lemmas, L)
        self.owner = torch.from_numpy(np.repeat(np.arange(len(lemmas)), [len(own) for own in lemmas]))  # (lemmas,)
        self.count = len(lemmas)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Leave out the classes that the flags (K,) do not name; those behind them move up."""
        own = kept[self.owner.numpy()]  # (lemmas,)
        self.rows = self.rows[torch.from_numpy(own)]
        self.owner = torch.from_numpy((np.cumsum(kept) - 1)[self.owner.numpy()[own]])
        self.count = int(kept.sum())

    def vectors(self, encoder: PhraseEncoder) -> Tensor:
        """Return unit vectors (K, D): of each class the mean of its lemmas' phrases, as `class_vectors` has it."""
        device = encoder.map.device
        phrases = encoder(self.rows.to(device))  # (lemmas, D)
        sums = phrases.new_zeros(self.count, phrases.shape[1]).index_add(0, self.owner.to(device), phrases)
        return nn.functional.normalize(sums, dim=-1)


def phrase_encoder(table: WordTable, shared: int = 0, blend: float = 0.0) -> PhraseEncoder:
    """Return the encoder of a table, whose last `shared` words move with all words, and by nothing of their own.

    blend: the share that its singular or plural has in a word.
    """
    vectors, weights, known, mean = map(torch.from_numpy, (table.vectors, table.weights, table.known, table.mean))
    return PhraseEncoder(vectors, weights, known, mean, shared, torch.from_numpy(table.partner), blend)


def recall(phrases: Tensor, owner: NDArray[np.int64], pictures: Tensor) -> dict[str, float]:
    """Measure retrieval of unit phrase vectors (M, D), of picture `owner` (M,), among pictures (I, D), and back; full
    ranking.

    `recall` is the mean of text-to-image and image-to-text R@1, 5 and 10, in percent.
    """
    metrics = evaluate_retrieval((phrases.cpu() @ pictures.cpu().T).numpy(), owner)
    return {**metrics, "recall": mean_recall(metrics)}


def mean_view(embed: Callable[[Tensor], Tensor], pool: NDArray[np.float16]) -> Tensor:
    """Embed features (I, A, C) -> unit vectors (I, D): of each picture's views the mean of their vectors, at length
    1."""
    count, views, channels = pool.shape
    vectors = embed(torch.from_numpy(pool.reshape(-1, channels).astype(np.float32)))  # (I * A, D)
    return nn.functional.normalize(vectors.view(count, views, -1).mean(1), dim=-1)


def caption_losses(
    weights: LossWeights, predicted: Tensor, target: Tensor, contrastive: Contrastive
) -> dict[str, Tensor]:
    """Return the losses, not yet weighed, of unit vectors (B, D) that belong to the phrases `target` (B, D) of one
    batch.

    The other phrases of the batch are the wrong labels of the hinge and the negatives of "contrastive".
    """
    parts: dict[str, Tensor] = {}
    if weights.cosine:
        parts["cosine"] = cosine_loss(predicted, target)
    if weights.hinge:
        label = torch.arange(len(target), device=target.device)
        parts["hinge"] = hinge_rank_loss(predicted, label, target, weights.margin)
    if weights.contrastive:
        parts["contrastive"] = contrastive(predicted, target)
    return parts


def weighted(weights: LossWeights, parts: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of `caption_losses`, each times its weight. Raises ConfigError if all weights are 0."""
    if not parts:
        raise ConfigError("this recipe has no loss", "set task.cosine, task.hinge or task.contrastive")
    return torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()


def label_losses(
    weights: LossWeights, predicted: Tensor, label: Tensor, vectors: Tensor, contrastive: Contrastive
) -> dict[str, Tensor]:
    """Return the weighed losses of unit vectors (B, D) whose classes are `label` (B,), rows of the unit `vectors`
    (K, D).

    "contrastive" is the cross-entropy over all K classes, by the cosines times the learned scale.
    """
    parts: dict[str, Tensor] = {}
    if weights.cosine:
        parts["cosine"] = weights.cosine * cosine_loss(predicted, vectors[label])
    if weights.hinge:
        parts["hinge"] = weights.hinge * hinge_rank_loss(predicted, label, vectors, weights.margin)
    if weights.contrastive:
        logits = predicted.float() @ vectors.T * contrastive.scale
        parts["contrastive"] = weights.contrastive * nn.functional.cross_entropy(logits, label)
    return parts


def random_views(pool: NDArray[np.float16], rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """Draw a random view of each of the B rows of `pool` (I, A, C): (B, C) float32."""
    views = rng.integers(pool.shape[1], size=len(rows))
    return torch.from_numpy(pool)[torch.from_numpy(rows), torch.from_numpy(views)].float()  # quicker than by NumPy
