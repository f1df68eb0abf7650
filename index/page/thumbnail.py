"""Small copies of pictures, as the pages show them."""

from __future__ import annotations

import io

from PIL import Image

from vsearch.errors import PictureError
from vsearch.image.decode import decode

QUALITY = 82


def small(path: str, size: int) -> Image.Image:
    """Return the picture in a file, upright, at most `size` pixels a side; never enlarged. Raises PictureError."""
    picture = decode(path, at_least=size)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def jpeg(picture: Image.Image, quality: int = QUALITY) -> bytes:
    """Return a picture as a JPEG with nothing but its pixels: no EXIF, no profile, no comment. Raises PictureError."""
    picture.info = {}
    out = io.BytesIO()
    try:
        picture.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
    except (OSError, ValueError) as error:  # a side above 65,535 pixels
        raise PictureError(f"cannot be shown ({error})") from None
    return out.getvalue()
