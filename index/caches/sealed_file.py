"""Files derived from the library, which may be deleted at any moment: whole and of this library, or not there.

Layout: the payload, a JSON footer, its length (8 bytes, little-endian), 8 bytes of magic. The footer holds the CRC-32
of the payload (3 GB/s). A file appears under its name only when it is complete. Of a large one, `.proof` next to it
notes the inode, size and times for which the checksum was last proved: while these stay, it is not computed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from vsearch.files import replacing

MAGIC = b"vsearch1"
_TAIL = struct.Struct("<Q8s")
_BLOCK = 1 << 22
PROOF_FROM = 1 << 24  # bytes; the checksum of less takes 5 ms
_TICK = 0.1  # seconds; a file may change twice within one tick of its clock, and its times show it once


class CacheError(Exception):
    """A cache file is missing, damaged, or of something else. Never leaves `index`."""


def clean(library: Path) -> None:
    """Remove what killed processes left half written next to a library."""
    for path in library.parent.iterdir():
        if path.name.startswith(library.name + ".") and path.name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                path.unlink()


def seal(file: BinaryIO, footer: Mapping[str, Any], size: int, crc: int) -> None:
    """Write the footer behind a payload of `size` bytes with checksum `crc`; `file` stands at the payload's end."""
    text = json.dumps({**footer, "size": size, "crc": crc}).encode()
    file.write(text + _TAIL.pack(len(text), MAGIC))


def footer(file: BinaryIO) -> dict[str, Any]:
    """Return the footer of a cache file; raises CacheError if the file has none, or is not as long as it says."""
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
    """Return CRC-32 of the first `size` bytes of a file."""
    file.seek(0)
    crc = 0
    while size > 0:
        block = file.read(min(_BLOCK, size))
        if not block:
            raise CacheError("shorter than it says")
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc


def prove(path: Path, file: BinaryIO, table: Mapping[str, Any], *, again: bool = False) -> None:
    """Raise CacheError if the payload of the open file `path` is not what its footer `table` says.

    Proved once for a file of some size; `again` computes the checksum whatever was proved before.
    """
    size, note = int(table["size"]), proof_path(path)
    mark = _mark(file, table)
    if not again and size >= PROOF_FROM:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(note.read_text("utf-8")) == mark:
                return
    if size >= PROOF_FROM:
        age = time.time() - os.fstat(file.fileno()).st_ctime
        if 0 <= age < _TICK:
            time.sleep(_TICK - age)
    settled = time.time() - os.fstat(file.fileno()).st_ctime >= _TICK
    if checksum(file, size) != table.get("crc"):
        raise CacheError("damaged")
    if settled and size >= PROOF_FROM and _mark(file, table) == mark:
        with contextlib.suppress(OSError), replacing(note, unique=True) as fresh:
            fresh.write_text(json.dumps(mark), "utf-8")


def discard(path: Path) -> None:
    """Remove a cache and its proof, if they are there and can be."""
    for one in (path, proof_path(path)):
        with contextlib.suppress(OSError):
            one.unlink(missing_ok=True)


def proof_path(path: Path) -> Path:
    """Return where the proof of a cache file lies."""
    return path.with_name(path.name + ".proof")


def _mark(file: BinaryIO, table: Mapping[str, Any]) -> list[Any]:
    stat = os.fstat(file.fileno())
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, table.get("crc")]
