"""DeViSE: pooled features to a unit vector in word-vector space, and the losses that train it.

Frome et al. 2013, "DeViSE: A Deep Visual-Semantic Embedding Model". Shapes: B batch, C channels, D word-vector size,
K labels.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.config import DeviseConfig


class _QuickDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: int) -> Tensor:
        eights = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = eights.view(torch.uint8)[: x.numel()].view(x.shape) >= cut
        ctx.scale = 256 / (256 - cut)
        ctx.mark_dirty(x)
        x.relu_().mul_(keep.to(x.dtype)).mul_(ctx.scale)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], out, 0).mul_(ctx.scale), None


def quick_dropout(x: Tensor, cut: int) -> Tensor:
    """ReLU, then dropout of `cut` / 256 of the values, in place; what is kept is scaled by 256 / (256 - cut).

    For a CPU, where torch's own dropout takes as long as the matrix product before it: the mask is made of random
    bytes, eight at a time, and nothing but the result is kept for the gradient.
    """
    return cast(Tensor, _QuickDropout.apply(x, cut))  # type: ignore[no-untyped-call]


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


def cosine_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos over the batch; both (B, D), of any length."""
    predicted, target = predicted.float(), target.float()
    lengths = torch.linalg.vector_norm(predicted, dim=-1) * torch.linalg.vector_norm(target, dim=-1)
    cosine: Tensor = (predicted * target).sum(-1) / lengths.clamp_min(1e-8)  # (B,)
    return 1 - cosine.mean()


def hinge_rank_loss(predicted: Tensor, label: Tensor, vectors: Tensor, margin: float = 0.1) -> Tensor:
    """Frome et al. eq. 1: the sum over wrong labels j of max(0, margin - t_label . v + t_j . v), mean over the batch.

    `predicted` (B, D) unit, `label` (B,) row of the right label in `vectors` (K, D) unit. With a batch of captions,
    `label` is 0 to B - 1 and `vectors` the batch's own targets.
    """
    similarity = predicted.float() @ vectors.float().T  # (B, K)
    right = similarity.gather(1, label[:, None])  # (B, 1)
    loss = (margin - right + similarity).clamp_min(0).scatter(1, label[:, None], 0.0)
    return loss.sum(1).mean()


def contrastive_loss(predicted: Tensor, target: Tensor, scale: Tensor | float, group: Tensor | None = None) -> Tensor:
    """Symmetric cross-entropy over the batch: each picture must find its target, each target its picture.

    `predicted`, `target` (B, D) unit; logits are cosines times `scale`. Rows with equal `group` (B,) are no negatives
    of each other (captions of one picture, pictures of one class).
    """
    logits = predicted.float() @ target.float().T * scale  # (B, B)
    if group is not None:
        same = group[:, None] == group[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    label = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2


class Contrastive(nn.Module):
    """`contrastive_loss` with a learned temperature, which starts at `temperature` and stays at 0.01 or above."""

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.clamp(max=math.log(100)).exp()

    def forward(self, predicted: Tensor, target: Tensor, group: Tensor | None = None) -> Tensor:
        return contrastive_loss(predicted, target, self.scale, group)
