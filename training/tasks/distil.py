"""An encoder from random initialisation, taught by a pretrained network and by class labels.

Losses: 1 - cosine between a linear map of the pooled features and the teacher's centred pooled features (hints as in
FitNets, Romero et al. 2015), Kullback-Leibler divergence to the teacher's softened classes (Hinton et al. 2015, section
2), and cross-entropy on the labels where a picture has one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.augment import augment
from training.data.prepared import open_prepared, read_encoded
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup, numpy_generator
from training.recipe import Inputs, Recipe
from vsearch.ahead import prefetch
from vsearch.config import EncoderConfig, PreprocessConfig
from vsearch.errors import ConfigError
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.small_convolutions import quicken


@dataclass(frozen=True)
class DistilConfig:
    """The `[task]` table. `sides`, `sizes` and `photos` have one entry a phase; `phases` says after which share of the
    epochs each begins: pictures' side in pixels, pictures per epoch, share of them that are photos without a label."""

    phases: tuple[float, ...] = (0.0,)
    sides: tuple[int, ...] = (64,)
    photos: tuple[float, ...] = (0.5,)
    epoch_pictures: int = 20_000
    batch: int = 128
    temperature: float = 2.0
    feature_weight: float = 2.0
    class_weight: float = 1.0
    label_weight: float = 0.3
    mixup: float = 0.0  # pictures are mixed by shares from Beta(mixup, mixup) (Zhang et al. 2018); 0: not
    held_out: int = 1_000  # photos' views kept for evaluation


