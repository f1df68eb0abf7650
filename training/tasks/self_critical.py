"""Self-critical training: a trained decoder goes on with what its own captions are worth (Rennie et al. 2017).

Captions are drawn for each photo, and their probability is raised where they score above a baseline, lowered where
below: loss = -mean over words of (r - b) log p (eq. 7). The reward r is CIDEr-D against the photo's own captions, the
end mark counted as a word, with document frequencies of the training photos: so a caption earns by ending where people
end, not on "with a". The baseline b is the mean reward of the photo's other samples, or that of its greedy caption.
Cross-entropy on the photo's captions is mixed in.

Shapes: B photos, S samples of each, N cells, C channels, L longest caption, P packed words, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.caption_set import Texts
from training.loop.checkpoint import load_best
from training.loop.distributed import shard, weighted_mean
from training.loop.task import Loss, in_batches, numpy_generator
from training.recipe import Inputs, Recipe
from training.tasks.caption import (
    CaptionBatch,
    CaptionTask,
    CaptionTaskConfig,
    caption_loss,
    teach,
)
from training.tasks.soft_targets import packed_steps
from vsearch.ahead import prefetch
from vsearch.captions.beam import greedy, sample
from vsearch.config import DecoderConfig
from vsearch.device import autocast, fast_bf16
from vsearch.errors import ConfigError
from vsearch.metrics.caption import Cider
from vsearch.networks.decoder import Decoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.text.vocab import END, PAD, SPECIALS, START, UNK, Vocabulary

END_WORD = SPECIALS[END]


@dataclass(frozen=True)
class SelfCriticalConfig:
    """The `[task]` table. A batch holds `batch` photos with `samples` drawn captions each."""

    start: str = ""  # a finished caption run, of the same [decoder]; needed
    batch: int = 32
    samples: int = 5
    baseline: Literal["others", "greedy"] = "others"
    xe_weight: float = 0.1  # of the cross-entropy; the reward's share is one minus it
    label_smoothing: float = 0.1
    monitor: Literal["cider", "bleu4"] = "cider"
    dev_beam: int = 3
    dev_pictures: int = 1_000

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.samples == 1 and self.baseline == "others"):
            raise ConfigError(f"task.samples is {self.samples}", 'take 2 or more, or 1 with task.baseline = "greedy"')


@dataclass(frozen=True)
class SelfCriticalRecipe(Recipe):
    """A trained caption decoder that goes on with rewards for its own captions."""

    kind: str = "self-critical"
    task: SelfCriticalConfig = field(default_factory=SelfCriticalConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    reads = ("features",)

    def build(self, inputs: Inputs, device: torch.device) -> SelfCriticalTask:
        return SelfCriticalTask(self.task, self.decoder, inputs.data, inputs.needed_features(), device)


@dataclass(frozen=True)
class SelfCriticalBatch:
    memory: Tensor  # (B, N, C) float16
    photos: Tensor  # (B,)
    captions: Tensor  # (B, 1, L) one of each photo's own
    lengths: Tensor  # (B, 1)


class SelfCriticalTask(CaptionTask):
    """`data` and `features` are those of the run that `config.start` names."""

    def __init__(
        self, config: SelfCriticalConfig, decoder: DecoderConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        plain = CaptionTaskConfig(
            batch=config.batch, monitor=config.monitor, dev_beam=config.dev_beam, dev_pictures=config.dev_pictures
        )
        super().__init__(plain, decoder, data, features, device)
        load_start(config.start, self.module)
        self.critic = config
        self.photos = np.asarray(list(self.captions), np.int64)
        self.judge = Judge(self.captioned.references(self.photos), self.vocabulary)
        self.row_of = {photo: row for row, photo in enumerate(self.photos.tolist())}

    def steps(self, epoch: int) -> int:
        return len(self.photos) // self.critic.batch

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[SelfCriticalBatch]:  # type: ignore[override]
        rng = numpy_generator(generator)
        order = rng.permutation(self.photos)

        def make() -> Iterator[SelfCriticalBatch]:
            for photos in in_batches(order, self.critic.batch, self.steps(epoch)):
                rows = np.asarray([[rng.choice(self.captions[i])] for i in photos.tolist()])
                own = self._batch(rows, rng, 0.0)
                yield SelfCriticalBatch(own.memory, torch.from_numpy(photos), own.captions, own.lengths)

        return prefetch(make())

    def loss(self, batch: SelfCriticalBatch) -> Loss:  # type: ignore[override]
        c, decoder = self.critic, self.module.decoder
        items, batch = len(batch.photos), shard(batch)
        ids, lengths, rewards, baseline = self.explore(batch)
        out = teach(decoder, batch.memory, ids, lengths)
        advantage = (rewards - baseline).to(out.logits.device)  # (B, S)
        policy = policy_loss(out.logits.float(), out.targets, packed(advantage, lengths))
        total = (1 - c.xe_weight) * weighted_mean(policy, len(out.targets))
        parts = {"reward": rewards.mean(), "baseline": baseline.mean(), "words": lengths.float().mean()}
        if c.xe_weight:
            own = CaptionBatch(batch.memory, batch.captions, batch.lengths)
            entropy, _ = caption_loss(decoder, own, c.label_smoothing, alpha=0.0)
            parts["cross_entropy"] = entropy
            total = total + c.xe_weight * entropy
        return Loss(total, items, parts)

    @torch.no_grad()
    def explore(self, batch: SelfCriticalBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw ids (B, S, L) and lengths (B, S), their rewards (B, S) and the baseline (B, S) on the CPU."""
        c, max_len, memory = self.critic, self.decoder_config.max_len, batch.memory.to(self.device).float()
        with searched(self.module.decoder, self.device) as fast:
            ids, lengths = sample(fast, memory, c.samples, max_len)
            best = greedy(fast, memory, max_len) if c.baseline == "greedy" else []
        photos = batch.photos.tolist()
        drawn = [caption for own in ids.tolist() for caption in own]
        rewards = self.rewards(drawn, np.repeat(photos, c.samples)).view(-1, c.samples)
        if c.baseline == "greedy":
            return ids, lengths, rewards, self.rewards([[*b.tokens, END] for b in best], photos)[:, None] + 0 * rewards
        return ids, lengths, rewards, of_others(rewards)

    def rewards(self, captions: list[list[int]], photos: NDArray[np.int64] | list[int]) -> Tensor:
        """Return CIDEr-D, 0 to 10, of captions given as ids, each against its photo."""
        return self.judge.rewards(captions, [self.row_of[int(photo)] for photo in photos])


