"""Equals ReLU followed by `torch.nn.Dropout`, faster on a CPU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


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
