"""Equals `networks.kernels.Kernels`: a few pictures at a time, and numbers of rows that come again, for a CPU.

Shapes: see `vsearch.networks`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vsearch.networks.kernels import Kernels, Scoring

BLOCK = 1 << 19  # values that a CPU works on at once
ROWS = 128  # what numbers of words are rounded up to


class CpuKernels(Kernels):
    """The plain operations, cut and padded to sizes that a CPU is quick at."""

    def scores(self, attention: Scoring, query: Tensor, keys: Tensor) -> Tensor:
        """Score as `Kernels.scores`, without a gradient for few pictures at a time.

        What stands between, (K, N, A) for each picture, then never leaves the CPU's cache, which doubles the speed.
        """
        queries = query.view(len(keys), -1, 1, keys.shape[-1])  # (B, K, 1, A)
        each = keys.shape[1] * queries[:1].numel()
        whole = torch.is_grad_enabled() or not keys.is_cpu or attention.score is None
        count = len(keys) if whole else max(1, BLOCK // each)
        if count >= len(keys):
            return attention.energy(keys[:, None], queries).flatten(0, 1)
        parts = zip(torch.split(keys[:, None], count), torch.split(queries, count), strict=True)
        return torch.cat([attention.energy(k, q) for k, q in parts]).flatten(0, 1)

    def rows(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Apply `function` to `rows` (P, ...) padded by `evened`, and cut its result."""
        return function(evened(rows))[: len(rows)]


def evened(rows: Tensor) -> Tensor:
    """Return `rows` (P, ...) with rows of zeros behind them, up to a multiple of ROWS.

    Batches have other numbers of words each. oneDNN builds each product again for a shape that it has not met, which
    may take longer than to multiply, and keeps what it built.
    """
    missing = -len(rows) % ROWS
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows
