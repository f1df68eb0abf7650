"""Equals `torch.nn.Conv2d`: over small maps on a CPU, with the weights' gradient as one matrix product.

PyTorch's own routine (oneDNN) takes long where a map has few cells and many channels, as at the end of a network on
small pictures: a third of a training step and more. The product over windows laid out as rows (im2col: Chellapilla et
al. 2006) is several times as quick there.

Shapes: B batch, C and D channels in and out, H x W the map, O x P the map that comes out, K the kernel's side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELLS, CHANNELS = 64, 256  # the most cells that come out, and the fewest channels that go in, where the product pays


def quicken(module: nn.Module) -> nn.Module:
    """Exchange the convolutions in `module` that may meet small maps; weights, their names and all results stay."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and _fits(child):
                setattr(parent, name, _SmallMaps(child))
    return module


def _fits(layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.bias is None and layer.padding_mode == "zeros"
    return plain and layer.in_channels >= CHANNELS and layer.kernel_size != (1, 1) and layer.padding != "same"


class _SmallMaps(nn.Conv2d):
    def __init__(self, layer: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(layer.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        y: Tensor = _Convolution.apply(x, weight, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        """Map (B, C, H, W) and weight (D, C, K, K) of one type -> (B, D, O, P)."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        want_x, want_weight = ctx.needs_input_grad[:2]
        by_product = want_weight and dy.shape[2] * dy.shape[3] <= CELLS
        own = torch.ops.aten.convolution_backward(
            dy, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1,
            (want_x, want_weight and not by_product, False),
        )  # fmt: skip
        return own[0], weights_gradient(x, dy, weight, ctx.stride, ctx.padding) if by_product else own[1], None, None


def weights_gradient(
    x: Tensor, dy: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient (D, C, K, K) of a convolution's weight by its input (B, C, H, W) and its output's gradient
    (B, D, O, P)."""
    kernel = weight.shape[2:]
    cells = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))  # (B, H, W, C), padded
    windows = cells.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])  # (B, O, P, C, K, K)
    rows = windows[:, : dy.shape[2], : dy.shape[3]].permute(0, 1, 2, 4, 5, 3).reshape(-1, weight[0].numel())
    flat = dy.permute(0, 2, 3, 1).reshape(len(rows), -1)  # (B * O * P, D)
    return (flat.t() @ rows).view(len(weight), *kernel, -1).permute(0, 3, 1, 2)
