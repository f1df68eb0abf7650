"""Augmentation of a whole batch with tensor operations."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vsearch.config import PreprocessConfig
from vsearch.device import moved
from vsearch.image.pixels import channels_first

CPU = torch.device("cpu")


def augment(
    pictures: NDArray[np.uint8], side: int, preprocess: PreprocessConfig, rng: np.random.Generator | None,
    smallest: float = 0.6, flip: bool = True, jitter: float = 0.3, device: torch.device = CPU,
) -> Tensor:  # fmt: skip
    """Augment pictures (B, H, W, 3) -> normalised (B, 3, side, side) float32 on `device`, where all is computed.

    The batch shares one crop box (`smallest` to 1 of the area); flips and the jitter of brightness, contrast and
    saturation (by up to `jitter`) differ from picture to picture. Without `rng` the pictures are resized and normalised
    only. In memory the channels come last. Normalisation is one product with the jitter's matrix; `pixels.normalise`,
    which multiplies by 1 / (255 std), differs from it in the last bit.
    """
    x = channels_first(moved(torch.from_numpy(pictures), device))  # (B, 3, H, W), channels last
    if rng is not None:
        x = _crop(x, rng, smallest)
    if x.shape[2:] != (side, side):
        x = x if device.type == "cpu" else x.float()  # elsewhere there are no bytes' weighted means
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    if rng is not None and flip:
        flipped = torch.from_numpy(rng.random(len(x)) < 0.5).to(device)
        x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(3), x)
    mean, std = (torch.tensor(v, device=device) * 255 for v in (preprocess.mean, preprocess.std))
    flat = x.permute(0, 2, 3, 1).flatten(1, 2).float()  # (B, H * W, 3)
    if rng is not None and jitter:
        matrix, shift = _jitter(flat, rng, jitter)
        flat = torch.baddbmm((shift - mean) / std, flat, matrix / std)
        flat.clamp_(-mean / std, (255 - mean) / std)
    else:
        flat = (flat - mean) / std
    return channels_first(flat.view(-1, side, side, 3))


def _crop(x: Tensor, rng: np.random.Generator, smallest: float) -> Tensor:
    height, width = x.shape[2:]
    area, ratio = rng.uniform(smallest, 1), math.exp(rng.uniform(-0.15, 0.15))
    h = min(height, round(height * math.sqrt(area / ratio)))
    w = min(width, round(width * math.sqrt(area * ratio)))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    return x[:, :, top : top + h, left : left + w]


def _jitter(x: Tensor, rng: np.random.Generator, strength: float) -> tuple[Tensor, Tensor]:
    """Return colours x (B, N, 3) times brightness, then towards the picture's mean by contrast, then towards grey by
    saturation: as one linear map of colours, matrix (B, 3, 3) and shift (B, 1, 3), x becoming x @ matrix + shift."""
    draw = 1 + strength * torch.from_numpy(rng.uniform(-1, 1, (3, len(x), 1, 1))).float()
    brightness, contrast, saturation = draw.to(x.device)
    grey = torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None].expand(3, 3)
    matrix = brightness * contrast * torch.lerp(grey, torch.eye(3, device=x.device), saturation)
    return matrix, brightness * (1 - contrast) * x.mean((1, 2), keepdim=True)
