"""Attention over a picture: the picture once for each word of its caption, bright where the decoder looked.

Shapes: T words, R rows and C columns of grid cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsearch.drawing.mark import exif
from vsearch.errors import ModelError
from vsearch.image.decode import decode

if TYPE_CHECKING:
    from vsearch.model import Caption

Floats = NDArray[np.float32]
TILE, NARROWEST, LABEL, GAP, COLUMNS = 224, 120, 28, 8, 5  # pixels; tiles in a row
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (120, 120, 120)
DARKEST = 0.25  # what is left of the picture where there is no attention
GLOW = (255, 190, 60)


def draw_caption(photo: Path, caption: Caption, output: Path) -> None:
    """Draw where the model looked in a photo at each word of its caption, into `output`.

    Raises ModelError if the caption is of a model without attention, PictureError for a photo that cannot be read.
    """
    if caption.attention is None:
        raise ModelError("this model has no attention to draw", "use a model with a soft or adaptive decoder")
    draw(decode(photo), caption.words, caption.attention, caption.sentinel).save(output, exif=exif())


def draw(image: Image.Image, words: Sequence[str], attention: Floats, sentinel: Floats | None = None) -> Image.Image:
    """Draw one sheet: the picture itself, then once for each of the `words` with its `attention` (T, R, C) over it.

    The share of a visual `sentinel` (T,) is printed next to its word, in percent. Raises ValueError if there are not as
    many maps as words.
    """
    maps = np.asarray(attention, np.float32)
    if maps.ndim != 3 or len(maps) != len(words) or not maps.size:
        raise ValueError(f"attention {maps.shape} is not a map for each of {len(words)} words")
    tile = _fit(image.convert("RGB"))
    width, height = max(tile.width, NARROWEST) + GAP, tile.height + LABEL + GAP
    columns = min(COLUMNS, len(words) + 1)
    rows = math.ceil((len(words) + 1) / columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for i in range(len(words) + 1):
        x, y = GAP + i % columns * width, GAP + i // columns * height
        sheet.paste(tile if i == 0 else overlay(tile, maps[i - 1]), (x, y + LABEL))
        if i == 0:
            continue
        pen.text((x, y + 4), words[i - 1], INK, font)
        if sentinel is not None:
            text = f"{100 * sentinel[i - 1]:.0f} %"
            pen.text((x + width - GAP - pen.textlength(text, font), y + 4), text, FAINT, font)
    return sheet


def overlay(image: Image.Image, weights: Floats) -> Image.Image:
    """Return `image` with the map `weights` (R, C), at least 0, smoothly enlarged over it."""
    peak = float(weights.max())
    levels = np.zeros_like(weights) if peak <= 0 else weights / peak
    small = Image.fromarray(np.round(255 * levels).astype(np.uint8))
    mask = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC), np.float32)[..., None] / 255  # (H, W, 1)
    pixels = np.asarray(image, np.float32)
    lit = pixels * (DARKEST + (1 - DARKEST) * mask)
    lit += 0.25 * mask * (np.asarray(GLOW, np.float32) - lit)
    return Image.fromarray(np.round(lit).clip(0, 255).astype(np.uint8))


def _fit(image: Image.Image) -> Image.Image:
    """Return the picture scaled so that its longer side is one tile."""
    scale = TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
