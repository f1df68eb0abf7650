"""Equals `torch.nn.ReLU` followed by `torch.nn.Dropout`, faster on a CPU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuickDropout(nn.Module):
    """ReLU and dropout with probability `p`, which on a CPU is taken to a multiple of 1/256."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return values (...) -> (...); those of `x` are overwritten."""
        cut = round(self.p * 256)
        if self.training and 0 < cut < 256 and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return quick_dropout(x, cut)
        return F.dropout(F.relu(x), self.p, self.training)


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
    """Apply ReLU, then dropout of `cut` / 256 of the values, in place; what is kept is scaled by 256 / (256 - cut).

    For a CPU, where torch's own dropout takes as long as the matrix product before it: the mask is made of random
    bytes, eight at a time, and nothing but the result is kept for the gradient.
    """
    return cast(Tensor, _QuickDropout.apply(x, cut))  # type: ignore[no-untyped-call]
