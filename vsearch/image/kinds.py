"""Kinds of files by their endings, and the path of a moment in a video: `clip.mp4#t=12.5`.

What needs an optional package is named here without importing it.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

PLAIN = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
    + (".heic", ".heif", ".hif", ".avif")
)
RAW = frozenset(
    (".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw")
    + (".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f")
)
JPEG_XL = frozenset((".jxl",))
VIDEO = frozenset(
    (".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".ogv")
)


class Kind(NamedTuple):
    """Files that only an optional package reads: their endings, what people call them, the package, its extra."""

    suffixes: frozenset[str]
    noun: str
    module: str
    extra: str

    def readable(self) -> bool:
        """Tell whether the package is installed."""
        return importlib.util.find_spec(self.module) is not None


RAWS = Kind(RAW, "raw photo", "rawpy", "raw")
JPEG_XLS = Kind(JPEG_XL, "JPEG XL picture", "imagecodecs", "jxl")
VIDEOS = Kind(VIDEO, "video", "av", "video")
OPTIONAL = (RAWS, JPEG_XLS, VIDEOS)
BY_SUFFIX = {suffix: kind for kind in OPTIONAL for suffix in kind.suffixes}

LONGEST = 2_000  # frames of one video at most
_MARK = "#t="  # a media fragment, https://www.w3.org/TR/media-frags/
_ENDINGS = "|".join(suffix[1:] for suffix in sorted(VIDEO))
_MOMENT = re.compile(rf"(.+\.(?:{_ENDINGS}))#t=(\d{{1,8}}(?:\.\d{{1,3}})?)", re.IGNORECASE | re.DOTALL)


def suffix(path: str | os.PathLike[str]) -> str:
    """Return the ending of a path, in small letters, "" where it has none."""
    name = os.fspath(path)
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind(os.sep) else ""


def parse_moment(path: str) -> tuple[str, float | None]:
    """Return the file that a path leads to, and the seconds into a video that it names, None if it names none.

    >>> parse_moment("clip.mp4#t=12.5"), parse_moment("dog.jpg")
    (('clip.mp4', 12.5), ('dog.jpg', None))
    """
    found = _MOMENT.fullmatch(path) if _MARK in path else None
    return (path, None) if found is None else (found[1], float(found[2]))


def split_moment(path: str | os.PathLike[str]) -> tuple[str, float | None]:
    """Return the same of a path that somebody gave: a real file of such a name wins."""
    name = os.fspath(path)
    file, seconds = parse_moment(name)
    return (name, None) if seconds is not None and os.path.lexists(name) else (file, seconds)


def moment_path(video: str, seconds: float) -> str:
    """Return the path of a moment in a video, to the millisecond: `split_moment` takes it apart again."""
    return f"{video}{_MARK}{f'{seconds:.3f}'.rstrip('0').rstrip('.')}"


def moments(length: float, every: float) -> Iterator[float]:
    """Yield the seconds at which a video of some length gives a frame: from 0 on, every so many seconds.

    Of a long video they lie further apart, so that there are at most LONGEST.
    """
    count = math.ceil(max(length, 1e-3) / every)
    step = every * math.ceil(count / LONGEST)
    for number in range(math.ceil(count * every / step)):
        if number == 0 or number * step < length:
            yield number * step


def clock(seconds: float) -> str:
    """Return a time in a video as players show it: 0:12, 1:02:03."""
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
