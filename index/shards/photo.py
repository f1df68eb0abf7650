"""A photo on its way from a source to the network, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

from index.build.scan import Found
from vsearch.image.decode import SUFFIXES

_LARGEST = 256 << 20  # bytes of a photo that is read into memory whole
_LONGEST = 4_096  # bytes of a path: what Linux takes
_INT64 = 2**63 - 1


class Loaded(NamedTuple):
    """A photo whose file was read: its path, size and date, and its bytes."""

    file: Found
    data: bytes


class Skipped(NamedTuple):
    """A photo that is left out. If this is not `lasting`, the next build should try it again."""

    path: str
    reason: str
    lasting: bool = True


def is_photo(path: str) -> bool:
    """Tell whether a name ends like a photo, and is not hidden."""
    name = path.rpartition("/")[2]
    return not name.startswith(".") and name[name.rfind(".") :].lower() in SUFFIXES


def too_large(file: Found) -> str:
    """Return why a file is not read into memory, "" if it may be."""
    return f"too large ({file.size / 1e6:,.0f} MB)" if file.size > _LARGEST else ""


def too_long(file: Found) -> str:
    """Return why a path cannot be kept, "" if it can."""
    if "\0" in file.path:
        return "a name with a zero in it"
    return "a name that is too long" if len(file.path.encode("utf-8", "surrogateescape")) > _LONGEST else ""


def nanoseconds(seconds: float) -> int:
    """Return a date as nanoseconds since 1970 that a store can keep, 0 for one that is none."""
    if not abs(seconds) < _INT64 / 1e9:  # nor is NaN
        return 0
    return int(seconds * 1_000_000_000)
