"""The DeViSE head on cached features: captions' phrase vectors and class vectors as targets.

Losses, weighed in the recipe and summed: cosine, hinge rank (Frome et al. 2013, eq. 1) and in-batch contrastive.
Evaluation is retrieval on the dev split: every caption against every picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.loop import Group, Loss
from training.prepare.features import read_features
from training.prepare.store import SPLITS, open_prepared
from vsearch.config import DeviseConfig
from vsearch.errors import ConfigError
from vsearch.metrics.retrieval import evaluate_retrieval
from vsearch.models.devise import Contrastive, DeviseHead, cosine_loss, hinge_rank_loss


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
    captions_averaged: int = 1  # targets are the mean of that many of a photo's captions, drawn anew each time


@dataclass(frozen=True)
class Batch:
    pool: Tensor  # (B, C)
    target: Tensor  # (B, D)
    label_pool: Tensor  # (b, C)
    label: Tensor  # (b,) class


class DeviseModule(nn.Module):
    """The head and what is learned beside it."""

    def __init__(self, config: DeviseConfig, channels: int, temperature: float) -> None:
        super().__init__()
        self.devise = DeviseHead(config, channels)
        self.contrastive = Contrastive(temperature)


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
            vectors, owner = file["captions/vector"][:].astype(np.float32), file["captions/picture"][:]
        self.pool = read_features(features, names, grid=False).pool  # (I, A, C)
        self.train_rows = np.flatnonzero(split == SPLITS.index("train"))
        self.captions = [vectors[owner == i] for i in range(len(split))]
        dev = np.flatnonzero(split == SPLITS.index("dev"))
        self.dev_pool = torch.from_numpy(self.pool[dev, 0].astype(np.float32))
        self.dev_vectors = torch.from_numpy(np.concatenate([self.captions[i] for i in dev]))
        self.dev_owner = np.repeat(np.arange(len(dev)), [len(self.captions[i]) for i in dev])
        self._read_labels(labels, label_features)
        if head.dim != vectors.shape[1]:
            raise ConfigError(
                f"devise.dim is {head.dim}, the targets have {vectors.shape[1]}", "set devise.dim to that"
            )
        self.module = DeviseModule(head, self.pool.shape[2], config.temperature).to(device)

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
            self.label_vectors = torch.from_numpy(file["labels/vector"][:]).to(self.device)
            self.label_pool = read_features(features, file["pictures/name"][:], grid=False).pool

    def groups(self) -> list[Group]:
        return [Group(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return max(1, len(self.train_rows) // self.config.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Batch]:
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        order = rng.permutation(self.train_rows)
        for step in range(self.steps(epoch)):
            rows = order[step * self.config.batch : (step + 1) * self.config.batch]
            few = rng.choice(self.label_rows, self.config.label_batch) if self.config.label_batch else self.label_rows
            label = self.label_class[few] if len(few) else few
            pool = self._views(self.label_pool, few, rng) if len(few) else self._views(self.pool, few, rng)
            yield Batch(self._views(self.pool, rows, rng), self._targets(rows, rng), pool, torch.from_numpy(label))

    def _views(self, pool: NDArray[np.float16], rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """A random view of each row, (B, C)."""
        return torch.from_numpy(pool[rows, rng.integers(pool.shape[1], size=len(rows))].astype(np.float32))

    def _targets(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        n = self.config.captions_averaged
        drawn = [c[rng.permutation(len(c))[:n]].mean(0) for c in (self.captions[i] for i in rows)]
        return nn.functional.normalize(torch.from_numpy(np.stack(drawn)), dim=-1)

    def loss(self, batch: Batch) -> Loss:
        c, target = self.config, batch.target.to(self.device)
        predicted = self.module.devise(batch.pool.to(self.device))
        parts: dict[str, Tensor] = {}
        if c.cosine:
            parts["cosine"] = cosine_loss(predicted, target)
        if c.hinge:
            parts["hinge"] = hinge_rank_loss(predicted, torch.arange(len(target), device=self.device), target, c.margin)
        if c.contrastive:
            parts["contrastive"] = self.module.contrastive(predicted, target)
        total = torch.stack([getattr(c, name) * value for name, value in parts.items()]).sum()
        if len(batch.label):
            label_parts = self._label_losses(batch)
            parts |= label_parts
            total = total + c.label_weight * torch.stack(list(label_parts.values())).sum()
        return Loss(total, len(target), parts)

    def _label_losses(self, batch: Batch) -> dict[str, Tensor]:
        c, label = self.config, batch.label.to(self.device)
        predicted = self.module.devise(batch.label_pool.to(self.device))
        parts: dict[str, Tensor] = {}
        if c.cosine:
            parts["label_cosine"] = c.cosine * cosine_loss(predicted, self.label_vectors[label])
        if c.hinge:
            parts["label_hinge"] = c.hinge * hinge_rank_loss(predicted, label, self.label_vectors, c.margin)
        if c.contrastive:
            logits = predicted.float() @ self.label_vectors.T * self.module.contrastive.scale
            parts["label_contrastive"] = c.contrastive * nn.functional.cross_entropy(logits, label)
        return parts

    def evaluate(self) -> dict[str, float]:
        """Dev retrieval; `recall` is the mean of text-to-image and image-to-text R@1, 5 and 10, in percent."""
        with torch.no_grad():
            pictures = self.module.devise(self.dev_pool.to(self.device)).cpu()
        similarity = (self.dev_vectors @ pictures.T).numpy()  # (M, I)
        metrics = evaluate_retrieval(similarity, self.dev_owner)
        keys = [f"{way}_r{k}" for way in ("t2i", "i2t") for k in (1, 5, 10)]
        return {**metrics, "recall": float(np.mean([metrics[k] for k in keys]))}
