"""Pictures made ready for the prepared file, several at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vsearch.ahead import ahead
from vsearch.errors import PictureError
from vsearch.image.decode import decode
from vsearch.image.pixels import to_pixels

KEEP_BELOW = 256  # pixels; an encoded picture no larger than this is stored as it is
KEPT = (b"\xff\xd8", b"\x89PNG", b"RIFF")  # first bytes of JPEG, PNG, WebP
T = TypeVar("T")
R = TypeVar("R")


def encode_picture(source: Path | bytes, side: int) -> bytes:
    """Encode the picture as JPEG bytes, squashed to side x side; a JPEG, PNG or WebP of at most KEEP_BELOW pixels as it
    is.

    Raises PictureError if the file, or its content, is no picture.
    """
    file = source if isinstance(source, Path) else io.BytesIO(source)
    picture = decode(file, at_least=max(side, KEEP_BELOW + 1))  # not so small that a large one would pass for small
    if max(picture.size) <= KEEP_BELOW:
        data = source if isinstance(source, bytes) else source.read_bytes()
        if data.startswith(KEPT):
            return data
    buffer = io.BytesIO()
    picture.resize((side, side)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def raw_picture(path: Path, side: int) -> bytes:
    """Squash the picture to side x side: the bytes of uint8 (3, S, S). Raises PictureError."""
    return to_pixels(decode(path, at_least=side), side).transpose(2, 0, 1).tobytes()


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | PictureError]]:
    """Yield every item, in order, with what `function` makes of it in threads, or the PictureError that it raised.

    Only a few results wait at any moment, so memory does not grow with the number of items.
    """

    def attempt(item: T) -> tuple[T, R | PictureError]:
        try:
            return item, function(item)
        except PictureError as error:
            return item, error

    threads = os.cpu_count() or 1
    return ahead(attempt, items, threads, 4 * threads)
