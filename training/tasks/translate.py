"""A translator on sentence pairs, by teacher forcing that may decay to none (scheduled sampling).

Loss: cross-entropy with label smoothing over the packed words. Evaluation on the dev split: BLEU-4 of free-running
translations, and the cross-entropy in nats a word, forced and free-running (the decoder then reads its own guesses, as
where no forcing is left).

Shapes: B sentences of a batch, N and T the longest source and target, V vocabulary, D word-vector size, P packed words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.pairs import read_parallel
from training.loop.distributed import shard, weighted_mean
from training.loop.task import Loss, ParameterGroup, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.caption import WordVectors
from vsearch.ahead import prefetch
from vsearch.config import CANNOT_BE, DecoderConfig, Range, SourceConfig, TranslatorConfig
from vsearch.errors import ConfigError, DataError
from vsearch.metrics.caption import bleu
from vsearch.text.vocab import PAD
from vsearch.translation.network import TranslationModel
from vsearch.translation.pieces import Pieces
from vsearch.translation.sentence import split
from vsearch.translation.translator import quick_model, search

POOL = 100  # batches whose sentences are sorted by length together


@dataclass(frozen=True)
class TranslateTaskConfig:
    """The `[task]` table; a batch holds `batch` pairs of like length."""

    batch: int = 128
    label_smoothing: float = 0.1
    # in the first epoch, the share of input words that are the target's, not the decoder's own ...
    forcing: Annotated[float, Range(0, 1, CANNOT_BE)] = 1.0
    # ... and after so many epochs, falling evenly, none is; 0: the share stays
    forcing_epochs: Annotated[int, Range(0, message=CANNOT_BE)] = 0
    word_vectors: WordVectors = "none"  # the embeddings start from the prepared file's vectors
    dev_beam: int = 1
    dev_sentences: int = 1_000

    def sampling(self, epoch: int) -> float:
        """Return the probability that an input word is the decoder's own, in `epoch`, counted from 0: 1 -
        `pr_force`."""
        left = max(0.0, 1 - epoch / self.forcing_epochs) if self.forcing_epochs else 1.0
        return 1 - self.forcing * left


@dataclass(frozen=True)
class TranslateRecipe(Recipe):
    """A translator on sentence pairs."""

    kind: str = "translate"
    task: TranslateTaskConfig = field(default_factory=TranslateTaskConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def build(self, inputs: Inputs, device: torch.device) -> TranslateTask:
        return TranslateTask(self.task, self.source, self.decoder, inputs.data, device)


@dataclass(frozen=True)
class TranslateBatch:
    source: Tensor  # (B, N)
    target: Tensor  # (B, T)
    sampling: float = 0.0


class TranslateTask:
    """`data` is a prepared file of pairs."""

    monitor = "bleu4"

    def __init__(
        self,
        config: TranslateTaskConfig,
        source: SourceConfig,
        decoder: DecoderConfig,
        data: Path,
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.pairs = read_parallel(data)
        own, other = self.pairs.languages
        self.train, self.dev = self.pairs.rows("train"), self.pairs.rows("dev")[: config.dev_sentences]
        lengths = (self.pairs.target != PAD).sum(1)  # (M,)
        self.train = self.train[lengths[self.train] <= decoder.max_len + 2]
        if not len(self.train):
            raise DataError("every training sentence is longer than decoder.max_len", "raise decoder.max_len")
        self.references = [[split(self.pairs.texts[i][1], other.code)] for i in self.dev]
        model = TranslatorConfig(source_language=own.code, target_language=other.code, source=source, decoder=decoder)
        self.module = TranslationModel(model, len(own.vocabulary), len(other.vocabulary)).to(device)
        if config.word_vectors != "none":
            self._set_word_vectors(config.word_vectors == "frozen")

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([p for p in self.module.parameters() if p.requires_grad])]

    def steps(self, epoch: int) -> int:
        return len(self.train) // self.config.batch

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[TranslateBatch]:
        rng = numpy_generator(generator)
        rows = bucketed(self.train, self._lengths(), self.config.batch, rng)
        return prefetch(self._batch(own, self.config.sampling(epoch)) for own in rows)

    def loss(self, batch: TranslateBatch) -> Loss:
        items, batch = len(batch.source), shard(batch)
        logits, targets = self._teach(batch.source, batch.target, batch.sampling)
        entropy = F.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)
        value = weighted_mean(entropy, len(targets))
        return Loss(value, items, {"cross_entropy": value})

    def evaluate(self) -> dict[str, float]:
        """Measure BLEU-4 in percent, free-running, and the losses in nats a word of the dev split."""
        pieces, vocabulary = self.pairs.languages[1].pieces, self.pairs.languages[1].vocabulary
        found, fast, lengths = {}, quick_model(self.module), self._lengths()
        sums = np.zeros(3)
        for rows in np.array_split(_by_length(self.dev, lengths), -(-len(self.dev) // 100)):
            batch = self._batch(rows, 0.0)
            for row, best in zip(rows.tolist(), search(fast, batch.source, self.config.dev_beam), strict=True):
                units = vocabulary.decode(best.tokens)
                found[row] = units if pieces is None else Pieces.join(units)
            sums += [
                *(self._entropy(batch, sampling) for sampling in (0.0, 1.0)),
                int((batch.target[:, 1:] != PAD).sum()),
            ]
        score = bleu(self.references, [found[row] for row in self.dev.tolist()])["bleu4"]
        return {"bleu4": score, "val_loss": float(sums[0] / sums[2]), "val_loss_free": float(sums[1] / sums[2])}

    def _entropy(self, batch: TranslateBatch, sampling: float) -> float:
        logits, targets = self._teach(batch.source, batch.target, sampling)
        return float(F.cross_entropy(logits, targets, reduction="sum"))

    def _teach(self, source: Tensor, target: Tensor, sampling: float) -> tuple[Tensor, Tensor]:
        """Return logits (P, V) and targets (P,) of a batch."""
        out = self.module(source.to(self.device), target.to(self.device), sampling)
        return out.logits.float(), out.targets

    def _lengths(self) -> NDArray[np.int64]:
        """Return the lengths (M, 2) of source and target of each pair."""
        return np.stack([(ids != PAD).sum(1) for ids in (self.pairs.source, self.pairs.target)], 1)

    def _batch(self, rows: NDArray[np.int64], sampling: float) -> TranslateBatch:
        return TranslateBatch(_cut(self.pairs.source[rows]), _cut(self.pairs.target[rows]), sampling)

    def _set_word_vectors(self, frozen: bool) -> None:
        """Start the embeddings from the file's vectors; words without one keep their random start."""
        sides = {"source": self.module.source.embedding, "target": self.module.decoder.embedding}
        if not self.pairs.vectors:
            raise DataError(
                "the prepared file has no word vectors", "prepare the pairs with `source_words`, `target_words`"
            )
        for side, vectors in self.pairs.vectors.items():
            set_embedding(sides[side], torch.from_numpy(vectors).to(self.device), side, frozen)


