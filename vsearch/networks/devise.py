"""DeViSE: pooled features to a unit vector in word-vector space, and the losses that train it.

Frome et al. 2013, "DeViSE: A Deep Visual-Semantic Embedding Model". Shapes: B batch, C channels, D word-vector size,
K labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.config import DeviseConfig
from vsearch.networks.fast.dropout import quick_dropout


class DeviseHead(nn.Module):
    """Linear, ReLU, dropout, linear: pooled features (B, C) -> unit vectors (B, D), float32."""

    def __init__(self, config: DeviseConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Linear(channels, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.dim),
        )

    def forward(self, pool: Tensor) -> Tensor:
        cut = round(self.config.dropout * 256)  # the probability, to a multiple of 1/256
        if self.training and 0 < cut < 256 and pool.device.type == "cpu" and not torch.compiler.is_compiling():
            out = self.layers[3](quick_dropout(self.layers[0](pool), cut))
        else:
            out = self.layers(pool)
        return F.normalize(out.float(), dim=-1)  # (B, D)
