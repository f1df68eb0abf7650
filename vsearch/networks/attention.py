"""Attention of hypotheses over a memory: grid cells of a picture, or words of a source sentence.

The memory of a picture is shared by its K rows and never copied. Shapes: see `vsearch.networks`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from vsearch.errors import ConfigError
from vsearch.networks.kernels import PLAIN, Kernels

SCORINGS = ("additive", "tanh", "dot")


class Attention(nn.Module):
    """Scoring is additive, v . relu(W_k m + W_q q), or a scaled dot product, W_k m . W_q q / sqrt(A).

    "tanh" is additive with tanh for relu, as Bahdanau et al. 2015 and Lu et al. 2017 have it; the tutorial on Show,
    Attend and Tell has relu, which is some 30 times cheaper over (R, N, A) on a CPU.
    """

    def __init__(self, memory_size: int, query_size: int, hidden: int, scoring: str = "additive") -> None:
        super().__init__()
        if scoring not in SCORINGS:
            raise ConfigError(f"unknown attention scoring {scoring!r}", f"known: {', '.join(SCORINGS)}")
        self.scoring = scoring
        self.key = nn.Linear(memory_size, hidden)
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.score = None if scoring == "dot" else nn.Linear(hidden, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """Project the memory (B, N, C) to keys (B, N, A), once for all steps."""
        return cast(Tensor, self.key(memory))

    def energy(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Score projected keys and queries (..., A), which broadcast: (...)."""
        if self.score is None:
            return (keys * queries).sum(-1) / math.sqrt(keys.shape[-1])
        hidden = keys + queries
        return cast(Tensor, self.score(hidden.tanh_() if self.scoring == "tanh" else hidden.relu_()).squeeze(-1))

    def scores(self, query: Tensor, keys: Tensor, own: Tensor | None = None, kernels: Kernels = PLAIN) -> Tensor:
        """Return unnormalised scores (R, N) of `query` (R, Q) against `keys` (B, N, A).

        `own` (R, A) is one more key, of each row only (a sentinel): its score comes last, (R, N + 1).
        """
        q = kernels.linear(self.query, query)  # (R, A)
        z = kernels.scores(self, q, keys)
        return z if own is None else torch.cat([z, self.energy(own, q)[:, None]], dim=1)

    def forward(
        self, query: Tensor, memory: Tensor, keys: Tensor, mask: Tensor | None = None, kernels: Kernels = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """Return context (R, C) and weights (R, N) of `query` (R, Q) over `memory` (B, N, C).

        `mask` (B, N) is True where there is something to attend to; a row without any gets weights of zero.
        """
        z = self.scores(query, keys, kernels=kernels)
        if mask is not None:
            mask = mask.repeat_interleave(len(query) // len(memory), 0)
            z = z.masked_fill(~mask, torch.finfo(z.dtype).min)
        weights = z.softmax(-1)
        if mask is not None:
            weights = weights * mask
        return kernels.weighted(weights, memory), weights