@dataclass(frozen=True)
class DistilRecipe(Recipe):
    """An encoder from random initialisation; `preprocess` is that of the model it is for, where it says so."""

    kind: str = "distil"
    task: DistilConfig = field(default_factory=DistilConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    preprocess: PreprocessConfig | None = None

    def build(self, inputs: Inputs, device: torch.device) -> DistilTask:
        preprocess = self.preprocess or PreprocessConfig()
        return DistilTask(self.task, self.encoder, preprocess, inputs.data, self.loop.epochs, device)


@dataclass(frozen=True)
class DistilBatch:
    images: Tensor  # (B, 3, S, S) float32
    pool: Tensor  # (B, C)
    logits: Tensor  # (B, K)
    label: Tensor  # (B,), -1: none
    mixed_label: Tensor | None = None  # (B,) of the picture that was mixed in, -1: none ...
    share: float = 1.0  # ... and what the first one has of the mixture

    def mixed(self, share: float, other: Tensor, temperature: float) -> DistilBatch:
        """Mix pictures: each with `share`, and the one of row `other` (B,) with the rest; so too what the teacher
        says."""
        images, pool = (torch.lerp(x[other], x, share) for x in (self.images, self.pool))
        classes = (self.logits / temperature).softmax(1)
        logits = torch.lerp(classes[other], classes, share).clamp_min(1e-12).log() * temperature
        return DistilBatch(images, pool, logits, self.label, self.label[other], share)


class Student(nn.Module):
    """An encoder with one linear head a loss."""

    def __init__(self, encoder: Encoder, teacher_channels: int, teacher_classes: int, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.to_pool = nn.Linear(encoder.channels, teacher_channels)
        self.to_class = nn.Linear(encoder.channels, teacher_classes)
        self.to_label = nn.Linear(encoder.channels, max(1, labels))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, pool = self.encoder(images)
        return self.to_pool(pool), self.to_class(pool), self.to_label(pool)


class DistilTask:
    """`data` is a prepared file of kind "distil"."""

    monitor = ""

    def __init__(
        self,
        config: DistilConfig,
        encoder: EncoderConfig,
        preprocess: PreprocessConfig,
        data: Path,
        epochs: int,
        device: torch.device,
    ) -> None:
        if config.mixup < 0:
            raise ConfigError(f"task.mixup is {config.mixup}", "0: no mixtures; 0.2, say: some")
        self.config, self.preprocess, self.epochs, self.device = config, preprocess, epochs, device
        with open_prepared(data, "distil") as file:
            encoded, self.label = read_encoded(file), file["labels/class"][:].astype(np.int64)
            pool, self.logits = file["teacher/pool"][:], file["teacher/logits"][:]
        self.pool = pool.astype(np.float32) - pool.mean(0, dtype=np.float32)
        self.pictures = _decode_all(encoded)
        self.labelled, photos = np.flatnonzero(self.label >= 0), np.flatnonzero(self.label < 0)
        self.photos, self.held_out = photos[: -config.held_out], photos[-config.held_out :]
        labels = int(self.label.max(initial=-1)) + 1
        student = Student(Encoder(encoder), self.pool.shape[1], self.logits.shape[1], labels)
        self.module = quicken(student).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return self.config.epoch_pictures // self.config.batch

    def phase(self, epoch: int) -> int:
        return max(i for i, begin in enumerate(self.config.phases) if begin <= epoch / self.epochs)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[DistilBatch]:
        phase = self.phase(epoch)
        side, share = self.config.sides[phase], self.config.photos[phase]
        rng = numpy_generator(generator)
        photos = round(self.config.batch * share) if len(self.labelled) else self.config.batch

        def draw() -> Iterator[DistilBatch]:
            for _ in range(self.steps(epoch)):
                rows = [rng.choice(self.photos, photos, replace=False)] if photos else []
                rows += [rng.choice(self.labelled, self.config.batch - photos, replace=False)]
                batch = self.batch([r for r in rows if len(r)], side, rng)
                if self.config.mixup:
                    share, other = rng.beta(self.config.mixup, self.config.mixup), rng.permutation(len(batch.label))
                    batch = batch.mixed(share, torch.from_numpy(other), self.config.temperature)
                yield batch

        return prefetch(draw())

    def batch(self, rows: list[NDArray[np.int64]], side: int, rng: np.random.Generator | None) -> DistilBatch:
        """Return a batch. Rows of one source share one size; without `rng` nothing is augmented."""
        sources = (np.stack([self.pictures[i] for i in r]) for r in rows)
        parts = [augment(s, side, self.preprocess, rng, device=self.device) for s in sources]
        flat = np.concatenate(rows)
        return DistilBatch(
            torch.cat(parts),
            torch.from_numpy(self.pool[flat]),
            torch.from_numpy(self.logits[flat].astype(np.float32)),
            torch.from_numpy(self.label[flat]),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map pictures (B, 3, S, S) -> pooled features, classes and labels, on the device."""
        outputs: tuple[Tensor, Tensor, Tensor] = self.module(images.to(self.device, memory_format=torch.channels_last))
        return outputs

    def losses(self, batch: DistilBatch) -> dict[str, Tensor]:
        t = self.config.temperature
        pool, classes, labels = (x.float() for x in run_sharded(self.forward, batch.images))
        target = F.log_softmax(batch.logits.to(self.device) / t, 1)
        divergence = F.kl_div(F.log_softmax(classes / t, 1), target, log_target=True, reduction="batchmean")
        losses = {
            "feature": 1 - F.cosine_similarity(pool, batch.pool.to(self.device)).mean(),
            "class": divergence * t * t,
        }
        own = _label_loss(labels, batch.label)
        if batch.mixed_label is not None:
            other = _label_loss(labels, batch.mixed_label)
            own = [batch.share * loss for loss in own] + [(1 - batch.share) * loss for loss in other]
        if own:
            losses["label"] = torch.stack(own).sum()
        return losses

    def loss(self, batch: DistilBatch) -> Loss:
        c, parts = self.config, self.losses(batch)
        weights = {"feature": c.feature_weight, "class": c.class_weight, "label": c.label_weight}
        return Loss(torch.stack([weights[k] * v for k, v in parts.items()]).sum(), len(batch.label), parts)

    def evaluate(self) -> dict[str, float]:
        """Measure the losses on views of held-out photos, unaugmented, at the last phase's side."""
        sums: dict[str, float] = {}
        chunks = np.array_split(self.held_out, max(1, len(self.held_out) // self.config.batch))
        for rows in chunks:
            parts = self.losses(self.batch([rows], self.config.sides[-1], None))
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(rows)
        return {f"held_out_{name}": value / len(self.held_out) for name, value in sums.items()}


def _label_loss(logits: Tensor, label: Tensor) -> list[Tensor]:
    """Return the cross-entropy of the pictures that have a label, label (B,) on the CPU; nothing where none has."""
    rows = (label >= 0).nonzero()[:, 0].to(logits.device)
    return [F.cross_entropy(logits[rows], label.to(logits.device)[rows], label_smoothing=0.1)] if len(rows) else []


def _decode_all(encoded: list[bytes]) -> list[NDArray[np.uint8]]:
    def decode(piece: bytes) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(piece)) as file:
            return np.asarray(file.convert("RGB"))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(decode, encoded, chunksize=256))
