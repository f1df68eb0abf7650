"""The mark in every picture that is drawn: by it a later drawing knows what it may replace."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

_SOFTWARE = 0x0131  # the tag of EXIF for the program that made a picture
_NAME = "vsearch"


def exif() -> Image.Exif:
    """Return the EXIF data of a drawing: which program made it."""
    data = Image.Exif()
    data[_SOFTWARE] = _NAME
    return data


def is_drawing(path: Path) -> bool:
    """Tell whether a file is a picture that vsearch drew; one that cannot be read is none."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            return bool(image.getexif().get(_SOFTWARE) == _NAME)
    except Exception:  # Pillow's plugins raise nearly every kind of error on damaged files
        return False
