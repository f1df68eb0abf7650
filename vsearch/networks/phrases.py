"""Phrases in torch: the same sum as in `vsearch.text.phrase`, whose words, weights and mean can be trained.

Shapes: B phrases, L words of the longest, W words of the table, D word-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PhraseEncoder(nn.Module):
    """Rows of words (B, L), -1 where a phrase is shorter -> unit vectors (B, D).

    A word is unit((v + shift) M), where only words of the dictionary are shifted, and all share the map M; a phrase is
    the sum of weight * exp(log_factor) * (word - mean), at length 1. As it starts (no shift, M the identity, factor 1)
    that is the phrase of `vsearch.text.phrase`. The map moves words that no caption has along with those of the
    captions. `training.assemble.words.tuned_space` writes the outcome as a fastText file again.
    """

    vectors: Tensor
    weights: Tensor
    known: Tensor

    def __init__(self, vectors: Tensor, weights: Tensor, known: Tensor, mean: Tensor, shared: int = 0) -> None:
        """Take vectors (W, D) of length 1 or 0, weights (W,), known (W,) bool, mean (D,).

        The last `shared` words have nothing of their own to train: they move only with the map and the mean.
        """
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("known", known.to(vectors.dtype)[:, None], persistent=False)
        own = len(vectors) - shared
        self.shared = shared
        self.shift = nn.Parameter(torch.zeros_like(vectors[:own]))
        self.log_factor = nn.Parameter(torch.zeros_like(weights[:own]))
        self.map = nn.Parameter(torch.eye(vectors.shape[1]))
        self.mean = nn.Parameter(mean.clone())

    def words(self, rows: Tensor) -> Tensor:
        """Return unit vectors of the words in `rows` (U,): (U, D)."""
        shift = F.pad(self.shift, (0, 0, 0, self.shared))  # (W, D)
        moved = self.vectors[rows] + shift[rows] * self.known[rows]
        return F.normalize(moved @ self.map, dim=-1)  # (U, D)

    def forward(self, phrases: Tensor) -> Tensor:
        there = phrases >= 0
        used, place = torch.unique(phrases.clamp_min(0), return_inverse=True)  # (U,), (B, L)
        factor = F.pad(self.log_factor, (0, self.shared)).exp()  # (W,)
        weight = (self.weights * factor * self.vectors.any(1))[phrases.clamp_min(0)] * there  # (B, L)
        bags = weight.new_zeros(len(phrases), len(used)).scatter_add(1, place, weight)  # (B, U)
        total = bags @ self.words(used) - weight.sum(1, keepdim=True) * self.mean
        return F.normalize(total.float(), dim=-1)  # (B, D)
