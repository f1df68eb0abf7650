"""A caption decoder on cached grid features, by teacher forcing.

Loss: cross-entropy with label smoothing over the packed words, plus the doubly stochastic penalty
alpha * mean((1 - sum over t of alpha_t)^2) (Xu et al. 2015, eq. 14). Evaluation is free-running on the dev split.

Shapes: B photos of a batch, K captions of each, N cells, C channels, L longest caption, P packed words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.caption_set import read_caption_set
from training.data.features import read_grid
from training.data.prepared import open_prepared
from training.data.word_table import read_words
from training.loop.distributed import shard, weighted_mean
from training.loop.task import Loss, ParameterGroup, in_batches, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.decoding import generate
from training.tasks.soft_targets import SoftTargets, packed_steps, soft_loss
from vsearch.ahead import prefetch
from vsearch.config import IS, DecoderConfig, Range
from vsearch.errors import ConfigError
from vsearch.metrics.caption import bleu, cider
from vsearch.networks.decoder import Decoder, Teacher
from vsearch.networks.decoders import build_decoder
from vsearch.text.vocab import Vocabulary

TaskShare = Annotated[float, Range(0, 1, IS, "take a share between 0 and 1")]
WordVectors = Literal["none", "tuned", "frozen"]  # what an embedding starts from: random numbers, or the file's


@dataclass(frozen=True)
class CaptionTaskConfig:
    """The `[task]` table; a batch holds `batch` captions, `captions_per_photo` of each of its photos."""

    batch: int = 80
    captions_per_photo: int = 1
    alpha: float = 1.0  # weight of the doubly stochastic penalty
    label_smoothing: float = 0.1
    sampling_from: int = 1  # scheduled sampling: from this epoch, counted from 1, its probability grows by ...
    sampling_step: float = 0.0  # ... so much each epoch ...
    sampling_ceiling: float = 0.25  # ... up to this
    teachers: tuple[str, ...] = ()  # output folders of trainings on the same files, whose decoders are learned from ...
    teaching: TaskShare = 0.5  # ... with this share of the loss; the captions' own words have the rest
    word_vectors: WordVectors = "none"  # the embedding starts from those of the prepared file
    monitor: Literal["cider", "bleu4"] = "cider"  # free-running on dev: chooses the best epoch
    dev_beam: int = 3
    dev_pictures: int = 1_000

    def __post_init__(self) -> None:
        if self.captions_per_photo < 1 or self.batch % self.captions_per_photo:
            raise ConfigError(
                f"task.batch is {self.batch}, task.captions_per_photo {self.captions_per_photo}",
                "make the first a multiple of the second",
            )

    def sampling(self, epoch: int) -> float:
        """Return the probability that an input word is the decoder's own, in `epoch`, counted from 0."""
        return min(self.sampling_ceiling, max(0.0, self.sampling_step * (epoch + 2 - self.sampling_from)))


