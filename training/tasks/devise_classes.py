"""The DeViSE head that knows what a pretrained classifier knows: two branches, taught by captions, classes and scenes.

To the losses of `training.tasks.devise` on captions (and labelled pictures) come, each weighed in the recipe:

- soft: any photo at hand is to lie among the class names where the classifier's probabilities say: the cross-entropy of
  softmax(scale * cosine to each class name) against them (Hinton et al. 2015, at temperature 1);
- broader: the same among broader terms ("dog" for 118 classes), each as likely as the classes it covers together;
- scenes: a photo with many labels is to find its names, by their shares of the area (square roots, so that small
  things count), and each name is to find its photos among the batch; only names that were looked for in a photo count;
- pairs: two captions of one photo that is not here are to find each other among the batch, which moves words alone.

Words are tuned throughout, so that class names move with the words of captions.
Shapes: B batch, A views, C channels, K classes, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.data.classifier import read_classifier
from training.data.features import read_features
from training.data.prepared import SPLITS, open_prepared
from training.data.word_table import WordTable
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.devise import DeviseBatch, DeviseTask, DeviseTaskConfig
from training.tasks.labels import read_labelled_set
from training.tasks.targets import TunedClasses, phrase_encoder, random_views
from training.tasks.told_pairs import CaptionPairs
from vsearch.config import DeviseConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.phrases import PhraseEncoder

NOT_ASKED = -1e4  # a logit that no softmax gives a share


@dataclass(frozen=True)
class ClassesTaskConfig(DeviseTaskConfig):
    """The `[task]` table: that of `devise`, and the photos a batch holds for each further loss, with its weight."""

    words: str = "tuned"
    soft_batch: int = 256
    soft_weight: float = 0.3
    broader_weight: float = 0.0  # of the same loss among broader terms of the classes
    scene_batch: int = 0
    scene_weight: float = 0.3
    pair_batch: int = 0  # photos that are not here, with two captions of each
    pair_weight: float = 0.15
    unseen: tuple[str, ...] = ()  # classes, by their WordNet number, of which neither branch nor labels may know


@dataclass(frozen=True)
class ClassesRecipe(Recipe):
    """The two-branch DeViSE head on cached features of captioned photos, of labelled pictures and of scenes."""

    kind: str = "devise-classes"
    task: ClassesTaskConfig = field(default_factory=ClassesTaskConfig)
    devise: DeviseConfig = field(default_factory=lambda: DeviseConfig(classes=1000))

    reads = ("features", "labels", "label_features", "classifier", "scenes", "scene_features")

    def build(self, inputs: Inputs, device: torch.device) -> ClassesTask:
        return ClassesTask(self.task, self.devise, inputs, device)


@dataclass(frozen=True)
class WiderBatch(DeviseBatch):
    soft_pool: Tensor  # (b, C)
    scene_pool: Tensor  # (s, C)
    share: Tensor  # (s, K) of the area
    asked: Tensor  # (s, K) whether it was looked for
    pairs: tuple[Tensor, Tensor]  # rows of words of two captions of one photo, (p, L) and (p, L)


class ClassesTask(DeviseTask):
    """`inputs` has the prepared classifier, and perhaps labelled pictures and scenes, with their features."""

    config: ClassesTaskConfig

    def __init__(self, config: ClassesTaskConfig, head: DeviseConfig, inputs: Inputs, device: torch.device) -> None:
        if inputs.classifier is None:
            raise ConfigError("this recipe needs a pretrained classifier", "name its prepared file (`classifier`)")
        if config.words != "tuned":
            raise ConfigError(f"task.words is {config.words!r}", 'of this recipe they are "tuned"')
        self.inputs = inputs
        self.known = read_classifier(inputs.classifier)
        self.kept = self._leave_out(config.unseen)
        if head.classes != len(self.known.classes):
            raise ConfigError(f"devise.classes is {head.classes}", f"the classifier has {len(self.known.classes)}")
        super().__init__(
            config, head, inputs.data, inputs.needed_features(), device, inputs.labels, inputs.label_features
        )
        branch = self.module.devise.branch
        assert branch is not None
        branch.start(*map(torch.from_numpy, (self.known.weight, self.known.bias, self.known.vectors)))

    def _leave_out(self, unseen: tuple[str, ...]) -> NDArray[np.bool_]:
        """Give unseen classes no share of the classifier's softmax; return flags (K,) of the others.

        Raises ConfigError for a class that the classifier does not know.
        """
        numbers = [name for name, _ in self.known.classes]
        strange = sorted(set(unseen) - set(numbers))
        if strange:
            raise ConfigError(f"the classifier has no class {strange[0]}", "correct task.unseen")
        kept = np.array([number not in unseen for number in numbers])
        self.known.weight[~kept], self.known.bias[~kept] = 0, NOT_ASKED
        return kept

    def _read_labels(self, labels: Path | None, features: Path | None) -> None:
        super()._read_labels(labels, features)
        if self.config.label_batch and labels is not None:
            seen = read_labelled_set(labels).seen(self.config.unseen)
            self.label_rows = self.label_rows[seen[self.label_class[self.label_rows]]]
            self.label_class = (np.cumsum(seen) - 1)[self.label_class]
            self.classes.keep(seen)
        assert self.inputs.classifier is not None
        table = self.classes.table if self.config.label_batch else self.captions.table
        with open_prepared(self.inputs.classifier, "classifier") as file:
            self.names = TunedClasses(file, table)
            self.names.keep(self.kept)
            if self.config.broader_weight:
                if not self.known.broader.any():
                    raise ConfigError(
                        f"task.broader_weight needs broader terms, {self.inputs.classifier} has none",
                        "prepare it with `broader`, or set it to 0",
                    )
                self.broader = TunedClasses(file, table, "broader")
                self.covered = torch.from_numpy(self.known.broader.astype(np.float32)).to(self.device)  # (K, G)
        self.scene_rows = np.zeros(0, np.int64)
        if self.config.scene_batch:
            self._read_scenes(self.names.table)
        if self.config.pair_batch:
            with open_prepared(self.inputs.data, "captions") as file:
                self.pairs = CaptionPairs(file, self.captions.table)

    def _read_scenes(self, table: WordTable) -> None:
        scenes, features = self.inputs.scenes, self.inputs.scene_features
        if scenes is None or features is None:
            raise ConfigError(
                "task.scene_batch needs photos with many labels", "give scenes and scene_features, or set it to 0"
            )
        with open_prepared(scenes, "scenes") as file:
            self.scene_rows = np.flatnonzero(file["pictures/split"][:] == SPLITS.index("train"))
            self.share = torch.from_numpy(file["scenes/share"][:].astype(np.float32))  # (I, K)
            if "scenes/asked" not in file:
                raise DataError(f"{scenes} does not say what was looked for in a photo", "prepare it again")
            self.asked = torch.from_numpy(file["scenes/asked"][:])  # (I, K)
            self.asked_rows = self.scene_rows[self.asked.any(1).numpy()[self.scene_rows]]
            if not len(self.asked_rows):
                raise DataError(f"no photo of {scenes} to train on has labels", "prepare it from data that has some")
            self.scene_names = TunedClasses(file, table)
            found = read_features(features, file["pictures/name"][:], grid=False)
        if found.key != self.key:
            raise DataError(f"{features} holds features of another encoder or preprocessing", "prepare both with one")
        self.scene_pool = found.pool

    def _phrase_encoder(self) -> PhraseEncoder:
        table = self.scene_names.table if self.config.scene_batch else self.names.table
        return phrase_encoder(table, len(table.words) - len(self.captions.table.words), self.config.blend)

    def groups(self) -> list[ParameterGroup]:
        """Return the groups of `devise`; but nothing pulls gate, temperature, map and shifts of the branch to 0."""
        own = {id(p) for name, p in self.module.named_parameters() if name.startswith("devise.branch.")}
        rest, words = super().groups()
        layers = [p for p in rest.parameters if id(p) not in own]
        branch = [p for p in rest.parameters if id(p) in own and p.requires_grad]
        return [ParameterGroup(layers), ParameterGroup(branch, decay=0.0), words]

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[WiderBatch]:
        rng = numpy_generator(generator)
        for batch in super().batches(epoch, generator):
            soft = self._any_photos(self.config.soft_batch, rng)
            few = rng.choice(self.asked_rows, self.config.scene_batch) if len(self.scene_rows) else self.scene_rows
            scene = random_views(self.scene_pool, few, rng) if len(few) else soft[:0]
            share, asked = (
                (each[torch.from_numpy(few)] for each in (self.share, self.asked)) if len(few) else (soft[:0, :0],) * 2
            )
            pairs = self.pairs.draw(self.config.pair_batch, rng) if self.config.pair_batch else (soft[:0], soft[:0])
            yield WiderBatch(
                **vars(batch), soft_pool=soft, scene_pool=scene, share=share, asked=asked, pairs=pairs
            )  # fmt: skip

    def _any_photos(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draw `count` photos to train on, (count, C), evenly over captioned ones, labelled pictures and scenes."""
        sets = [(self.pool, self.train_rows)]
        sets += [(self.label_pool, self.label_rows)] if len(self.label_rows) else []
        sets += [(self.scene_pool, self.scene_rows)] if len(self.scene_rows) else []
        shares = np.bincount(rng.integers(len(sets), size=count), minlength=len(sets))
        drawn = [random_views(pool, rng.choice(rows, n), rng) for (pool, rows), n in zip(sets, shares, strict=True)]
        return torch.cat(drawn)

    def loss(self, batch: DeviseBatch) -> Loss:
        found = super().loss(batch)
        assert isinstance(batch, WiderBatch)
        c, total, parts = self.config, found.value, dict(found.parts)
        if len(batch.soft_pool):
            told = self._told(batch.soft_pool)
            placed = run_sharded(self.embed, batch.soft_pool)
            parts["soft"] = F.cross_entropy(self._cosines(placed, self.names), told[:, self.kept])
            total = total + c.soft_weight * parts["soft"]
            if c.broader_weight:
                share = F.normalize(told @ self.covered, p=1, dim=1)  # (B, G)
                parts["broader"] = F.cross_entropy(self._cosines(placed, self.broader), share)
                total = total + c.broader_weight * parts["broader"]
        if len(batch.scene_pool):
            logits = self._cosines(run_sharded(self.embed, batch.scene_pool), self.scene_names)
            parts["scenes"] = scene_loss(logits, batch.share.to(self.device), batch.asked.to(self.device))
            total = total + c.scene_weight * parts["scenes"]
        if len(batch.pairs[0]):
            parts["pairs"] = self.module.contrastive(*self.phrases(torch.cat(batch.pairs)).chunk(2))
            total = total + c.pair_weight * parts["pairs"]
        return Loss(total, found.items, parts)

    @torch.no_grad()
    def _told(self, pool: Tensor) -> Tensor:
        """Return the classifier's probabilities of pooled features (B, C): (B, K)."""
        branch = self.module.devise.branch
        assert branch is not None
        told: Tensor = branch.classifier(pool.to(self.device)).float().softmax(-1)
        return told

    def _cosines(self, placed: Tensor, classes: TunedClasses) -> Tensor:
        """Return cosines of pictures (B, D) to class names times the learned scale: (B, K)."""
        cosines = placed @ classes.vectors(self.module.phrases).T
        scaled: Tensor = cosines * self.module.contrastive.scale
        return scaled


def scene_loss(logits: Tensor, share: Tensor, asked: Tensor | None = None) -> Tensor:
    """Return the mean of both cross-entropies of photos with many labels: photo to names, and name to photos.

    logits (B, K); share (B, K) of the area, 0 for what is not there: a target's weight is its square root. A photo
    without labels, and a name without a photo in the batch, has no part in it; nor has a name in a photo in which it
    was not looked for, where `asked` (B, K) says so.
    """
    if asked is not None:
        logits = logits.masked_fill(~asked, NOT_ASKED)
    weight = share.clamp_min(0).sqrt()
    return (_entropy(logits, weight) + _entropy(logits.T, weight.T)) / 2


def _entropy(logits: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum(1, keepdim=True)
    rows = -(weight / total.clamp_min(1e-6) * F.log_softmax(logits, 1)).sum(1)
    return rows.sum() / (total > 0).sum().clamp_min(1)
