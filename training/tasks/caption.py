"""A caption decoder on cached grid features, by teacher forcing.

Loss: cross-entropy with label smoothing over the packed words, plus the doubly stochastic penalty
alpha_c * mean((1 - sum over t of alpha)^2) (Xu et al. 2015, eq. 14). Evaluation is free-running on the dev split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.distributed import shard, share
from training.loop import Group, Loss
from training.prepare.features import read_features
from training.prepare.store import SPLITS, open_prepared
from vsearch.config import DecoderConfig
from vsearch.device import autocast
from vsearch.errors import DataError
from vsearch.generate import beam_search
from vsearch.metrics.caption import bleu, cider
from vsearch.models.decoders import Decoder, build_decoder
from vsearch.text.vocab import Vocabulary


@dataclass(frozen=True)
class CaptionTaskConfig:
    """The `[task]` table; a batch holds `batch` captions."""

    batch: int = 80
    alpha: float = 1.0
    label_smoothing: float = 0.1
    dev_beam: int = 3
    dev_pictures: int = 1_000


@dataclass(frozen=True)
class Batch:
    memory: Tensor  # (B, N, C)
    captions: Tensor  # (B, L)
    lengths: Tensor  # (B,)


class CaptionModule(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


class CaptionTask:
    """`data` is a prepared file of captions, `features` its grid features."""

    monitor = "cider"

    def __init__(
        self, config: CaptionTaskConfig, decoder: DecoderConfig, data: Path, features: Path, device: torch.device
    ) -> None:
        self.config, self.decoder_config, self.device = config, decoder, device
        with open_prepared(data, "captions") as file:
            split, names = file["pictures/split"][:], file["pictures/name"][:]
            self.ids, self.lengths = (
                file["captions/ids"][:].astype(np.int64),
                file["captions/length"][:].astype(np.int64),
            )
            self.owner = file["captions/picture"][:]
            texts = [t.decode().split() for t in file["captions/text"][:]]
            self.vocabulary = Vocabulary(json.loads(file.attrs["vocabulary"]))
        found = read_features(features, names)
        if found.grid is None:
            raise DataError(f"{features} holds no grid", "prepare the features with their grid")
        self.grid = found.grid  # (I, A, N, C)
        self.train_rows = np.flatnonzero(
            (split == SPLITS.index("train"))[self.owner] & (self.lengths <= decoder.max_len + 2)
        )
        self.dev = np.flatnonzero(split == SPLITS.index("dev"))[: config.dev_pictures]
        self.references = [[texts[m] for m in np.flatnonzero(self.owner == i)] for i in self.dev]
        self.module = CaptionModule(build_decoder(decoder, self.grid.shape[3], len(self.vocabulary))).to(device)

    def groups(self) -> list[Group]:
        return [Group(list(self.module.parameters()))]

    def steps(self, epoch: int) -> int:
        return len(self.train_rows) // self.config.batch

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Batch]:
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        order = rng.permutation(self.train_rows)
        for step in range(self.steps(epoch)):
            rows = order[step * self.config.batch : (step + 1) * self.config.batch]
            views = rng.integers(self.grid.shape[1], size=len(rows))
            memory = torch.from_numpy(self.grid[self.owner[rows], views])
            yield Batch(memory, torch.from_numpy(self.ids[rows]), torch.from_numpy(self.lengths[rows]))

    def loss(self, batch: Batch) -> Loss:
        items, batch = len(batch.captions), shard(batch)
        captions, lengths = batch.captions.to(self.device), batch.lengths
        captions = captions[:, : int(lengths.max())]
        out = self.module.decoder(batch.memory.to(self.device).float(), captions, lengths)
        logits = out.logits.float()
        entropy = F.cross_entropy(logits, out.targets, label_smoothing=self.config.label_smoothing)
        parts = {"cross_entropy": share(entropy, len(logits))}
        total = parts["cross_entropy"]
        with torch.no_grad():
            top = logits.topk(5, 1).indices
            parts["top5"] = share((top == out.targets[:, None]).any(1).float().mean(), len(logits))
        if out.attention is not None and self.config.alpha:
            parts["stochastic"] = ((1 - out.attention.float().sum(1)) ** 2).mean()
            total = total + self.config.alpha * parts["stochastic"]
        return Loss(total, items, parts)

    def evaluate(self) -> dict[str, float]:
        """CIDEr and BLEU-4 of the dev split, free-running."""
        hypotheses: list[list[str]] = []
        decoder = self.module.decoder
        for start in range(0, len(self.dev), 100):
            memory = torch.from_numpy(self.grid[self.dev[start : start + 100], 0]).to(self.device).float()
            with autocast(self.device):
                found = beam_search(
                    decoder, memory, self.config.dev_beam, self.decoder_config.max_len, self.decoder_config.length_power
                )
            hypotheses += [self.vocabulary.decode(captions[0].tokens) for captions in found]
        return {"cider": cider(self.references, hypotheses), "bleu4": bleu(self.references, hypotheses)["bleu4"]}
