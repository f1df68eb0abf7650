"""DeViSE: pooled features to a unit vector in word-vector space, and the losses that train it.

Frome et al. 2013, "DeViSE: A Deep Visual-Semantic Embedding Model". Shapes: B batch, C channels, D word-vector size,
K labels, or classes of a classifier.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.config import DeviseConfig


class ClassBranch(nn.Module):
    """What a pretrained classifier sees in a picture, as a place among words (ConSE, Norouzi et al. 2014, learned on):

        exp(log_gate) * sum over classes k of softmax((W pool + b) / T)_k * (c_k M + d_k),  T = exp(log_temperature)

    W and b are the classifier's, `vectors` c_k (K, D) the word vectors of its class names; both are given by `start`
    and not trained. Gate, temperature T, map M (D, D) and shifts d_k (K, D) are.
    """

    vectors: Tensor

    def __init__(self, channels: int, classes: int, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, classes).requires_grad_(False)
        self.register_buffer("vectors", F.normalize(torch.randn(classes, dim), dim=-1))
        self.map = nn.Parameter(torch.eye(dim))
        self.shift = nn.Parameter(torch.zeros(classes, dim))
        self.log_gate = nn.Parameter(torch.tensor(math.log(3.0)))
        self.log_temperature = nn.Parameter(torch.tensor(0.0))

    @torch.no_grad()
    def start(self, weight: Tensor, bias: Tensor, vectors: Tensor) -> None:
        """Take a classifier's weight (K, C) and bias (K,), and the unit vectors (K, D) of its classes' names."""
        for own, given in ((self.classifier.weight, weight), (self.classifier.bias, bias), (self.vectors, vectors)):
            if own.shape != given.shape:
                raise ValueError(f"this branch takes {tuple(own.shape)}, not {tuple(given.shape)}")
            own.copy_(given)

    def places(self) -> Tensor:
        """Return where a picture that shows one class and nothing else is drawn to, by class: (K, D)."""
        return (self.vectors @ self.map + self.shift) * self.log_gate.exp()

    def forward(self, pool: Tensor) -> Tensor:
        logits: Tensor = self.classifier(pool).float() / self.log_temperature.exp()
        return logits.softmax(-1) @ self.places()  # (B, D)


class DeviseHead(nn.Module):
    """Pooled features (B, C) -> unit vectors (B, D), float32: linear, ReLU, dropout, linear, at length 1.

    With `config.classes`, what `ClassBranch` says is added before that: the layers learn what captions speak of, the
    branch keeps what the classifier knows and no caption has.
    """

    def __init__(self, config: DeviseConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Linear(channels, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.dim),
        )
        self.branch = ClassBranch(channels, config.classes, config.dim) if config.classes else None

    def forward(self, pool: Tensor) -> Tensor:
        out: Tensor = self.layers(pool)
        if self.branch is not None:
            out = out.float() + self.branch(pool)
        return F.normalize(out.float(), dim=-1)  # (B, D)
