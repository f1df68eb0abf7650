"""Phrases in torch: the same sum as in `vsearch.text.phrase`, whose words, weights and mean can be trained.

Shapes: B phrases, L words of the longest, W words of the table, D word-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PhraseEncoder(nn.Module):
    """Rows of words (B, L), -1 where a phrase is shorter -> unit vectors (B, D).

    A word is unit((v + shift) M), where only words of the dictionary are shifted, and all share the map M. With `blend`
    b its singular or plural v' has a share: unit(((1 - b) (v + shift) + b (v' + shift')) M). A phrase is the sum of
    weight * exp(log_factor) * (word - mean), at length 1. As it starts (no shift, M the identity, factor 1, no blend)
    that is the phrase of `vsearch.text.phrase`. The map moves words that no caption has along with those of the
    captions. `training.assemble.words.tuned_space` writes the outcome as a fastText file again.
    """

    vectors: Tensor
    weights: Tensor
    known: Tensor
    partner: Tensor
    blend: Tensor

    def __init__(
        self, vectors: Tensor, weights: Tensor, known: Tensor, mean: Tensor, shared: int = 0,
        partner: Tensor | None = None, blend: float = 0.0,
    ) -> None:  # fmt: skip
        """Take vectors (W, D) of length 1 or 0, weights (W,), known (W,) bool, mean (D,), and partner (W,).

        partner: the row of a word's singular or plural, its own where it has neither; None: of all.

        The last `shared` words have nothing of their own to train: they move only with the map and the mean.
        """
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("weights", weights * vectors.any(1), persistent=False)  # a word without a vector: 0
        self.register_buffer("known", known.to(vectors.dtype)[:, None], persistent=False)
        self.register_buffer("partner", torch.arange(len(vectors)) if partner is None else partner, persistent=False)
        self.blended = blend > 0
        self.register_buffer("blend", torch.tensor(blend), persistent=self.blended)
        own = len(vectors) - shared
        self.shared = shared
        self.shift = nn.Parameter(torch.zeros_like(vectors[:own]))
        self.log_factor = nn.Parameter(torch.zeros_like(weights[:own]))
        self.map = nn.Parameter(torch.eye(vectors.shape[1]))
        self.mean = nn.Parameter(mean.clone())

    def words(self, rows: Tensor) -> Tensor:
        """Return unit vectors of the words in `rows` (U,): (U, D)."""
        moved = self._moved(rows)
        if self.blended:
            moved = torch.lerp(moved, self._moved(self.partner[rows]), self.blend)
        return F.normalize(moved @ self.map, dim=-1)  # (U, D)

    def _moved(self, rows: Tensor) -> Tensor:
        own = (rows < len(self.shift))[:, None] * self.known[rows]  # (U, 1)
        return self.vectors[rows] + self.shift[rows.clamp_max(len(self.shift) - 1)] * own  # no copy of the whole table

    def forward(self, phrases: Tensor) -> Tensor:
        there = phrases >= 0
        used, place = torch.unique(phrases[there], return_inverse=True)  # (U,), (T,) of all T words
        factor = F.pad(self.log_factor, (0, self.shared))[used].exp()  # (U,)
        weight = (self.weights[used] * factor)[place]  # (T,)
        count = there.sum(1)
        centred = self.words(used) - self.mean  # (U, D)
        total = F.embedding_bag(place, centred, count.cumsum(0) - count, mode="sum", per_sample_weights=weight)
        return F.normalize(total.float(), dim=-1)  # (B, D)