def set_embedding(embedding: nn.Embedding, vectors: Tensor, side: str, frozen: bool) -> None:
    """Put the vectors (V, D) that are not zero into the embedding. Raises ConfigError if it has another size."""
    if vectors.shape != embedding.weight.shape:
        name = "source.embed" if side == "source" else "decoder.embed"
        raise ConfigError(
            f"{name} is {embedding.embedding_dim}, the word vectors have {vectors.shape[1]}", "make equal"
        )
    known = vectors.any(1)
    with torch.no_grad():
        embedding.weight[known] = vectors[known]
    embedding.weight.requires_grad_(not frozen)


def bucketed(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], batch: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return `rows` in batches of exactly `batch` of like length, all in random order; what is left over is another
    each time.

    `lengths` (M, 2), of source and target, is indexed by row. Sentences are sorted within pools of POOL batches, drawn
    again each time. Most batches have sources of only one length, so that nothing need be packed.
    """
    drawn = rng.permutation(rows)[: len(rows) // batch * batch]
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(drawn), POOL * batch):
        pool = _by_length(drawn[start : start + POOL * batch], lengths)
        parts = np.split(pool, np.flatnonzero(np.diff(lengths[pool, 0])) + 1)  # each of one length of source
        whole = [part[: len(part) // batch * batch] for part in parts]
        rest = [part[len(part) // batch * batch :] for part in parts]
        batches += [own for part in (*whole, np.concatenate(rest)) for own in part.reshape(-1, batch)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _by_length(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `rows` by the length of their source, then of their target."""
    return rows[np.lexsort((lengths[rows, 1], lengths[rows, 0]))]


def _cut(ids: NDArray[np.int64]) -> Tensor:
    """Return ids (B, L) without the columns that hold only pads."""
    return torch.from_numpy(ids[:, : int((ids != PAD).sum(1).max())])
