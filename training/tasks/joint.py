"""DeViSE and captions together over one encoder, on the pictures themselves.

The encoder looks at a photo once. The head is drawn to the phrase vectors of its captions, the decoder tells their
words: loss = caption * its loss + devise * the head's losses. With either weight at 0 that part is left out and nothing
else changes: so it is measured what sharing costs or gains. The encoder's stages from `from_block` on follow with a
learning rate of their own; the others stay as they are.

Shapes: B photos of a batch, K captions of each, S side in pixels, N cells, C channels, D word-vector size, L longest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.batches import drawn, steps, whole
from training.data.caption_set import read_caption_set
from training.data.prepared import open_prepared
from training.loop.distributed import run_sharded
from training.loop.task import Loss, ParameterGroup
from training.recipe import Inputs, Recipe
from training.tasks.caption import CaptionBatch, caption_loss
from training.tasks.decoding import generate
from training.tasks.targets import Captions as Phrases
from training.tasks.targets import caption_losses, recall, weighted
from vsearch.ahead import prefetch
from vsearch.config import IS, DecoderConfig, DeviseConfig, Range
from vsearch.errors import ConfigError
from vsearch.metrics.caption import bleu, cider
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import build_decoder
from vsearch.networks.devise import DeviseHead
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import JointModel
from vsearch.networks.losses import Contrastive
from vsearch.storage import modelfolder


@dataclass(frozen=True)
class JointConfig:
    """The `[task]` table. A batch holds `batch` photos with `captions_per_photo` captions each."""

    batch: int = 32
    captions_per_photo: Annotated[int, Range(1, message=IS, hint="take 1 or more")] = 5
    caption: float = 1.0  # weight of the decoder's loss; 0 leaves the decoder out
    devise: float = 1.0  # weight of the head's losses; 0 leaves the head out
    from_block: int = 2  # the first of the encoder's stages that learns ...
    encoder_scale: float = 0.02  # ... with this share of the learning rate; 0 keeps the whole encoder as it is
    norms: bool = False  # whether the statistics of batch norm move, too
    smallest: float = 0.6  # least share of a picture's area that a random crop keeps
    alpha: float = 1.0  # the decoder's loss: see the task "caption"
    label_smoothing: float = 0.1
    cosine: float = 1.0  # the head's losses: see the task "devise"
    hinge: float = 0.0
    contrastive: float = 1.0
    margin: float = 0.1
    temperature: float = 0.07
    monitor: Literal["cider", "bleu4", "recall"] = "cider"  # on dev: chooses the best epoch
    dev_beam: int = 3

    def __post_init__(self) -> None:
        part = "devise" if self.monitor == "recall" else "caption"
        if not getattr(self, part):
            raise ConfigError(f"task.monitor is {self.monitor!r}, task.{part} is 0", "choose another monitor")


@dataclass(frozen=True)
class JointRecipe(Recipe):
    """Head and decoder over one encoder; a part without settings is the model's, which goes on."""

    kind: str = "joint"
    task: JointConfig = field(default_factory=JointConfig)
    devise: DeviseConfig | None = None
    decoder: DecoderConfig | None = None

    reads = ("start",)

    def build(self, inputs: Inputs, device: torch.device) -> JointTask:
        model = modelfolder.load(inputs.needed_start(), "cpu")
        return JointTask(self.task, model, self.devise, self.decoder, inputs.data, device)


@dataclass(frozen=True)
class JointBatch:
    images: Tensor  # (B, 3, S, S) normalised
    target: Tensor  # (B, D)
    captions: Tensor  # (B, K, L)
    lengths: Tensor  # (B, K)


