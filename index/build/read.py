"""Reading files ahead of the network: hash, decode and squash in threads, results in order."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build.scan import Found
from index.database.database import Database
from index.database.read import Dates, Picture
from vsearch.errors import PictureError
from vsearch.image.pixels import read_pixels

_WHOLE_FILE = 64 << 20  # files up to this size are read once, for hash and picture; larger ones twice


@dataclass(frozen=True)
class Job:
    """A file that must be opened, and what the library knows at its path."""

    file: Found
    known: Dates | None


@dataclass(frozen=True)
class Prepared:
    """A job after reading: exactly one of `pixels` (S, S, 3), `twin` (a picture with this content) and `trouble`."""

    job: Job
    digest: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    twin: Picture | None = None
    trouble: str | None = None
    lasting: bool = False  # the trouble is the file's own: it need not be opened again until it changes
    same: bool = False  # the content is what the library has at this path, only the caption is missing


class Reader:
    """Reads, hashes and decodes files; used by many threads at once."""

    def __init__(self, database: Database, side: int, captions: bool) -> None:
        self._database = Database.open(database.path, read_only=True)
        self._lock = threading.Lock()
        self._side = side
        self._captions = captions

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def prepare(self, job: Job, *, alone: bool = False) -> Prepared:
        """Open a file as far as needed: pixels, or a picture that has its content, or what is wrong with it."""
        path = Path(job.file.path)
        try:
            if job.file.size <= _WHOLE_FILE:
                data = path.read_bytes()
                digest = hashlib.blake2b(data, digest_size=16).digest()
                source: io.BytesIO | Path = io.BytesIO(data)
            else:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
                source = path
        except FileNotFoundError:
            return Prepared(job, trouble="vanished while it was read")
        except OSError as error:
            return Prepared(job, trouble=(error.strerror or "cannot be read").lower())
        twins = self._twins(digest)
        mine = next((twin for twin in twins if job.known is not None and twin.id == job.known.id), None)
        usable = [twin for twin in [mine, *twins] if twin and (twin.caption is not None or not self._captions)]
        if usable and not alone:
            return Prepared(job, digest, twin=usable[0])
        try:
            pixels = read_pixels(source, self._side)
        except PictureError as error:
            return Prepared(job, digest, trouble=str(error), lasting=True)
        return Prepared(job, digest, pixels, same=mine is not None)

    def _twins(self, digest: bytes) -> list[Picture]:
        with self._lock:
            return self._database.read.by_hash(digest)
