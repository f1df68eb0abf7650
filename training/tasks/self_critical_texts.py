"""Self-critical training of a decoder that knows captions without photos, too (Rennie et al. 2017, on both).

Captions are drawn for photos, and for photos that are not there, whose captions place them among words: each is worth
its CIDEr-D against the people's captions of its own kind, less the mean of its photo's other ones. Cross-entropy as in
the task "caption-texts" is mixed in, and keeps what the reward does not speak of.

Shapes: as in `training.tasks.caption_texts`, and S captions drawn of each photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.loop.distributed import shard, weighted_mean
from training.loop.task import Loss, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.caption import teach
from training.tasks.caption_texts import Mixed, TextsTask, TextsTaskConfig, moved
from training.tasks.self_critical import Judge, load_start, of_others, packed, policy_loss, searched
from vsearch.ahead import prefetch
from vsearch.captions.beam import sample
from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.told import Told


@dataclass(frozen=True)
class CriticalTextsConfig(TextsTaskConfig):
    """The `[task]` table: that of caption-texts for the cross-entropy, and what is drawn next to it."""

    start: str = ""  # a finished training of kind "caption-texts", of the same [decoder]; needed
    samples: int = 5  # captions drawn for each
    drawn_photos: int = 32  # photos of a step for which captions are drawn
    drawn_texts: int = 32  # photos that are not there, likewise
    judged: int = 8_000  # of all photos that are not there so many are drawn for
    xe_weight: float = 0.1  # of the cross-entropy; the reward's share is one minus it

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.samples - 1, self.drawn_photos, self.drawn_texts, self.judged) < 1:
            raise ConfigError("task.samples is below 2, or nothing is drawn", "see the recipe self-critical-texts")


@dataclass(frozen=True)
class CriticalTextsRecipe(Recipe):
    """A decoder of kind caption-texts that goes on with rewards for its own captions."""

    kind: str = "self-critical-texts"
    task: CriticalTextsConfig = field(default_factory=CriticalTextsConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    reads = ("features",)

    def build(self, inputs: Inputs, device: torch.device) -> CriticalTextsTask:
        return CriticalTextsTask(self.task, self.decoder, inputs.data, inputs.needed_features(), device)


@dataclass(frozen=True)
class Drawn:
    """Photos, there or not, to draw captions for."""

    memory: Tensor  # (B, N, C) float16, N = 0 for those that are not there
    vector: Tensor  # (B, D)
    rows: Tensor  # (B,) of their judge's references


@dataclass(frozen=True)
class CriticalBatch:
    taught: Mixed
    photos: Drawn
    texts: Drawn


class CriticalTextsTask(TextsTask):
    """`data` and `features` are those of the run that `config.start` names."""

    def __init__(
        self, config: CriticalTextsConfig, decoder: DecoderConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        super().__init__(config, decoder, data, features, device)
        load_start(config.start, self.module)
        if self.projection is not None and self.module.decoder.projection is not None:
            self.projection.load_state_dict(self.module.decoder.projection.state_dict())
        self.critic = config
        photos = np.asarray(list(self.captions), np.int64)
        self.judged_photos = photos[~self.captioned.guessed[photos]]  # a model's own captions are no measure
        told = np.flatnonzero(self.counts > 1)
        if not len(told):
            raise DataError(f"{data} has no photo with two captions, but itself not there", "prepare other `texts`")
        self.judged_texts = np.random.default_rng(0).permutation(told)[: config.judged]
        own: dict[int, list[list[str]]] = {photo: [] for photo in self.judged_texts.tolist()}
        for photo, words in zip(self.texts.photo.tolist(), self.texts.words, strict=True):
            if photo in own:
                own[photo].append(words)
        self.judges = {
            "photos": Judge(self.captioned.references(self.judged_photos), self.vocabulary),
            "texts": Judge(list(own.values()), self.vocabulary),
        }

    def steps(self, epoch: int) -> int:
        """Return how often all photos give a step's `drawn_photos`; at least one step."""
        return max(1, len(self.judged_photos) // self.critic.drawn_photos)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[CriticalBatch]:  # type: ignore[override]
        rng = numpy_generator(generator)
        texts, taught = self._text_batches(rng), self._taught(epoch, rng)
        photos = _forever(len(self.judged_photos), self.critic.drawn_photos, rng)
        groups = _forever(len(self.judged_texts), self.critic.drawn_texts, rng)

        def make() -> Iterator[CriticalBatch]:
            for _ in range(self.steps(epoch)):
                mixed = Mixed(self._photo_batch(next(taught), rng, self.config.sampling(epoch)), next(texts))
                yield CriticalBatch(mixed, self._drawn_photos(next(photos), rng), self._drawn_texts(next(groups), rng))

        return prefetch(make())

    def _taught(self, epoch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yield rows of captions (B, K) for the cross-entropy, for ever."""
        photos = self.config.batch // self.config.captions_per_photo
        while True:
            rows = np.stack(list(self._draw(rng)))
            for chosen in _once(len(rows), photos, rng):
                yield rows[chosen]

    def _drawn_photos(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Drawn:
        photos = self.judged_photos[rows]
        cells, vector = self._shown(photos, rng)
        return Drawn(cells, vector, torch.from_numpy(rows))

    def _drawn_texts(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Drawn:
        vector = moved(self.projected(self.sums[self.judged_texts[rows]]), self.mixing.noise, rng)
        cells = torch.zeros(len(rows), 0, self.grid.shape[3], dtype=torch.float16)
        return Drawn(cells, torch.from_numpy(vector), torch.from_numpy(rows))

    def loss(self, batch: CriticalBatch) -> Loss:  # type: ignore[override]
        c = self.critic
        taught = super().loss(batch.taught)
        total, parts = c.xe_weight * taught.value, dict(taught.parts)
        items = {name: len(getattr(batch, name).rows) for name in self.judges}
        for name, count in items.items():
            value, reward = self.criticised(shard(getattr(batch, name)), self.judges[name])
            total = total + (1 - c.xe_weight) * value * (count / sum(items.values()))
            parts[f"{name}_reward"] = reward
        return Loss(total, sum(items.values()), parts)

    def criticised(self, batch: Drawn, judge: Judge) -> tuple[Tensor, Tensor]:
        """Return the loss of captions that are drawn now, and their mean reward, 0 to 10."""
        c, decoder, memory = self.critic, self.module.decoder, batch.memory.to(self.device).float()
        with torch.no_grad(), searched(decoder, self.device) as fast:
            seen = Told(fast, batch.vector.to(self.device))
            ids, lengths = sample(seen, memory, c.samples, self.decoder_config.max_len)
        captions = [caption for own in ids.tolist() for caption in own]
        rewards = judge.rewards(captions, np.repeat(batch.rows.numpy(), c.samples).tolist()).view(-1, c.samples)
        out = teach(decoder, batch.memory, ids, lengths, vector=batch.vector)
        advantage = (rewards - of_others(rewards)).to(out.logits.device)
        policy = policy_loss(out.logits.float(), out.targets, packed(advantage, lengths))
        return weighted_mean(policy, len(out.targets)), rewards.mean()


def _once(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield all of `count` rows in random order, `size` at a time; some again where there are fewer than `size`."""
    order = np.resize(rng.permutation(count), max(count, size))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def _forever(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        yield from _once(count, size, rng)
