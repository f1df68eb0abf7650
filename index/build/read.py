"""Read files ahead of the network: hash, decode and squash them in threads.

S is the side of the square that the network takes.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build.plan import Job
from index.database.read import Picture
from vsearch.errors import PictureError
from vsearch.image.pixels import read_pixels

_WHOLE_FILE = 64 << 20  # files up to this size are read once, for hash and picture; larger ones twice


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture for the network: pixels (S, S, 3).

    `same`: the content is what the library has at this path, only the caption is missing.
    """

    job: Job
    digest: bytes
    pixels: NDArray[np.uint8]
    same: bool


@dataclass(frozen=True)
class Twin:
    """A file with the content of a picture that the library has."""

    job: Job
    picture: Picture


@dataclass(frozen=True)
class Trouble:
    """A file that gives no picture. If this is `lasting`, it need not be opened again until it changes."""

    job: Job
    reason: str
    lasting: bool = False


Prepared = Decoded | Twin | Trouble


class PhotoReader:
    """Reads, hashes and decodes files; used by many threads at once."""

    def __init__(self, known: Callable[[bytes], list[Picture]], side: int, captions: bool) -> None:
        """Ask `known` for the pictures that have a content, one thread at a time; decode to `side` x `side` pixels."""
        self._known = known
        self._lock = threading.Lock()
        self._side = side
        self._captions = captions

    def prepare(self, job: Job, *, twins: bool = True) -> Prepared:
        """Open a file as far as needed; without `twins` it is decoded even if the library has its content."""
        try:
            source, digest = open_file(Path(job.file.path), job.file.size)
        except OSError as error:
            return Trouble(job, reason(error))
        with self._lock:
            pictures = self._known(digest)
        mine = next((one for one in pictures if job.known is not None and one.id == job.known.id), None)
        usable = [one for one in [mine, *pictures] if one and (one.caption is not None or not self._captions)]
        if usable and twins:
            return Twin(job, usable[0])
        try:
            return Decoded(job, digest, read_pixels(source, self._side), same=mine is not None)
        except PictureError as error:
            return Trouble(job, str(error), lasting=True)


def open_file(path: Path, size: int) -> tuple[io.BytesIO | Path, bytes]:
    """Return what the decoder is to read, the bytes of a file or its path, and the hash of the content."""
    if size <= _WHOLE_FILE:
        data = path.read_bytes()
        return io.BytesIO(data), content_hash(data)
    with path.open("rb") as file:
        return path, hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def content_hash(data: bytes) -> bytes:
    """Return the hash by which a file's content is known."""
    return hashlib.blake2b(data, digest_size=16).digest()


def reason(error: OSError) -> str:
    """Return why a file could not be opened, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "vanished while it was read"
    return (error.strerror or "cannot be read").lower()
