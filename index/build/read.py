"""Read files ahead of the network: hash, decode and squash them in threads.

S is the side of the square that the network takes.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build.plan import Job
from index.database.read import Picture
from index.paths import file_of
from vsearch.errors import PictureError
from vsearch.image.kinds import JPEG_XLS, RAWS
from vsearch.image.pixels import read_pixels
from vsearch.image.special import kind_of, read_video_head

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
        self._hashing = threading.Lock()
        self._video = ("", b"")  # the last one, and its hash

    def prepare(self, job: Job, *, twins: bool = True) -> Prepared:
        """Open a file as far as needed; without `twins` it is decoded even if the library has its content."""
        try:
            source, digest = self._open(job)
        except OSError as error:
            return Trouble(job, reason(error))
        except PictureError as error:
            return Trouble(job, str(error), lasting=True)
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

    def _open(self, job: Job) -> tuple[io.BytesIO | Path, bytes]:
        """Return what the decoder is to read, and the hash of the content; a moment's is that of its video and time.

        Raises OSError, and PictureError for what should be a video and is none.
        """
        path = Path(job.file.path)
        kind = kind_of(path)
        if kind is None or kind is JPEG_XLS:
            return open_file(path, job.file.size)
        if kind is RAWS:  # its decoder goes by the name
            return path, open_file(path, job.file.size)[1]
        file = file_of(job.file.path)
        if file == job.file.path:
            read_video_head(file)
            raise PictureError("its moments could not be found")
        with self._hashing:
            if self._video[0] != file:
                self._video = file, open_file(Path(file), _WHOLE_FILE + 1)[1]
            digest = self._video[1]
        return path, content_hash(digest + os.fsencode(job.file.path.removeprefix(file)))


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
