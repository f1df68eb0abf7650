"""The DeViSE head on labels only, some classes left out for zero-shot tests; and what the paper compares it with.

Frome et al. 2013, section 4: `target` "words" is DeViSE, "random" has a Gaussian vector in place of each class's word
vector, "softmax" a linear classifier over the same hidden layer. Shapes: I pictures, K classes, S seen classes, A
views, C channels, D word-vector size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.features import read_features
from training.data.prepared import SPLITS, open_prepared
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup, in_batches, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.devise import DeviseModule
from training.tasks.targets import label_losses, random_views, train_and_dev
from vsearch.config import IS, DeviseConfig, Range
from vsearch.errors import ConfigError
from vsearch.metrics.retrieval import hit_at
from vsearch.networks.devise import DeviseHead
from vsearch.networks.losses import cosine_loss

Mixed = Annotated[float, Range(0, 1, IS, "choose a share from 0 to 1")]


@dataclass(frozen=True)
class LabelsTaskConfig:
    """The `[task]` table. The losses are weighed as in the task on captions; "softmax" has only cross-entropy."""

    batch: int = 256
    target: Literal["words", "random", "softmax"] = "words"
    unseen: tuple[str, ...] = ()  # classes, by their WordNet number, of which no picture is trained on
    cosine: float = 1.0
    hinge: float = 0.0
    contrastive: float = 0.0
    margin: float = 0.1
    temperature: float = 0.07
    mixed: Mixed = 0.0  # so many mixtures of two pictures for each picture of a batch, see `LabelsBatch`
    random_seed: int = 0  # of the random vectors

    def __post_init__(self) -> None:
        if self.target != "softmax" and not (self.cosine or self.hinge or self.contrastive):
            raise ConfigError("this recipe has no loss", "set task.cosine, task.hinge or task.contrastive")


@dataclass(frozen=True)
class LabelsRecipe(Recipe):
    """The DeViSE head on cached features of labelled pictures only."""

    kind: str = "devise-labels"
    task: LabelsTaskConfig = field(default_factory=LabelsTaskConfig)
    devise: DeviseConfig = field(default_factory=DeviseConfig)

    reads = ("features",)

    def build(self, inputs: Inputs, device: torch.device) -> LabelsTask:
        return LabelsTask(self.task, self.devise, inputs.data, inputs.needed_features(), device)


@dataclass(frozen=True)
class LabelledSet:
    """What a prepared file of labelled pictures says of them: I pictures, K classes."""

    classes: list[tuple[str, list[str]]]  # WordNet number, lemmas
    vectors: NDArray[np.float32]  # (K, D) unit
    names: NDArray[np.object_]  # (I,)
    label: NDArray[np.int64]  # (I,) row of the class
    split: NDArray[np.uint8]  # (I,) index into SPLITS

    def rows(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.split == SPLITS.index(split))

    def seen(self, unseen: Sequence[str]) -> NDArray[np.bool_]:
        """Return flags (K,) of the classes that are not in `unseen`; ConfigError if those are not among the
        classes."""
        wnids = [wnid for wnid, _ in self.classes]
        strange = sorted(set(unseen) - set(wnids))
        if strange:
            raise ConfigError(f"{len(strange)} unseen classes are not in the data, {strange[0]} first", "correct them")
        return np.array([wnid not in unseen for wnid in wnids])


def read_labelled_set(path: Path) -> LabelledSet:
    """Read all of a prepared file of kind "labels" but the pictures."""
    with open_prepared(path, "labels") as file:
        classes = [(str(wnid), [str(x) for x in lemmas]) for wnid, lemmas in json.loads(file.attrs["classes"])]
        return LabelledSet(
            classes,
            file["labels/vector"][:].astype(np.float32),
            file["pictures/name"][:],
            file["labels/class"][:].astype(np.int64),
            file["pictures/split"][:],
        )


class SoftmaxModule(nn.Module):
    """The layers of the DeViSE head with an output for each of `count` classes in place of a place among words."""

    def __init__(self, config: DeviseConfig, channels: int, count: int) -> None:
        super().__init__()
        self.classes = DeviseHead(replace(config, dim=count), channels).layers

    def forward(self, pool: Tensor) -> Tensor:
        return cast(Tensor, self.classes(pool)).float()  # (B, S), before the softmax


def build_module(
    config: LabelsTaskConfig, head: DeviseConfig, channels: int, seen: int
) -> DeviseModule | SoftmaxModule:
    """Build the network of such a task, for `seen` classes to train on."""
    if config.target == "softmax":
        return SoftmaxModule(head, channels, seen)
    return DeviseModule(head, channels, config.temperature)


def class_targets(config: LabelsTaskConfig, vectors: NDArray[np.float32]) -> Tensor:
    """Return the unit vector (K, D) of each class that pictures are drawn to: its word vector, or a random one."""
    words = torch.from_numpy(vectors)
    if config.target != "random":
        return words
    drawn = torch.randn(words.shape, generator=torch.Generator().manual_seed(config.random_seed))
    return nn.functional.normalize(drawn, dim=-1)


@dataclass(frozen=True)
class LabelsBatch:
    """B pictures, and b mixtures, each of two of them.

    A mixture (mixup, Zhang et al. 2018) is to lie where the mixture of its two classes' vectors lies, which is then one
    more class to choose among: so that a picture between the seen classes is placed between their words, where the
    word of an unseen class may lie, and not upon the nearest seen one.
    """

    pool: Tensor  # (B, C)
    label: Tensor  # (B,) among the seen classes
    first: Tensor  # (b,) rows of `pool`
    second: Tensor  # (b,)
    share: Tensor  # (b, 1) of the first one, float32


class LabelsTask:
    """`data` is a prepared file of labelled pictures, `features` its cached features. No unseen class is looked at."""

    monitor = "hit1"

    def __init__(
        self, config: LabelsTaskConfig, head: DeviseConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        labelled = read_labelled_set(data)
        seen = labelled.seen(config.unseen)
        if head.dim != labelled.vectors.shape[1]:
            raise ConfigError(
                f"devise.dim is {head.dim}, the targets have {labelled.vectors.shape[1]}", "set devise.dim to that"
            )
        self.targets = class_targets(config, labelled.vectors)[torch.from_numpy(seen)].to(device)  # (S, D)
        self.label = (np.cumsum(seen) - 1)[labelled.label]  # (I,) among the seen
        self.pool = read_features(features, labelled.names, grid=False).pool  # (I, A, C)
        self.train_rows, dev = (rows[seen[labelled.label[rows]]] for rows in train_and_dev(labelled.split, data))
        self.dev_pool = torch.from_numpy(self.pool[dev, 0].astype(np.float32))
        self.dev_label = self.label[dev]
        self.module = build_module(config, head, self.pool.shape[2], len(self.targets)).to(device)

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return max(1, len(self.train_rows) // self.config.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[LabelsBatch]:
        rng = numpy_generator(generator)
        for rows in in_batches(rng.permutation(self.train_rows), self.config.batch, self.steps(epoch)):
            label = torch.from_numpy(self.label[rows])
            yield LabelsBatch(random_views(self.pool, rows, rng), label, *self._mixtures(len(rows), rng))

    def _mixtures(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw which of `count` pictures are mixed with which, and the share of the first: 0.3 to 0.7."""
        number = round(self.config.mixed * count)
        first, second = rng.permutation(count)[:number], rng.integers(count, size=number)
        share = rng.uniform(0.3, 0.7, (number, 1)).astype(np.float32)
        return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(share)

    def answer(self, pool: Tensor) -> Tensor:
        """Map pooled features (B, C) -> unit vectors (B, D), or the outputs (B, S) before the softmax."""
        network = self.module.devise if isinstance(self.module, DeviseModule) else self.module
        return cast(Tensor, network(pool.to(self.device)))

    def loss(self, batch: LabelsBatch) -> Loss:
        label = batch.label.to(self.device)
        if isinstance(self.module, SoftmaxModule):
            entropy = nn.functional.cross_entropy(run_sharded(self.answer, batch.pool).float(), label)
            return Loss(entropy, len(label), {"cross_entropy": entropy})
        mixtures = torch.lerp(batch.pool[batch.second], batch.pool[batch.first], batch.share)  # (b, C)
        answers = run_sharded(self.answer, torch.cat([batch.pool, mixtures]))
        targets, label = self._with_mixtures(batch, label)
        parts = label_losses(self.config, answers, label, targets, self.module.contrastive)
        return Loss(torch.stack(list(parts.values())).sum(), len(batch.label), parts)

    def _with_mixtures(self, batch: LabelsBatch, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of the seen classes and the batch's mixtures, (S + b, D), and the rows of its B + b
        pictures."""
        first, second = (self.targets[label[rows.to(self.device)]] for rows in (batch.first, batch.second))
        mixed = nn.functional.normalize(torch.lerp(second, first, batch.share.to(self.device)), dim=-1)  # (b, D)
        own = len(self.targets) + torch.arange(len(mixed), device=self.device)
        return torch.cat([self.targets, mixed]), torch.cat([label, own])

    def evaluate(self) -> dict[str, float]:
        """Measure, on the dev pictures of seen classes, flat hit@1 and 5 among those, in percent, and the mean of 1 -
        cos."""
        with torch.no_grad():
            answers = self.answer(self.dev_pool).float()
        if isinstance(self.module, SoftmaxModule):
            scores, metrics = answers, {}
        else:
            right = self.targets[torch.from_numpy(self.dev_label).to(self.device)]
            scores, metrics = answers @ self.targets.T, {"dev_cosine": float(cosine_loss(answers, right))}
        similarity = scores.cpu().numpy()
        return {**metrics, **{f"hit{k}": hit_at(similarity, self.dev_label, k) for k in (1, 5)}}
