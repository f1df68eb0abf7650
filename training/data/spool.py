"""Pictures made ready, one behind the other in a plain file, so that a killed run continues where it was.

HDF5 does not survive being killed, hence this file before it. It begins with a fingerprint of the work; then come
records: kind (1 a picture, 2 the reason why there is none), length and CRC-32, and the bytes. A record cut short, or
damaged, ends what is there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vsearch.errors import PictureError

HEAD = struct.Struct("<BQI")
PICTURE, REASON = 1, 2


class Spool:
    """The pictures kept so far, for the work that `fingerprint` (bytes) stands for; another work begins anew."""

    def __init__(self, path: Path, fingerprint: bytes) -> None:
        self.path, self._fingerprint = path, fingerprint
        self.reasons: dict[int, str] = {}
        self.count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        good = len(fingerprint)
        for content, end in self._records():
            self._count(content)
            good = end
        if not self._same_work():
            path.write_bytes(fingerprint)
        self._file = path.open("r+b")
        self._file.truncate(good)
        self._file.seek(good)

    def _count(self, content: bytes | PictureError) -> None:
        if isinstance(content, PictureError):
            self.reasons[self.count] = str(content)
        self.count += 1

    def add(self, content: bytes | PictureError) -> None:
        """Append a picture, or the reason why it cannot be had."""
        if isinstance(content, PictureError):
            kind, data = REASON, str(content).encode("utf-8", "replace")
        else:
            kind, data = PICTURE, content
        self._file.write(HEAD.pack(kind, len(data), zlib.crc32(data)) + data)
        self._count(content)

    def __iter__(self) -> Iterator[bytes | PictureError]:
        """All records in order."""
        self._file.flush()
        return (content for content, _ in self._records())

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """The work is done: the file goes."""
        self.close()
        self.path.unlink()

    def _same_work(self) -> bool:
        if not self.path.is_file():
            return False
        with self.path.open("rb") as file:
            return file.read(len(self._fingerprint)) == self._fingerprint

    def _records(self) -> Iterator[tuple[bytes | PictureError, int]]:
        """Every whole record, with the place where it ends."""
        if not self._same_work():
            return
        with self.path.open("rb") as file:
            file.seek(len(self._fingerprint))
            while (content := _read(file)) is not None:
                yield content, file.tell()


def _read(file: BinaryIO) -> bytes | PictureError | None:
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length, check = HEAD.unpack(head)
    if kind not in (PICTURE, REASON) or length > os.fstat(file.fileno()).st_size:
        return None
    data = file.read(length)
    if len(data) < length or zlib.crc32(data) != check:
        return None
    return data if kind == PICTURE else PictureError(data.decode())
