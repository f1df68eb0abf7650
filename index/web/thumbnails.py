"""Small copies of pictures, kept in the user's cache folder; any of them, or all, can be deleted at any moment.

A file is named by the content of its picture (BLAKE2b-128) and its size, so it never stands for another picture. When
the folder grows over its cap, those that were made or shown longest ago go first; those of pictures that a library is
told to forget go at once (`index.forget`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from index.caches.thumbnails import SIZES, thumbnail_path
from index.database.read import Picture
from index.page.thumbnail import jpeg, small
from vsearch.files import PRIVATE, make_private_folder, replacing

CAP = 512 << 20  # bytes of all thumbnails
_DAY = 86_400.0
_KEPT = 0.8  # share of the cap that is left when it was reached


def rounded(size: int) -> int:
    """Return the smallest of SIZES that is not below `size`, else the largest: few sizes are ever made."""
    return next((one for one in SIZES if one >= size), SIZES[-1])


class Thumbnails:
    """Makes and keeps small copies; may be used by many threads."""

    def __init__(self, folder: Path, cap: int = CAP) -> None:
        self.folder, self.cap = folder, cap
        self._room = threading.Semaphore(max(1, os.cpu_count() or 1))  # decoded at once
        self._lock = threading.Lock()
        self._total: int | None = None  # bytes in the folder, as far as this process knows

    def get(self, picture: Picture, size: int) -> bytes:
        """Return a JPEG without EXIF, at most `size` pixels on its longer side, upright.

        Raises PictureError if the file cannot be read as a picture.
        """
        path = self.path(picture, size)
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9":  # whole
                if time.time() - path.stat().st_mtime > _DAY:
                    os.utime(path)  # shown today
                return data
        with self._room:
            data = make(picture.path, size)
        self._keep(path, data)
        return data

    def path(self, picture: Picture, size: int) -> Path:
        """Return where a thumbnail is kept."""
        return thumbnail_path(self.folder, picture.hash, size)

    def _keep(self, path: Path, data: bytes) -> None:
        """Write a thumbnail; where nothing can be written, do without."""
        with contextlib.suppress(OSError):
            make_private_folder(path.parent)
            with replacing(path, unique=True, mode=PRIVATE) as fresh:
                fresh.write_bytes(data)
            with self._lock:
                total = self._counted() if self._total is None else self._total + len(data)
                self._total = self._shrunk() if total > self.cap else total

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return (time, bytes, path) of all thumbnails, the oldest first."""
        found = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _counted(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _shrunk(self) -> int:
        """Delete the oldest until there is room again; return the bytes that are left."""
        files = self._files()
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= _KEPT * self.cap:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size
        return left


def make(path: str, size: int) -> bytes:
    """Return the picture in a file as a JPEG of at most `size` pixels a side. Raises PictureError."""
    return jpeg(small(path, size))
