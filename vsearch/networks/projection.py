"""The gap between pictures and phrases, closed: a picture's vector as a mean of what captions mean.

A head that learned to place pictures among words leaves them in a part of the space of their own, where a decoder that
learned from captions without photos has never been. Projected onto captions, they lie where captions lie.

Shapes: B pictures, K centroids of captions, D word-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CaptionProjection(nn.Module):
    """The projection of DeCap (Li et al. 2023, eq. 4 and 5), over centroids of captions in place of all captions:

        project(v) = unit(sum over k of softmax(v . c / temperature)_k * c_k)

    The unit vectors c_k (K, D) are given by `start` and not trained; until then they are random.
    """

    centroids: Tensor

    def __init__(self, count: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("centroids", F.normalize(torch.randn(count, dim), dim=-1))

    @torch.no_grad()
    def start(self, centroids: Tensor) -> None:
        """Take the centroids (K, D) of captions, of any length but zero. Raises ValueError for another K or D."""
        if centroids.shape != self.centroids.shape:
            raise ValueError(f"this projection takes {tuple(self.centroids.shape)}, not {tuple(centroids.shape)}")
        self.centroids.copy_(F.normalize(centroids.float(), dim=-1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors (B, D) of length 1 -> unit vectors (B, D), float32 also under autocast."""
        with torch.autocast(vectors.device.type, enabled=False):
            shares = (vectors.float() @ self.centroids.T / self.temperature).softmax(-1)  # (B, K)
            return F.normalize(shares @ self.centroids, dim=-1)


def centroids(vectors: Tensor, count: int, rounds: int = 8, seed: int = 0) -> Tensor:
    """Return `count` unit vectors (K, D) that stand for unit `vectors` (M, D): k-means by cosine (Dhillon et al. 2001).

    A centroid that no vector is nearest to becomes one of the vectors. The same input gives the same output. Raises
    ValueError if there are fewer vectors than centroids.
    """
    if len(vectors) < count:
        raise ValueError(f"{count} centroids of {len(vectors)} vectors")
    draw = torch.Generator().manual_seed(seed)
    found = vectors[torch.randperm(len(vectors), generator=draw)[:count]].clone()
    for _ in range(rounds):
        nearest = torch.cat([(part @ found.T).argmax(1) for part in torch.split(vectors, 1024)])  # (M,)
        sums = torch.zeros_like(found).index_add_(0, nearest, vectors)
        empty = torch.bincount(nearest, minlength=count) == 0
        sums[empty] = vectors[torch.randint(len(vectors), (int(empty.sum()),), generator=draw)]
        found = F.normalize(sums, dim=-1)
    return found
