"""Equals `Conv2d` followed by `BatchNorm2d` in evaluation mode: folded into one, with fewer passes over memory."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


def folded(module: M) -> M:
    """Return a copy of `module`, in evaluation mode and without gradients, with every batch norm folded.

    Holds for networks that define a convolution right before its batch norm and run them so, as all of
    `vsearch.networks.encoder.BACKBONES` do.
    """
    fast = copy.deepcopy(module).eval().requires_grad_(False)
    _fold(fast)
    return fast


def _fold(module: nn.Module) -> None:
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if before is not None and isinstance(child, nn.BatchNorm2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        _fold(child)
        before = (name, child) if isinstance(child, nn.Conv2d) else None