def load_start(run: str, module: nn.Module) -> None:
    """Start from the best weights of the caption training in the folder `run`. Raises ConfigError if that is empty."""
    if not run:
        raise ConfigError("task.start is empty", "name the output folder of a finished caption training")
    load_best(Path(run), module)


class Judge:
    """CIDEr-D against the captions of known photos, with document frequencies of these; the end mark is a word."""

    def __init__(self, references: Sequence[Texts], vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.cider = Cider([[[*words, END_WORD] for words in own] for own in references])

    def rewards(self, captions: list[list[int]], rows: Sequence[int]) -> Tensor:
        """Return CIDEr-D, 0 to 10, of captions given as ids, each against the references in its row."""
        words = [[self.vocabulary.word(i) for i in ids if i not in (PAD, START)] for ids in captions]
        return torch.from_numpy(self.cider.score(words, rows) / 100).float()


@contextmanager
def searched(decoder: Decoder, device: torch.device) -> Iterator[QuickDecoder]:
    """Give a quick copy of a decoder that is being trained, to search over; evaluation mode within the block."""
    training = decoder.training
    decoder.eval()
    try:
        with autocast(device):
            yield QuickDecoder(decoder, fast_bf16(device))
    finally:
        decoder.train(training)


def of_others(rewards: Tensor) -> Tensor:
    """Return the mean of a photo's other rewards, for each of `rewards` (B, S)."""
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def policy_loss(logits: Tensor, targets: Tensor, advantage: Tensor) -> Tensor:
    """Return -mean of advantage * log p over the drawn words (Rennie et al. 2017, eq. 7 with 2).

    `logits` (P, V), `targets` and `advantage` (P,). What is never drawn (pad, start, unknown) has no probability.
    """
    allowed = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed[[PAD, START, UNK]] = False
    logits = logits.masked_fill(~allowed, -torch.inf)
    return (advantage * F.cross_entropy(logits, targets, reduction="none")).mean()


def packed(values: Tensor, lengths: Tensor) -> Tensor:
    """Return one value for each caption, `values` and `lengths` (B, S), for each of its words in packed order (P,)."""
    return packed_steps(values.flatten()[:, None].expand(-1, int(lengths.max())), lengths.flatten())
