"""Attention of hypotheses over a memory: grid cells of a picture, or words of a source sentence.

Shapes: B pictures, R = B * K rows (K hypotheses of each picture, adjacent), N cells, C channels, A attention size.
The memory of a picture is shared by its K rows and never copied.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from vsearch.errors import ConfigError

SCORINGS = ("additive", "dot")


class Attention(nn.Module):
    """Scoring is additive, v . relu(W_k m + W_q q), or a scaled dot product, W_k m . W_q q / sqrt(A).

    Bahdanau et al. 2015 have tanh for relu; the tutorial on Show, Attend and Tell has relu, which is some 30 times
    cheaper over (R, N, A) on a CPU and was the greater part of a decoder's step.
    """

    def __init__(self, memory_size: int, query_size: int, hidden: int, scoring: str = "additive") -> None:
        super().__init__()
        if scoring not in SCORINGS:
            raise ConfigError(f"unknown attention scoring {scoring!r}", f"known: {', '.join(SCORINGS)}")
        self.scoring = scoring
        self.key = nn.Linear(memory_size, hidden)
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False) if scoring == "additive" else None

    def keys(self, memory: Tensor) -> Tensor:
        """The memory (B, N, C) as keys (B, N, A); project once, use in every step."""
        return cast(Tensor, self.key(memory))

    def scores(self, query: Tensor, keys: Tensor, own: Tensor | None = None) -> Tensor:
        """Unnormalised scores (R, N) of `query` (R, Q) against `keys` (B, N, A).

        `own` (R, A) is one more key that belongs to each row alone (a sentinel): its score comes last, (R, N + 1).
        """
        q = self.query(query).view(len(keys), -1, keys.shape[-1])  # (B, K, A)
        if self.score is None:
            z = (q @ keys.transpose(1, 2)).flatten(0, 1) / math.sqrt(keys.shape[-1])  # (R, N)
            last = None if own is None else (q.flatten(0, 1) * own).sum(-1, keepdim=True) / math.sqrt(keys.shape[-1])
        else:
            z = self.score((keys[:, None] + q[:, :, None]).relu_()).squeeze(-1).flatten(0, 1)  # (R, N)
            last = None if own is None else self.score((own + q.flatten(0, 1)).relu_())
        return z if last is None else torch.cat([z, last], dim=1)

    def forward(self, query: Tensor, memory: Tensor, keys: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Context (R, C) and weights (R, N) of `query` (R, Q) over `memory` (B, N, C).

        `mask` (B, N) is True where there is something to attend to; a row without any gets weights of zero.
        """
        z = self.scores(query, keys)
        if mask is not None:
            mask = mask.repeat_interleave(len(query) // len(memory), 0)
            z = z.masked_fill(~mask, torch.finfo(z.dtype).min)
        weights = z.softmax(-1)
        if mask is not None:
            weights = weights * mask
        return weighted(weights, memory), weights


def weighted(weights: Tensor, memory: Tensor) -> Tensor:
    """Sums (R, C) of `memory` (B, N, C) under `weights` (R, N)."""
    shared = weights.view(len(memory), -1, weights.shape[-1])  # (B, K, N)
    return (shared @ memory.to(weights.dtype)).flatten(0, 1)
