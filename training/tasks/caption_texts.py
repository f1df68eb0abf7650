"""A caption decoder that learns from photos with captions and from captions without photos.

Of a caption without its photo the decoder is told a place among words in the place of the picture's, and no cells:
text-only training (CapDec, Nukrai et al. 2022; DeCap, Li et al. 2023). That place is the caption's own phrase vector or
the mean of those of its photo's other captions, plus noise as large as the gap between pictures and phrases. A photo
shows its cells and its own place, which a trained DeViSE head gives it.

With `decoder.centroids` all places are projected onto centroids of the captions without photos before noise is added
(DeCap, see `vsearch.networks.projection`): so pictures lie where captions lie.

Shapes: I photos, A views, B photos of a batch, K captions of each, M captions without photos, T of them in a batch,
N cells, C channels, D word-vector size, L longest caption.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.prepared import open_prepared
from training.data.texts import read_table
from training.loop.distributed import shard
from training.loop.task import Loss, in_batches, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.caption import CaptionBatch, CaptionTask, CaptionTaskConfig, TaskShare, caption_loss
from training.tasks.decoding import generate
from training.tasks.trained_head import TrainedHead
from vsearch.ahead import prefetch
from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError
from vsearch.metrics.caption import bleu, cider
from vsearch.networks.decoder import Decoder
from vsearch.networks.projection import CaptionProjection, centroids

CLOSE = 40  # batches of texts that are sorted by length together, so that those of one batch are about as long


@dataclass(frozen=True)
class TextsTaskConfig(CaptionTaskConfig):
    """The `[task]` table: that of captions, and how captions without photos are mixed in."""

    devise: str = ""  # output folder of a DeViSE training on the same files, which places the photos; needed
    texts: int = 192  # captions without photos in a batch, next to the `batch` captions of photos
    noise: float = 0.7  # length of what is added to the place of a caption without photo, whose own length is 1
    own: TaskShare = 0.3  # how often that place is the caption's own; else that of the photo's other captions
    photo_noise: float = (
        0.3  # length of what is added to the place of a photo: heads know their training photos too well
    )
    blind: TaskShare = 0.3  # share of the batches whose photos show no cells either

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.noise, self.photo_noise) < 0 or self.texts < 1:
            raise ConfigError("task.noise, task.photo_noise or task.texts is too small", "see the recipe caption-texts")


@dataclass(frozen=True)
class TextsRecipe(Recipe):
    """A caption decoder on cached features and on captions without photos."""

    kind: str = "caption-texts"
    task: TextsTaskConfig = field(default_factory=TextsTaskConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    reads = ("features",)

    def build(self, inputs: Inputs, device: torch.device) -> TextsTask:
        return TextsTask(self.task, self.decoder, inputs.data, inputs.needed_features(), device)


@dataclass(frozen=True)
class Mixed:
    photos: CaptionBatch
    texts: CaptionBatch  # its memory (T, 0, C) has no cells, and K is 1


class TextsTask(CaptionTask):
    """`data` is a prepared file of captions with captions without photos, `features` those of its photos."""

    def __init__(
        self, config: TextsTaskConfig, decoder: DecoderConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        if not config.devise:
            raise ConfigError("task.devise is empty", "name the output folder of a finished DeViSE training")
        with open_prepared(data, "captions") as file:
            self.texts = read_table(file)
        if decoder.vector != self.texts.vectors.shape[1]:
            size = self.texts.vectors.shape[1]
            raise ConfigError(f"decoder.vector is {decoder.vector}, the words of {data} have {size}", "make equal")
        super().__init__(config, decoder, data, features, device)
        self.mixing = config
        head = TrainedHead(Path(config.devise), data, features)
        self.photo_vectors = head.embed_pictures()  # (I, A, D)
        self.vectors = head.embed_captions(self.texts.words) if head.tuned else self.texts.vectors  # (M, D)
        self.usable = np.flatnonzero(self.texts.lengths <= decoder.max_len + 2)
        self.sums = np.zeros((int(self.texts.photo.max(initial=0)) + 1, decoder.vector), np.float32)
        np.add.at(self.sums, self.texts.photo, self.vectors)
        self.counts = np.bincount(self.texts.photo, minlength=len(self.sums))
        self.projection = start_projection(self.module.decoder, unit(self.sums[self.counts > 0]))

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Mixed]:  # type: ignore[override]
        texts = self._text_batches(numpy_generator(generator))
        rng = numpy_generator(generator)
        rows = np.stack(list(self._draw(rng)))  # (units, K)
        order, photos = rng.permutation(len(rows)), self.config.batch // self.config.captions_per_photo

        def make() -> Iterator[Mixed]:
            for chosen in in_batches(order, photos, self.steps(epoch)):
                yield Mixed(self._photo_batch(rows[chosen], rng, self.config.sampling(epoch)), next(texts))

        return prefetch(make())

    def _photo_batch(self, rows: NDArray[np.int64], rng: np.random.Generator, sampling: float) -> CaptionBatch:
        """Return photos with the cells of a random view, or none; the captions `rows` (B, K) of each."""
        cells, vector = self._shown(self.captioned.owner[rows[:, 0]], rng)
        ids, lengths = (torch.from_numpy(part[rows]) for part in (self.captioned.ids, self.captioned.lengths))
        likely, shares = self.soft.of(rows) if self.soft else (None, None)
        return CaptionBatch(cells, ids, lengths, sampling, likely, shares, vector)

    def _shown(self, photos: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the cells (B, N, C) of a random view of each photo, or none of all, and its vector (B, D), moved."""
        views = rng.integers(self.grid.shape[1], size=len(photos))
        cells = self.grid[photos, views]
        if rng.random() < self.mixing.blind:
            cells = cells[:, :0]
        place = self.projected(self.photo_vectors[photos, views])
        return torch.from_numpy(cells), torch.from_numpy(moved(place, self.mixing.photo_noise, rng))

    def projected(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return `vectors` (B, D) at length 1, projected where the decoder projects its pictures' vectors."""
        vectors = unit(vectors)
        if self.projection is None:
            return vectors
        return np.asarray(self.projection(torch.from_numpy(vectors)).numpy(), np.float32)

    def _text_batches(self, rng: np.random.Generator) -> Iterator[CaptionBatch]:
        """Yield captions without photos, for ever: all of them once, in batches of about one length, then again."""
        size = self.mixing.texts
        while True:
            order = rng.permutation(self.usable)
            order = np.resize(order, max(len(order), size))
            for start in range(0, len(order) - size + 1, CLOSE * size):
                part = order[start : start + CLOSE * size]
                part = part[np.argsort(self.texts.lengths[part], kind="stable")]
                for batch in rng.permutation(len(part) // size):
                    yield self._text_batch(part[batch * size : (batch + 1) * size], rng)

    def _text_batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> CaptionBatch:
        own, photo = self.vectors[rows], self.texts.photo[rows]
        others = self.sums[photo] - own  # (T, D)
        takes_own = (rng.random(len(rows)) < self.mixing.own) | (self.counts[photo] < 2)
        place = self.projected(np.where(takes_own[:, None], own, others))
        vector = moved(place, self.mixing.noise, rng)
        cells = torch.zeros(len(rows), 0, self.grid.shape[3], dtype=torch.float16)
        ids, lengths = (torch.from_numpy(part[rows][:, None]) for part in (self.texts.ids, self.texts.lengths))
        return CaptionBatch(cells, ids, lengths, vector=torch.from_numpy(vector))

    def loss(self, batch: Mixed) -> Loss:  # type: ignore[override]
        c, total, parts = self.config, torch.zeros((), device=self.device), dict[str, Tensor]()
        items = {name: getattr(batch, name).lengths.numel() for name in ("photos", "texts")}
        for name, count in items.items():
            value, own = caption_loss(
                self.module.decoder, shard(getattr(batch, name)), c.label_smoothing, c.alpha, c.teaching
            )
            total = total + value * (count / sum(items.values()))
            parts |= {f"{name}_{part}": found for part, found in own.items()}
        return Loss(total, sum(items.values()), parts)

    def evaluate(self) -> dict[str, float]:
        """Measure CIDEr and BLEU-4 of the dev split, free-running."""
        found = generate(
            self.module.decoder, self.vocabulary, self.grid[self.dev, 0], self.device, self.config.dev_beam,
            vectors=self.photo_vectors[self.dev, 0],
        )  # fmt: skip
        return {"cider": cider(self.references, found), "bleu4": bleu(self.references, found)["bleu4"]}


def start_projection(decoder: Decoder, places: NDArray[np.float32]) -> CaptionProjection | None:
    """Start the decoder's projection, if it has one, with centroids of the unit vectors `places` (M, D); return a copy
    of it on the CPU.

    Raises ConfigError if there are fewer places than centroids.
    """
    projection = decoder.projection
    if projection is None:
        return None
    count = len(projection.centroids)
    if len(places) < count:
        raise ConfigError(f"decoder.centroids is {count}, there are captions of {len(places)} photos", "take fewer")
    projection.start(centroids(torch.from_numpy(places), count))
    return copy.deepcopy(projection).cpu()


def moved(vectors: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `vectors` (B, D) at length 1, moved by normal noise about as long as `noise`, at length 1 again."""
    length = noise * rng.uniform(0.7, 1.3, (len(vectors), 1)) / np.sqrt(vectors.shape[1])
    return unit(unit(vectors) + rng.standard_normal(vectors.shape) * length)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return `vectors` (B, D) at length 1; zeros stay zeros."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9), np.float32)
