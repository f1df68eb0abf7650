"""What people wrote into a picture file: its XMP packet as it is, and titles, descriptions, keywords and stars of
EXIF and IPTC-IIM, as older programs write them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from PIL import ExifTags, Image, IptcImagePlugin

_RATING, _TITLE, _COMMENT, _KEYWORDS = 0x4746, 0x9C9B, 0x9C9C, 0x9C9E  # what Windows writes: stars, and UTF-16
_UTF8 = b"\x1b%G"  # how IPTC-IIM names its encoding
_BY_CAMERAS = re.compile(  # what cameras write of themselves into each picture
    r"(.*(digital|still) ?camera.*|samsung camera pictures|(sony|olympus) dsc|default|dcim\b.*|created with .*)", re.I
)


class Written(NamedTuple):
    """What is in a file: `packet` is its XMP; the other fields are of IPTC-IIM, else of EXIF, as they stand there."""

    packet: bytes | None = None
    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    rating: object = None


def written(image: Image.Image, exif: Mapping[int, object]) -> Written:
    """Return what is written in the head of an open picture; what is damaged counts as not there."""
    iptc = dict[tuple[int, int], list[str]]()
    with contextlib.suppress(Exception):  # Pillow raises nearly every kind of error on damaged files
        iptc = _iptc(image)
    description = _text(exif.get(ExifTags.Base.ImageDescription))
    if _BY_CAMERAS.fullmatch(description.strip()):
        description = ""
    packet = image.info.get("xmp")
    return Written(
        packet.encode() if isinstance(packet, str) else packet if isinstance(packet, bytes) else None,
        next(_kept(iptc.get((2, 5), [])), _wide(exif.get(_TITLE))),
        next(_kept([*iptc.get((2, 120), []), description]), _wide(exif.get(_COMMENT))),
        (*iptc.get((2, 25), []), *_kept(_wide(exif.get(_KEYWORDS)).split(";"))),
        exif.get(_RATING),
    )


def _iptc(image: Image.Image) -> dict[tuple[int, int], list[str]]:
    """Return the texts of IPTC-IIM by record and number."""
    found = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]  # any picture that was opened does
    utf8 = found.get((1, 90)) == _UTF8
    rows: dict[tuple[int, int], list[str]] = {}
    for key in ((2, 5), (2, 25), (2, 120)):
        values = found.get(key, [])
        rows[key] = [_bytes(value, utf8) for value in (values if isinstance(values, list) else [values])]
    return rows


def _bytes(value: bytes, utf8: bool) -> str:
    """Return a text whose encoding is not always named: UTF-8 if it can be, else Latin-1."""
    try:
        return value.decode("utf-8", "replace" if utf8 else "strict")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _text(value: object) -> str:
    """Return a text of EXIF, of which Pillow makes Latin-1 where most programs mean UTF-8."""
    if isinstance(value, str):
        with contextlib.suppress(UnicodeError):
            return value.encode("latin-1").decode("utf-8")
        return value
    return _bytes(value, False) if isinstance(value, bytes) else ""


def _wide(value: object) -> str:
    """Return a text in UTF-16, as Windows writes it."""
    data = bytes(value) if isinstance(value, tuple) else value
    return data.decode("utf-16-le", "replace").rstrip("\0") if isinstance(data, bytes) else ""


def _kept(texts: list[str]) -> Iterator[str]:
    return (text for text in texts if text.strip("\0 \t\r\n"))
