"""Equals `Encoder` behind `normalise`: a copy with batch norm folded, in bfloat16 where that is quick.

Shapes: B batch, S side in pixels, N grid cells, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vsearch.config import PreprocessConfig
from vsearch.image.pixels import normalise
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.batchnorm import folded

EncodePixels = Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 (B, S, S, 3) -> grid (B, N, C), pool (B, C)


def quick_encoder(encoder: Encoder, preprocess: PreprocessConfig, half: bool) -> EncodePixels:
    """Return a copy of `encoder` behind the normalisation: batch norm folded, channels last, in bfloat16 where
    `half`."""
    fast = folded(encoder)
    if half:
        fast.bfloat16()
    fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = next(fast.parameters()).dtype

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        images = normalise(pixels, preprocess).to(dtype, memory_format=torch.channels_last)
        grid, pool = fast(images)
        return grid, pool

    return encode
