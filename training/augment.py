"""Augmentation of a whole batch with tensor operations."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vsearch.config import PreprocessConfig


def augment(
    pictures: NDArray[np.uint8], side: int, preprocess: PreprocessConfig, rng: np.random.Generator | None,
    smallest: float = 0.6, flip: bool = True, jitter: float = 0.3,
) -> Tensor:  # fmt: skip
    """Pictures (B, H, W, 3) -> normalised (B, 3, side, side) float32.

    The batch shares one crop box (`smallest` to 1 of the area); flips and the jitter of brightness, contrast and
    saturation differ from picture to picture. Without `rng` the pictures are resized and normalised only.
    """
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (B, 3, H, W)
    if rng is not None:
        x = _crop(x, rng, smallest)
    x = x.float()
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=x.shape[2] > side)
    if rng is not None:
        if flip:
            flipped = torch.from_numpy(rng.random(len(x)) < 0.5)
            x[flipped] = x[flipped].flip(3)
        x = _jitter(x, rng, jitter)
    mean = torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255
    return (x - mean) / std


def _crop(x: Tensor, rng: np.random.Generator, smallest: float) -> Tensor:
    height, width = x.shape[2:]
    area, ratio = rng.uniform(smallest, 1), math.exp(rng.uniform(-0.15, 0.15))
    h = min(height, round(height * math.sqrt(area / ratio)))
    w = min(width, round(width * math.sqrt(area * ratio)))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return x[:, :, top : top + h, left : left + w]


def _jitter(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """x * brightness, then towards its mean by contrast, then towards grey by saturation; values 0 to 255."""
    if not strength:
        return x
    draw = 1 + strength * torch.from_numpy(rng.uniform(-1, 1, (3, len(x), 1, 1, 1))).float()
    brightness, contrast, saturation = draw
    x = x * brightness
    mean = x.mean((1, 2, 3), keepdim=True)
    x = torch.lerp(mean, x, contrast)
    grey = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return torch.lerp(grey, x, saturation).clamp_(0, 255)
