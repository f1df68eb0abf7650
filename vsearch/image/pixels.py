"""The only resize and the only normalisation: training, indexing and search see pictures through these.

Shapes: B batch, S side of the square the encoder takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vsearch.config import PreprocessConfig
from vsearch.image.decode import decode

if TYPE_CHECKING:
    from torch import Tensor


# Just low enough for a photo of 12 megapixels (4000 x 3000) to be decoded at an eighth of its sides where the model
# takes 192 pixels, a fifth faster than at a quarter. Its vector stays within 0.9998 (cosine) of all pixels'.
DETAIL = 1.9

# Mean and deviation of each channel (0 to 1) that pretrained networks were trained with: torchvision's, and those of
# TensorFlow's ResNets, which take 0 to 255 less the means.
NORMALISATIONS = {
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tensorflow": ((123.68 / 255, 116.78 / 255, 103.94 / 255), (1 / 255, 1 / 255, 1 / 255)),
}


def read_pixels(path: str | os.PathLike[str] | BinaryIO, side: int) -> NDArray[np.uint8]:
    """Read the picture in a file (or an open binary file) as the model sees it, uint8 (S, S, 3); raises PictureError.

    JPEG is decoded at the smallest scale of its format that leaves both sides at least DETAIL * S long.
    """
    return to_pixels(decode(path, at_least=round(DETAIL * side)), side)


def to_pixels(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Squash an RGB picture to a square, whatever its shape: uint8 (S, S, 3), 0 to 255, a fresh array.

    Bilinear with antialiasing over the whole support (Pillow's), so that shrinking does not alias.
    """
    if image.mode != "RGB":
        raise ValueError(f"to_pixels takes an RGB picture, not {image.mode}")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.array(image, dtype=np.uint8)  # (S, S, 3)


def normalise(pixels: Tensor, config: PreprocessConfig) -> Tensor:
    """Turn pixels uint8 (B, S, S, 3), as they lie in memory, into what networks take: float32 (B, 3, S, S).

    Scaled to 0..1, less the mean, over the deviation, on the device of `pixels`; in memory the channels stay last.
    Raises ValueError for another dtype or shape.
    """
    import torch

    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"normalise takes uint8 (B, S, S, 3), not {pixels.dtype} {tuple(pixels.shape)}")
    scale = [1.0 / (255.0 * deviation) for deviation in config.std]
    shift = [-mean / deviation for mean, deviation in zip(config.mean, config.std, strict=True)]
    factor = torch.tensor(scale, device=pixels.device).view(1, 3, 1, 1)
    offset = torch.tensor(shift, device=pixels.device).view(1, 3, 1, 1)
    return channels_first(pixels).to(torch.float32) * factor + offset  # (B, 3, S, S)


def channels_first(pixels: Tensor) -> Tensor:
    """Turn pixels (B, S, S, 3), as they lie in memory, into (B, 3, S, S), as networks take them, without a copy."""
    return pixels.permute(0, 3, 1, 2)
