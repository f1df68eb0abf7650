"""Equals `Decoder.forward` and `DeviseHead.forward` in training: what is slow there on a CPU is exchanged."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn

from vsearch.networks.decoder import Decoder
from vsearch.networks.devise import DeviseHead
from vsearch.networks.fast.dropout import QuickDropout
from vsearch.networks.fast.step_gradients import teaching_kernels

M = TypeVar("M", bound=nn.Module)


def speed_up(module: M) -> M:
    """Have the decoders and heads in `module` train faster, in place; weights, their names and all results stay.

    Dropout draws other random numbers than the plain head's. A module that is trained fast already stays as it is.
    """
    for part in module.modules():
        if isinstance(part, Decoder):
            part.teaching = teaching_kernels
        elif isinstance(part, DeviseHead):
            _without_relu(part.layers)
    return module


def _without_relu(layers: nn.Sequential) -> None:
    """Exchange each ReLU right before a dropout; the layers behind keep their numbers."""
    for n, (first, second) in enumerate(pairwise(list(layers))):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.Dropout):
            layers[n], layers[n + 1] = QuickDropout(second.p), nn.Identity()