@dataclass(frozen=True)
class CaptionRecipe(Recipe):
    """A caption decoder on cached grid features."""

    kind: str = "caption"
    task: CaptionTaskConfig = field(default_factory=CaptionTaskConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    reads = ("features",)

    def build(self, inputs: Inputs, device: torch.device) -> CaptionTask:
        return CaptionTask(self.task, self.decoder, inputs.data, inputs.needed_features(), device)


@dataclass(frozen=True)
class CaptionBatch:
    memory: Tensor  # (B, N, C) float16
    captions: Tensor  # (B, K, L)
    lengths: Tensor  # (B, K)
    sampling: float = 0.0
    likely: Tensor | None = None  # (B, K, T, kept) what teachers would say, see `training.tasks.soft_targets`
    shares: Tensor | None = None  # (B, K, T, kept)
    vector: Tensor | None = None  # (B, D) the pictures' places among words, for a decoder that takes them


class CaptionModule(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


class CaptionTask:
    """`data` is a prepared file of captions, `features` its grid features."""

    def __init__(
        self, config: CaptionTaskConfig, decoder: DecoderConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        self.config, self.decoder_config, self.device = config, decoder, device
        self.monitor: str = config.monitor
        self.captioned = read_caption_set(data)
        self.vocabulary = self.captioned.vocabulary
        self.grid = read_grid(features, self.captioned.names)  # (I, A, N, C)
        self.captions = self.captioned.captions("train", decoder.max_len + 2)  # rows, by photo
        self.dev = self.captioned.rows("dev")[: config.dev_pictures]
        self.references = self.captioned.references(self.dev)
        self.module = CaptionModule(build_decoder(decoder, self.grid.shape[3], len(self.vocabulary))).to(device)
        if config.word_vectors != "none":
            set_word_vectors(self.module.decoder, data, config.word_vectors == "frozen")
        self.soft: SoftTargets | None = None
        if config.teachers:
            self.soft = SoftTargets([*map(Path, config.teachers)], self.captioned, self.grid, self.captions, device)

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([p for p in self.module.parameters() if p.requires_grad])]

    def steps(self, epoch: int) -> int:
        each = self.config.captions_per_photo
        return sum(-(-len(own) // each) for own in self.captions.values()) // (self.config.batch // each)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[CaptionBatch]:
        rng = numpy_generator(generator)
        rows = np.stack(list(self._draw(rng)))  # (units, K)
        order, photos = rng.permutation(len(rows)), self.config.batch // self.config.captions_per_photo

        def make() -> Iterator[CaptionBatch]:
            for chosen in in_batches(order, photos, self.steps(epoch)):
                yield self._batch(rows[chosen], rng, self.config.sampling(epoch))

        return prefetch(make())

    def _draw(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Draw all captions of all photos in random groups (K,) of one photo; the last group is filled up from the
        first."""
        each = self.config.captions_per_photo
        for own in self.captions.values():
            shuffled = rng.permutation(own)
            for start in range(0, len(own), each):
                yield np.resize(np.roll(shuffled, -start), each)

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator, sampling: float) -> CaptionBatch:
        captioned = self.captioned
        memory = self._views(captioned.owner[rows[:, 0]], rng)
        ids, lengths = torch.from_numpy(captioned.ids[rows]), torch.from_numpy(captioned.lengths[rows])
        return CaptionBatch(memory, ids, lengths, sampling, *(self.soft.of(rows) if self.soft else ()))

    def _views(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Return the cells (B, N, C) of a random view of each photo."""
        return torch.from_numpy(self.grid[photos, rng.integers(self.grid.shape[1], size=len(photos))])

    def loss(self, batch: CaptionBatch) -> Loss:
        items, batch = batch.lengths.numel(), shard(batch)
        c = self.config
        total, parts = caption_loss(self.module.decoder, batch, c.label_smoothing, c.alpha, c.teaching)
        return Loss(total, items, parts)

    def evaluate(self) -> dict[str, float]:
        """Measure CIDEr and BLEU-4 of the dev split, free-running."""
        found = generate(
            self.module.decoder, self.vocabulary, self.grid[self.dev, 0], self.device, self.config.dev_beam
        )
        return {"cider": cider(self.references, found), "bleu4": bleu(self.references, found)["bleu4"]}


def teach(
    decoder: Decoder,
    memory: Tensor,
    captions: Tensor,
    lengths: Tensor,
    sampling: float = 0.0,
    vector: Tensor | None = None,
) -> Teacher:
    """Run teacher forcing of `captions` (B, K, L) over `memory` (B, N, C): each photo's cells are prepared once."""
    device, rows = next(decoder.parameters()).device, None
    if captions.shape[1] > 1:
        rows = torch.arange(len(memory), device=device).repeat_interleave(captions.shape[1])
    flat = captions.flatten(0, 1)[:, : int(lengths.max())].to(device)
    place = None if vector is None else vector.to(device)
    teacher: Teacher = decoder(memory.to(device).float(), flat, lengths.flatten(), rows, sampling, vector=place)
    return teacher


def caption_loss(
    decoder: Decoder, batch: CaptionBatch, smoothing: float, alpha: float, teaching: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, and its parts with the share of words among the five likeliest (top5).

    teaching: the share of what the teachers would say, where the batch has it.
    """
    out = teach(decoder, batch.memory, batch.captions, batch.lengths, batch.sampling, batch.vector)
    logits = out.logits.float()  # (P, V)
    entropy = F.cross_entropy(logits, out.targets, label_smoothing=smoothing)
    parts = {"cross_entropy": weighted_mean(entropy, len(logits))}
    total = parts["cross_entropy"]
    if batch.likely is not None and batch.shares is not None:
        lengths = batch.lengths.flatten()
        soft = [packed_steps(part.flatten(0, 1), lengths).to(logits.device) for part in (batch.likely, batch.shares)]
        parts["soft"] = weighted_mean(soft_loss(logits, *soft), len(logits))
        total = (1 - teaching) * total + teaching * parts["soft"]
    with torch.no_grad():
        better = logits > logits.gather(1, out.targets[:, None])
        parts["top5"] = weighted_mean((better.sum(1) < 5).float().mean(), len(logits))
    if out.attention is not None and alpha:
        cells = out.attention[..., : batch.memory.shape[1]].float()  # (B * K, T, N), no sentinel
        parts["stochastic"] = ((1 - cells.sum(1)) ** 2).mean()
        total = total + alpha * parts["stochastic"]
    return total, parts


def set_word_vectors(decoder: Decoder, data: Path, frozen: bool) -> None:
    """Start the embedding from the word vectors in the prepared file; words without one keep their random start.

    Raises DataError if the file has none, ConfigError if they have another size than decoder.embed.
    """
    with open_prepared(data, "captions") as file:
        table, vocabulary = read_words(file), Vocabulary(json.loads(file.attrs["vocabulary"]))
    rows = dict(zip(table.words, table.vectors, strict=True))
    none = np.zeros(table.vectors.shape[1], np.float32)
    vectors = torch.from_numpy(np.stack([rows.get(word, none) for word in vocabulary.words]))  # (V - specials, D)
    vectors = torch.cat([torch.zeros(len(vocabulary) - len(vectors), vectors.shape[1]), vectors])  # (V, D)
    weight = decoder.embedding.weight
    if vectors.shape != weight.shape:
        raise ConfigError(f"decoder.embed is {weight.shape[1]}, the word vectors have {vectors.shape[1]}", "make equal")
    with torch.no_grad():
        known = vectors.norm(dim=1) > 0
        weight[known] = vectors[known].to(weight.device)
    weight.requires_grad_(not frozen)
