"""The DeViSE head together with its encoder, on the pictures themselves: the second stage of fast.ai lesson 11.

The head, trained first on cached features, goes on with the full learning rate; the last blocks of the encoder follow
with a hundredth of it and the first ones with a thousandth (discriminative learning rates: Howard and Ruder 2018,
section 3.2). Shapes: B batch, S side in pixels, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.batches import drawn, steps, whole
from training.data.prepared import open_prepared
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup
from training.recipe import Inputs, Recipe
from training.tasks.targets import Captions, caption_losses, recall, train_and_dev, weighted
from vsearch.ahead import prefetch
from vsearch.errors import ConfigError
from vsearch.networks.devise import DeviseHead
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import JointModel
from vsearch.networks.losses import Contrastive
from vsearch.storage import modelfolder


@dataclass(frozen=True)
class FinetuneConfig:
    """The `[task]` table. `scales` are the shares of the learning rate of the encoder's first stages (`early` of its
    five), of its other stages, and of the head; 0 keeps a part frozen."""

    batch: int = 64
    cosine: float = 1.0
    hinge: float = 0.0
    contrastive: float = 0.0
    margin: float = 0.1
    temperature: float = 0.07
    scales: tuple[float, float, float] = (0.001, 0.01, 1.0)
    early: int = 3
    norms: bool = False  # whether the statistics of batch norm move, too
    smallest: float = 0.6  # least share of a picture's area that a random crop keeps

    def __post_init__(self) -> None:
        if not any(scale > 0 for scale in self.scales):
            raise ConfigError("task.scales keeps everything frozen", "let one of the three be above 0")


@dataclass(frozen=True)
class FinetuneRecipe(Recipe):
    """The DeViSE head with its encoder; both go on from a model."""

    kind: str = "devise-finetune"
    task: FinetuneConfig = field(default_factory=FinetuneConfig)

    reads = ("start",)

    def build(self, inputs: Inputs, device: torch.device) -> FinetuneTask:
        model = modelfolder.load(inputs.needed_start(), "cpu")
        return FinetuneTask(self.task, model, inputs.data, device)


@dataclass(frozen=True)
class FinetuneBatch:
    images: Tensor  # (B, 3, S, S) normalised
    target: Tensor  # (B, D)


class FinetuneModule(nn.Module):
    """Encoder, head, and the learned temperature."""

    def __init__(self, encoder: Encoder, devise: DeviseHead, config: FinetuneConfig) -> None:
        super().__init__()
        self.encoder, self.devise = encoder, devise
        self.contrastive = Contrastive(config.temperature)
        encoder.fine_tune(0, norms=config.norms)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.devise(self.encoder(images)[1]))  # (B, D)


class FinetuneTask:
    """`model` is where encoder and head start from; `data` a prepared file of captions made with the model's words."""

    monitor = "recall"

    def __init__(self, config: FinetuneConfig, model: JointModel, data: Path, device: torch.device) -> None:
        if model.devise is None:
            raise ConfigError("the model to start from has no DeViSE head", "train one on cached features first")
        self.config, self.device, self.preprocess = config, device, model.config.preprocess
        self.data = data
        with open_prepared(data, "captions") as file:
            split = file["pictures/split"][:]
            self.captions = Captions(file)
        if model.devise.config.dim != self.captions.dim:
            raise ConfigError(
                f"the model's vectors have {model.devise.config.dim} values, the targets {self.captions.dim}",
                "prepare the captions with the model's words",
            )
        self.train_rows, self.dev_rows = train_and_dev(split, data)
        module = FinetuneModule(model.encoder, model.devise, config)
        self.module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def groups(self) -> list[ParameterGroup]:
        stages = list(self.module.encoder.stages)
        parts: list[list[nn.Module]] = [
            stages[: self.config.early], stages[self.config.early :], [self.module.devise, self.module.contrastive],
        ]  # fmt: skip
        groups = []
        for modules, scale in zip(parts, self.config.scales, strict=True):
            parameters = [p for m in modules for p in m.parameters()]
            for parameter in parameters:
                parameter.requires_grad_(scale > 0)
            groups.append(ParameterGroup(parameters if scale > 0 else [], scale))
        return groups

    def steps(self, epoch: int) -> int:
        return steps(self.train_rows, self.config.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[FinetuneBatch]:
        c = self.config
        rng, pictures = drawn(self.data, self.train_rows, c.batch, self.preprocess, c.smallest, generator)
        return prefetch(FinetuneBatch(images, self.captions.draw(rows, rng)) for rows, images in pictures)

    def embed(self, images: Tensor) -> Tensor:
        """Embed normalised pictures (B, 3, S, S) -> unit vectors (B, D), on the device."""
        return cast(Tensor, self.module(images.to(self.device, memory_format=torch.channels_last)))

    def loss(self, batch: FinetuneBatch) -> Loss:
        predicted, target = run_sharded(self.embed, batch.images), batch.target.to(self.device)
        parts = caption_losses(self.config, predicted, target, self.module.contrastive)
        return Loss(weighted(self.config, parts), len(target), parts)

    def evaluate(self) -> dict[str, float]:
        """Measure retrieval on the dev split, as the task on cached features has it."""
        targets, owner = self.captions.all_of(self.dev_rows)
        return recall(targets, owner, self._vectors(self.dev_rows))

    @torch.no_grad()
    def _vectors(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the unit vectors (I, D) of whole pictures."""
        batches = whole(self.data, rows, self.config.batch, self.preprocess)
        return torch.cat([self.embed(images).float().cpu() for images in batches])
