"""The DeViSE head on cached features: captions' phrase vectors and class vectors as targets.

Losses, weighed in the recipe and summed: cosine, hinge rank (Frome et al. 2013, eq. 1) and in-batch contrastive.
The words may be tuned along with the head: see `vsearch.networks.phrases`.
Evaluation is retrieval on the dev split: every caption against every picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.features import read_features
from training.data.prepared import SPLITS, open_prepared
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup, in_batches, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.targets import (
    Captions,
    TunedClasses,
    caption_losses,
    label_losses,
    mean_view,
    phrase_encoder,
    random_views,
    recall,
    train_and_dev,
    weighted,
)
from vsearch.config import DeviseConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.devise import DeviseHead
from vsearch.networks.losses import Contrastive, captions_loss, cosine_loss
from vsearch.networks.phrases import PhraseEncoder

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class DeviseTaskConfig:
    """The `[task]` table. A batch holds `batch` captioned photos and `label_batch` labelled pictures."""

    batch: int = 256
    label_batch: int = 0
    cosine: float = 1.0
    hinge: float = 0.0
    contrastive: float = 0.0
    label_weight: float = 1.0  # of the labelled pictures' losses
    margin: float = 0.1
    temperature: float = 0.07
    captions_averaged: int = 1  # targets are the mean of that many of a photo's captions, drawn again each time
    all_captions: bool = False  # targets are all captions of a photo, which is to find each of them
    to_text: float = 0.5  # share of the contrastive loss by which photos find captions, where these are all there
    words: str = "fixed"  # fixed | tuned: whether the word vectors and the weights of words are trained, too
    words_lr: float = 0.3  # their learning rate, as a share of the head's
    blend: float = 0.0  # share of its plural or singular in a word that is tuned: both then find the same photos
    views: int = 1  # views of a dev picture whose vectors are averaged; 0: all there are


@dataclass(frozen=True)
class DeviseRecipe(Recipe):
    """The DeViSE head on cached features of captioned photos, and perhaps of labelled pictures."""

    kind: str = "devise"
    task: DeviseTaskConfig = field(default_factory=DeviseTaskConfig)
    devise: DeviseConfig = field(default_factory=DeviseConfig)

    reads = ("features", "labels", "label_features")

    def build(self, inputs: Inputs, device: torch.device) -> DeviseTask:
        files = inputs.needed_features(), device, inputs.labels, inputs.label_features
        return DeviseTask(self.task, self.devise, inputs.data, *files)


@dataclass(frozen=True)
class DeviseBatch:
    pool: Tensor  # (B, C)
    target: Tensor  # (T, D) phrase vectors; or, of words that are tuned, rows of words (T, L), -1 behind the last
    label_pool: Tensor  # (b, C)
    label: Tensor  # (b,) class
    owner: Tensor  # (T,) which photo of the batch each target is of


class DeviseModule(nn.Module):
    """The head and what is learned with it."""

    def __init__(
        self, config: DeviseConfig, channels: int, temperature: float, phrases: PhraseEncoder | None = None
    ) -> None:
        super().__init__()
        self.devise = DeviseHead(config, channels)
        self.contrastive = Contrastive(temperature)
        if phrases is not None:
            self.phrases = phrases


class DeviseTask:
    """`data` is a prepared file of captions, `features` its features; the other two are those of labelled pictures."""

    monitor = "recall"

    def __init__(
        self, config: DeviseTaskConfig, head: DeviseConfig, data: Path, features: Path, device: torch.device,
        labels: Path | None = None, label_features: Path | None = None,
    ) -> None:  # fmt: skip
        self.config, self.device = config, device
        with open_prepared(data, "captions") as file:
            split, names = file["pictures/split"][:], file["pictures/name"][:]
            self.captions = Captions(file, config.words, config.captions_averaged)
            check_words(config, file)
        found = read_features(features, names, grid=False)
        self.pool, self.key = found.pool, found.key  # (I, A, C)
        if config.views > self.pool.shape[1]:
            raise ConfigError(f"task.views is {config.views}, {features} has {self.pool.shape[1]}", "lower it")
        self.train_rows, self.dev_rows = train_and_dev(split, data)
        self._read_labels(labels, label_features)
        if head.dim != self.captions.dim:
            raise ConfigError(
                f"devise.dim is {head.dim}, the targets have {self.captions.dim}", "set devise.dim to that"
            )
        phrases = self._phrase_encoder() if config.words == "tuned" else None
        self.module = DeviseModule(head, self.pool.shape[2], config.temperature, phrases).to(device)

    def _read_labels(self, labels: Path | None, features: Path | None) -> None:
        self.label_rows = np.zeros(0, np.int64)
        if not self.config.label_batch:
            return
        if labels is None or features is None:
            raise ConfigError(
                "task.label_batch needs labelled pictures", "give labels and label_features, or set it to 0"
            )
        with open_prepared(labels, "labels") as file:
            self.label_rows = np.flatnonzero(file["pictures/split"][:] == SPLITS.index("train"))
            self.label_class = file["labels/class"][:].astype(np.int64)
            if self.config.words == "tuned":
                self.classes = TunedClasses(file, self.captions.table)
            else:
                self.label_vectors = torch.from_numpy(file["labels/vector"][:]).to(self.device)
            found = read_features(features, file["pictures/name"][:], grid=False)
        if found.key != self.key:
            raise DataError(f"{features} holds features of another encoder or preprocessing", "prepare both with one")
        self.label_pool = found.pool

    def _phrase_encoder(self) -> PhraseEncoder:
        """Build the encoder of the captions' words, followed by words that only classes have."""
        table = self.classes.table if self.config.label_batch else self.captions.table
        return phrase_encoder(table, len(table.words) - len(self.captions.table.words), self.config.blend)

    def groups(self) -> list[ParameterGroup]:
        own = {id(p) for p in self.module.phrases.parameters()} if self.config.words == "tuned" else set()
        rest = ParameterGroup([p for p in self.module.parameters() if id(p) not in own])
        # Words are pulled to where fastText has them by nothing but a small learning rate: no decay of the shared map.
        words = ParameterGroup([p for p in self.module.parameters() if id(p) in own], self.config.words_lr, 0.0)
        return [rest, words]

    def steps(self, epoch: int) -> int:
        return max(1, len(self.train_rows) // self.config.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[DeviseBatch]:
        rng = numpy_generator(generator)
        for rows in in_batches(rng.permutation(self.train_rows), self.config.batch, self.steps(epoch)):
            few = rng.choice(self.label_rows, self.config.label_batch) if self.config.label_batch else self.label_rows
            label = self.label_class[few] if len(few) else few
            pool = random_views(self.label_pool, few, rng) if len(few) else random_views(self.pool, few, rng)
            if self.config.all_captions:
                target, owner = self.captions.all_of(rows)
            else:
                target, owner = self.captions.draw(rows, rng), np.arange(len(rows))
            seen = random_views(self.pool, rows, rng)
            yield DeviseBatch(seen, target, pool, torch.from_numpy(label), torch.from_numpy(owner))

    def embed(self, pool: Tensor) -> Tensor:
        """Embed pooled features (B, C) -> unit vectors (B, D), on the device."""
        return cast(Tensor, self.module.devise(pool.to(self.device)))

    def phrases(self, target: Tensor) -> Tensor:
        """Return unit phrase vectors (B, D) of a batch's targets, on the device."""
        target = target.to(self.device)
        return cast(Tensor, self.module.phrases(target)) if self.config.words == "tuned" else target

    def loss(self, batch: DeviseBatch) -> Loss:
        c, target = self.config, self.phrases(batch.target)
        predicted = run_sharded(self.embed, batch.pool)
        if c.all_captions:
            parts = self._all_losses(predicted, target, batch.owner.to(self.device))
        else:
            parts = caption_losses(c, predicted, target, self.module.contrastive)
        total = weighted(c, parts)
        if len(batch.label):
            label_parts = self._label_losses(batch)
            parts |= label_parts
            total = total + c.label_weight * torch.stack(list(label_parts.values())).sum()
        return Loss(total, len(predicted), parts)

    def _all_losses(self, predicted: Tensor, target: Tensor, owner: Tensor) -> dict[str, Tensor]:
        """As `caption_losses`, of all captions of the photos."""
        found = {"cosine": cosine_loss(predicted[owner], target)}
        if self.config.contrastive:
            scale, share = self.module.contrastive.scale, self.config.to_text
            found["contrastive"] = captions_loss(predicted, target, owner, scale, share)
        return found

    def _label_losses(self, batch: DeviseBatch) -> dict[str, Tensor]:
        predicted, label = run_sharded(self.embed, batch.label_pool), batch.label.to(self.device)
        tuned = self.config.words == "tuned"
        vectors = self.classes.vectors(self.module.phrases) if tuned else self.label_vectors  # (K, D)
        parts = label_losses(self.config, predicted, label, vectors, self.module.contrastive)
        return {f"label_{name}": value for name, value in parts.items()}

    def evaluate(self) -> dict[str, float]:
        """Measure retrieval on the dev split; `recall` is the mean of text-to-image and image-to-text R@1, 5 and 10, in
        percent."""
        return self.retrieval(self.dev_rows)

    @torch.no_grad()
    def retrieval(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Rank every caption of the pictures in `rows` against every one of these pictures; full ranking."""
        self.module.eval()
        pictures = mean_view(self.embed, self.pool[rows, : self.config.views or None])  # (I, D)
        targets, owner = self.captions.all_of(rows)
        return recall(self.phrases(targets), owner, pictures)


def check_words(config: DeviseTaskConfig, file: h5py.File) -> None:
    """Check that the captions and words of a prepared file can be targets as the settings say.

    Raises ConfigError if settings exclude each other, DataError if words are to be blended and `file` does not know
    their plurals.
    """
    if config.all_captions and (config.captions_averaged != 1 or config.hinge):
        raise ConfigError("task.all_captions goes with neither the hinge nor averages", "set task.hinge to 0")
    if not 0 <= config.to_text <= 1:
        raise ConfigError(f"task.to_text is {config.to_text}", "take a share between 0 and 1")
    if not 0 <= config.blend < 1:
        raise ConfigError(f"task.blend is {config.blend}", "take a share from 0 up to 1")
    if config.blend and config.words != "tuned":
        raise ConfigError("task.blend is for words that are tuned", 'set task.words to "tuned", or task.blend to 0')
    if config.blend and "words/partner" not in file:
        raise DataError(f"{file.filename} does not say which words are plurals", "prepare it again")
