"""Attention of hypotheses over a memory: grid cells of a picture, or words of a source sentence.

Shapes: B pictures, R = B * K rows (K hypotheses of each picture, adjacent), N cells, C channels, A attention size.
The memory of a picture is shared by its K rows and never copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from vsearch.errors import ConfigError
from vsearch.networks.fast.step_gradients import StepLinear, StepMemory

SCORINGS = ("additive", "tanh", "dot")
BLOCK = 1 << 19  # values that a CPU works on at once


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
        self.query = StepLinear(query_size, hidden, bias=False)
        self.score = None if scoring == "dot" else nn.Linear(hidden, 1, bias=False)
        self._taught: StepMemory | None = None

    def keys(self, memory: Tensor) -> Tensor:
        """The memory (B, N, C) as keys (B, N, A); project once, use in every step."""
        return cast(Tensor, self.key(memory))

    def scores(self, query: Tensor, keys: Tensor, own: Tensor | None = None) -> Tensor:
        """Unnormalised scores (R, N) of `query` (R, Q) against `keys` (B, N, A).

        `own` (R, A) is one more key that belongs to each row alone (a sentinel): its score comes last, (R, N + 1).
        """
        q = self.query(query)  # (R, A)
        if self._taught is not None:
            z = self._taught.scores(q)
        else:
            z = self._shared(keys, q.view(len(keys), -1, 1, keys.shape[-1])).flatten(0, 1)  # (R, N)
        last = None if own is None else self._of(own, q)[:, None]
        return z if last is None else torch.cat([z, last], dim=1)

    def _shared(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Keys (B, N, A) and queries (B, K, 1, A) -> scores (B, K, N).

        Where no gradient is taken, a CPU goes through few pictures at a time: what stands between, (K, N, A) for each,
        then never leaves its cache, which doubles the speed.
        """
        each = keys.shape[1] * queries[:1].numel()
        some = len(keys) if torch.is_grad_enabled() or not keys.is_cpu or self.score is None else max(1, BLOCK // each)
        if some >= len(keys):
            return self._of(keys[:, None], queries)
        parts = zip(torch.split(keys[:, None], some), torch.split(queries, some), strict=True)
        return torch.cat([self._of(k, q) for k, q in parts])

    def _of(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Keys and queries (..., A) that broadcast -> scores (...)."""
        if self.score is None:
            return (keys * queries).sum(-1) / math.sqrt(keys.shape[-1])
        hidden = keys + queries
        return cast(Tensor, self.score(hidden.tanh_() if self.scoring == "tanh" else hidden.relu_()).squeeze(-1))

    @contextmanager
    def teaching(self, keys: Tensor, memory: Tensor) -> Iterator[None]:
        """While it lasts, queries are of the first rows of `keys` (R, N, A) and `memory` (R, N, C), one each, and
        gradients to both are collected over the steps. No effect where no gradient is taken, or scoring is another.
        """
        if self.scoring == "additive" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            assert self.score is not None
            self._taught = StepMemory(keys, memory, self.score.weight[0])
        try:
            yield
        finally:
            self._taught = None

    def weighted(self, weights: Tensor, memory: Tensor) -> Tensor:
        """Sums (R, C) of `memory` (B, N, C) under `weights` (R, N)."""
        return weighted(weights, memory) if self._taught is None else self._taught.weighted(weights)

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
        return self.weighted(weights, memory), weights


def weighted(weights: Tensor, memory: Tensor) -> Tensor:
    """Sums (R, C) of `memory` (B, N, C) under `weights` (R, N)."""
    shared = weights.view(len(memory), -1, weights.shape[-1])  # (B, K, N)
    return (shared @ memory.to(weights.dtype)).flatten(0, 1)
