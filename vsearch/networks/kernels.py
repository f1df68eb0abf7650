"""What a decoder computes in every step, done plainly; `networks.fast` does the same, faster.

Shapes: see `vsearch.networks`; I and O are the sizes of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from torch import Tensor, nn


class Scoring(Protocol):
    """What the kernels need of an attention: how it scores, and its layer from hidden size to score, if it has one."""

    score: nn.Linear | None

    def energy(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Score projected keys and queries (..., A), which broadcast: (...)."""
        ...


class Kernels:
    """The operations of a step as the papers have them. A decoder's state carries the ones to use."""

    def linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Apply a layer that takes part in every step: (R, I) -> (R, O)."""
        return cast(Tensor, layer(x))

    def scores(self, attention: Scoring, query: Tensor, keys: Tensor) -> Tensor:
        """Score projected queries (R, A) against the keys (B, N, A) of their pictures: (R, N)."""
        return attention.energy(keys[:, None], query.view(len(keys), -1, 1, keys.shape[-1])).flatten(0, 1)

    def weighted(self, weights: Tensor, memory: Tensor) -> Tensor:
        """Sum `memory` (B, N, C) under `weights` (R, N): (R, C)."""
        shared = weights.view(len(memory), -1, weights.shape[-1])  # (B, K, N)
        return (shared @ memory.to(weights.dtype)).flatten(0, 1)

    def rows(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Apply `function` to the rows (P, ...) of all steps at once."""
        return function(rows)


PLAIN = Kernels()
