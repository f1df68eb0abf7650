"""Files derived from the library, which may be deleted at any moment: whole and of this library, or not there.

Layout: the payload, a JSON footer, its length (8 bytes, little-endian), 8 bytes of magic. An array begins with a magic
of its own, a graph as nmslib has it: a damaged file is known by the end that is left. The footer holds the CRC-32 of
the payload (3 GB/s). A file appears under its name only when it is complete. Of a large one, `.proof` next to it
notes the inode, size and times for which the checksum was last proved: while these stay, it is not computed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from index.paths import CACHES, PROOF
from vsearch.files import mode_of, replacing

MAGIC = b"vsearch1"  # the last bytes of every cache
HEAD = b"vsearch vectors\n" + bytes(48)  # the first bytes of an array; numbers begin at a multiple of 64
# How nmslib begins a graph with our settings: version, points, bytes a point, a place in them, zero, layers, first
# point, links of a point, links on the lowest layer.
_GRAPH = re.compile(rb"\x01\0{3}.{4}(.{3}\0{5}){2}\0{8}.\0{3}.{4}\x10\0{7}\x20\0{7}.*", re.DOTALL)
_LONGEST_PROOF = 1000  # bytes
_TAIL = struct.Struct("<Q8s")
_BLOCK = 1 << 22
PROOF_FROM = 1 << 24  # bytes; the checksum of less takes 5 ms
_TICK = 0.1  # seconds; a file may change twice within one tick of its clock, and its times show it once


class CacheError(Exception):
    """A cache file is missing, damaged, or of something else. Never leaves `index`."""


def clean(library: Path) -> None:
    """Remove what killed processes left half written next to a library: files of the names that `replacing` makes."""
    endings = "|".join(re.escape(name) for name in CACHES)
    half_written = re.compile(rf"{re.escape(library.name)}({endings})({re.escape(PROOF)})?\.[0-9a-f]{{12}}\.tmp")
    for path in library.parent.iterdir():
        if half_written.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def may_replace(path: Path) -> bool:
    """Tell whether a cache may take this name: nothing is there, or a cache of vsearch, be it damaged.

    One of its ends must bear our mark, or it must be nothing but zeros. Another program's file has neither.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(HEAD))
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(MAGIC)))
            if head == HEAD or file.read() == MAGIC or _GRAPH.fullmatch(head):
                return True
            file.seek(0)
            return not any(any(block) for block in iter(lambda: file.read(_BLOCK), b""))
    except FileNotFoundError:
        return True
    except OSError:
        return False


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
    if settled and size >= PROOF_FROM and _mark(file, table) == mark and _is_proof(note):
        with contextlib.suppress(OSError), replacing(note, unique=True, mode=mode_of(path)) as fresh:
            fresh.write_text(json.dumps(mark), "utf-8")


def discard(path: Path) -> None:
    """Remove a cache and its proof, if they are there and can be, and are not another program's files."""
    for one, ours in ((path, may_replace), (proof_path(path), _is_proof)):
        with contextlib.suppress(OSError):
            if ours(one):
                one.unlink(missing_ok=True)


def proof_path(path: Path) -> Path:
    """Return where the proof of a cache file lies."""
    return path.with_name(path.name + PROOF)


def _is_proof(path: Path) -> bool:
    """Tell whether a proof may take this name: nothing is there, or a proof, or an empty file."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_PROOF + 1)
        mark = json.loads(text) if text else [0] * 6
    except FileNotFoundError:
        return True
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(mark, list) and len(mark) == 6 and all(isinstance(part, int) for part in mark)


def _mark(file: BinaryIO, table: Mapping[str, Any]) -> list[Any]:
    stat = os.fstat(file.fileno())
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, table.get("crc")]
