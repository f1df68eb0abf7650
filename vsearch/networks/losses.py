"""The losses that place pictures among words: cosine, hinge rank, contrastive.

Shapes: B batch, D word-vector size, K labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cosine_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - cos over the batch; both (B, D), of any length."""
    predicted, target = predicted.float(), target.float()
    lengths = torch.linalg.vector_norm(predicted, dim=-1) * torch.linalg.vector_norm(target, dim=-1)
    cosine: Tensor = (predicted * target).sum(-1) / lengths.clamp_min(1e-8)  # (B,)
    return 1 - cosine.mean()


def hinge_rank_loss(predicted: Tensor, label: Tensor, vectors: Tensor, margin: float = 0.1) -> Tensor:
    """Compute Frome et al. eq. 1: the sum over wrong labels j of max(0, margin - t_label . v + t_j . v), mean over the
    batch.

    `predicted` (B, D) unit, `label` (B,) row of the right label in `vectors` (K, D) unit. With a batch of captions,
    `label` is 0 to B - 1 and `vectors` the batch's own targets.
    """
    similarity = predicted.float() @ vectors.float().T  # (B, K)
    right = similarity.gather(1, label[:, None])  # (B, 1)
    loss = (margin - right + similarity).clamp_min(0).scatter(1, label[:, None], 0.0)
    return loss.sum(1).mean()


def contrastive_loss(predicted: Tensor, target: Tensor, scale: Tensor | float, group: Tensor | None = None) -> Tensor:
    """Return the symmetric cross-entropy over the batch: each picture must find its target, each target its picture.

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


def captions_loss(
    predicted: Tensor, target: Tensor, owner: Tensor, scale: Tensor | float, to_text: float = 0.5
) -> Tensor:
    """Cross-entropy over a batch with several captions of each picture: a picture must find its own among all captions,
    each of them alike (Khosla et al. 2020, eq. 2), and each caption its picture.

    `predicted` (B, D) and `target` (M, D) unit; `owner` (M,) row of each caption's picture; `to_text`: the share of the
    first of the two.
    """
    logits = predicted.float() @ target.float().T * scale  # (B, M)
    own = owner[None, :] == torch.arange(len(logits), device=logits.device)[:, None]
    found = F.cross_entropy(logits, own / own.sum(1, keepdim=True))
    return to_text * found + (1 - to_text) * F.cross_entropy(logits.T, owner)


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