class JointModule(nn.Module):
    """Encoder, and of head (with its learned temperature) and decoder what is trained."""

    def __init__(self, encoder: Encoder, devise: DeviseHead | None, decoder: Decoder | None, c: JointConfig) -> None:
        super().__init__()
        self.encoder, self.devise, self.decoder = encoder, devise, decoder
        self.contrastive = None if devise is None else Contrastive(c.temperature)
        encoder.fine_tune(c.from_block if c.encoder_scale else None, norms=c.norms)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised pictures (B, 3, S, S) -> grid (B, N, C) and unit vectors (B, D), D = 0 without a head."""
        grid, pool = self.encoder(images)
        return grid, pool.new_zeros(len(pool), 0) if self.devise is None else self.devise(pool)


class JointTask:
    """`model` is where the encoder starts from; `data` a prepared file of captions made with the model's words.

    Head and decoder are new where the recipe has settings for them, else they are the model's, which go on.
    """

    def __init__(
        self, config: JointConfig, model: JointModel, devise: DeviseConfig | None, decoder: DecoderConfig | None,
        data: Path, device: torch.device,
    ) -> None:  # fmt: skip
        self.config, self.device, self.preprocess, self.data = config, device, model.config.preprocess, data
        self.monitor: str = config.monitor
        self.captioned = read_caption_set(data)
        with open_prepared(data, "captions") as file:
            self.phrases = Phrases(file)
        module = JointModule(model.encoder, self._head(model, devise), self._decoder(model, decoder), config)
        self.module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        longest = self.captioned.ids.shape[1] if module.decoder is None else module.decoder.config.max_len + 2
        self.captions = self.captioned.captions("train", longest)  # rows, by photo
        self.train_rows = np.asarray(list(self.captions), np.int64)
        self.dev_rows = self.captioned.rows("dev")

    def _head(self, model: JointModel, config: DeviseConfig | None) -> DeviseHead | None:
        if not self.config.devise:
            return None
        head = model.devise if config is None else DeviseHead(config, model.encoder.channels)
        if head is None:
            raise ConfigError("neither the model nor the recipe has a DeViSE head", "give the recipe a [devise]")
        if head.config.dim != self.phrases.dim:
            raise ConfigError(
                f"the head's vectors have {head.config.dim} values, the targets {self.phrases.dim}",
                "prepare the captions with the model's words",
            )
        return head

    def _decoder(self, model: JointModel, config: DecoderConfig | None) -> Decoder | None:
        vocabulary = self.captioned.vocabulary
        if not self.config.caption:
            return None
        if config is not None:
            return build_decoder(config, model.encoder.channels, len(vocabulary))
        if model.decoder is None or model.vocabulary is None:
            raise ConfigError("neither the model nor the recipe has a decoder", "give the recipe a [decoder]")
        if model.vocabulary.words != vocabulary.words:
            raise ConfigError("the model's vocabulary is not that of the data", "give the recipe a [decoder]")
        return model.decoder

    def groups(self) -> list[ParameterGroup]:
        own = [p for p in self.module.encoder.parameters() if p.requires_grad]
        parts = (self.module.devise, self.module.contrastive, self.module.decoder)
        return [
            ParameterGroup(own, self.config.encoder_scale),
            ParameterGroup([p for part in parts if part is not None for p in part.parameters()]),
        ]

    def steps(self, epoch: int) -> int:
        return steps(self.train_rows, self.config.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[JointBatch]:
        c = self.config
        rng, pictures = drawn(self.data, self.train_rows, c.batch, self.preprocess, c.smallest, generator)
        return prefetch(
            JointBatch(images, self.phrases.draw(photos, rng), *self._told(photos, rng)) for photos, images in pictures
        )

    def _told(self, photos: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw captions (B, K, L) of each photo, different ones as far as there are, and their lengths (B, K)."""
        each = self.config.captions_per_photo
        rows = np.stack([np.resize(rng.permutation(self.captions[photo]), each) for photo in photos.tolist()])
        return torch.from_numpy(self.captioned.ids[rows]), torch.from_numpy(self.captioned.lengths[rows])

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised pictures (B, 3, S, S) -> grid (B, N, C) and unit vectors (B, D), on the device."""
        found: tuple[Tensor, Tensor] = self.module(images.to(self.device, memory_format=torch.channels_last))
        return found

    def loss(self, batch: JointBatch) -> Loss:
        c, parts = self.config, dict[str, Tensor]()
        grid, vectors = run_sharded(self.encode, batch.images)
        total = grid.new_zeros((), dtype=torch.float32)
        if self.module.decoder is not None:
            told = CaptionBatch(grid, batch.captions, batch.lengths)
            value, found = caption_loss(self.module.decoder, told, c.label_smoothing, c.alpha)
            parts |= found
            total = total + c.caption * value
        if self.module.contrastive is not None:
            found = caption_losses(c, vectors, batch.target.to(self.device), self.module.contrastive)
            parts |= found
            total = total + c.devise * weighted(c, found)
        return Loss(total, len(batch.images), parts)

    def evaluate(self) -> dict[str, float]:
        """Measure free-running CIDEr and BLEU-4 of the decoder, and retrieval by the head, on the dev split."""
        cells, vectors = self._encode_all(self.dev_rows)
        metrics: dict[str, float] = {}
        if self.module.decoder is not None:
            references = self.captioned.references(self.dev_rows)
            beam = self.config.dev_beam
            told = generate(self.module.decoder, self.captioned.vocabulary, cells, self.device, beam)
            metrics = {"cider": cider(references, told), "bleu4": bleu(references, told)["bleu4"]}
        if self.module.devise is not None:
            metrics |= recall(*self.phrases.all_of(self.dev_rows), vectors)
        return metrics

    @torch.no_grad()
    def _encode_all(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float16], Tensor]:
        """Return cells (I, N, C) and unit vectors (I, D) of whole pictures."""
        cells, vectors = [], []
        for images in whole(self.data, rows, self.config.batch, self.preprocess):
            grid, found = self.encode(images)
            cells.append(grid.half().cpu().numpy())
            vectors.append(found.float().cpu())
        return np.concatenate(cells), torch.cat(vectors)
