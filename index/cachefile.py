"""Files derived from the library, which may be deleted at any moment: whole and of this library, or not there.

Layout: the payload, a JSON footer, its length (8 bytes, little-endian), 8 bytes of magic. The footer holds the CRC-32
of the payload (3 GB/s). A file appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"vsearch1"
_TAIL = struct.Struct("<Q8s")
_BLOCK = 1 << 22


class CacheError(Exception):
    """A cache file is missing, damaged, or of something else. Never leaves `index`."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new name beside `path`; what was written there takes the place of `path` at the end, or vanishes on errors."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def clean(library: Path) -> None:
    """Remove what killed processes left half written beside a library."""
    for path in library.parent.iterdir():
        if path.name.startswith(library.name + ".") and path.name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                path.unlink()


def seal(file: BinaryIO, footer: Mapping[str, Any], size: int, crc: int) -> None:
    """Write the footer behind a payload of `size` bytes with checksum `crc`; `file` stands at the payload's end."""
    text = json.dumps({**footer, "size": size, "crc": crc}).encode()
    file.write(text + _TAIL.pack(len(text), MAGIC))


def footer(file: BinaryIO) -> dict[str, Any]:
    """The footer of a cache file; raises CacheError if the file has none, or is not as long as it says."""
    try:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _TAIL.size))
        length, magic = _TAIL.unpack(file.read(_TAIL.size))
        if magic != MAGIC or length > end - _TAIL.size:
            raise CacheError("no footer")
        file.seek(end - _TAIL.size - length)
        table = json.loads(file.read(length))
        if not isinstance(table, dict) or table["size"] != end - _TAIL.size - length:
            raise CacheError("not as long as it says")
        return table
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"no footer: {error}") from None


def checksum(file: BinaryIO, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file."""
    file.seek(0)
    crc = 0
    while size > 0:
        block = file.read(min(_BLOCK, size))
        if not block:
            raise CacheError("shorter than it says")
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc
