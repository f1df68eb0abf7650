"""Libraries of any size for the benchmarks: vectors drawn from clusters, rows as a build writes them, no pictures.

D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.database.schema import pack

_ROWS = 20_000  # drawn, and written in one transaction
_CENTRES, _ROWS_SEED = 0, 1  # what the random numbers are for
_WHO = ("a dog", "two children", "a man in a red jacket", "a group of people", "a woman on a bicycle")
_DOES = ("runs", "stands", "sits", "jumps", "looks up")
_WHERE = ("through the grass", "on the beach", "in front of a house", "in the snow", "beside a lake", "on a street")


def draw(
    count: int, dim: int, clusters: int, noise: float, spread: int, first: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Yield `count` unit vectors in parts float32 (n, D), always the same; parts of another `first` are other vectors.

    A vector is the centre of a cluster chosen at random, of length one, plus noise of about length `noise`, then made
    unit length. The noise is Gaussian in `spread` directions that all clusters share (real vectors vary in few of their
    D directions; `spread` of D or above takes all).
    """
    rng = np.random.default_rng(_CENTRES)
    centres = rng.standard_normal((clusters, dim)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    base = np.linalg.qr(rng.standard_normal((dim, min(spread, dim))))[0].T.astype(np.float32)  # (spread, D)
    for part, start in enumerate(range(0, count, _ROWS)):
        rng = np.random.default_rng([_ROWS_SEED, first, part])
        n = min(_ROWS, count - start)
        shift = rng.standard_normal((n, len(base)), np.float32) * np.float32(noise / np.sqrt(len(base)))
        rows = centres[rng.integers(0, clusters, n)] + shift @ base  # (n, D)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(place: Path, parts: Iterator[NDArray[np.float32]], identity: str, dim: int) -> int:
    """Write a new library of pictures that are nowhere, with captions; return the number of them. No cache is made.

    Captions get no vectors of their own: with them a search by words reads `.mixed` in place of `.vectors`, which
    is as large.
    """
    count = 0
    with Database.open(place, create=True) as library, library.building():
        library.adopt(identity, dim)
        library.write.start_run()
        for vectors in parts:
            numbers = range(count, count + len(vectors))
            with library.writing():
                sql = "INSERT INTO pictures (id, path, size, mtime_ns, hash, caption) VALUES (?, ?, ?, ?, ?, ?)"
                library.connection.execute_many(sql, (_row(n) for n in numbers))
                packed = ((n + 1, pack(vector)) for n, vector in zip(numbers, vectors, strict=True))
                library.connection.execute_many("INSERT INTO vectors VALUES (?, ?)", packed)
            count += len(vectors)
        library.write.set_folders(["/home/ana/Pictures"], [])
    return count


def _row(n: int) -> tuple[int, bytes, int, int, bytes, str]:
    """Return id, path, size, time, hash and caption of the picture number n."""
    day, at = divmod(n, 100)
    path = f"/home/ana/Pictures/{1990 + day // 360 % 40}/{day // 30 % 12 + 1:02}-{day % 30 + 1:02}/IMG_{n:07}.JPG"
    caption = f"{_WHO[n % 5]} {_DOES[n // 5 % 5]} {_WHERE[n // 25 % 6]}"
    digest = hashlib.blake2b(str(n).encode(), digest_size=16).digest()
    return n + 1, os.fsencode(path), 2_000_000 + n % 1_000_003, (600_000_000 + 864 * n + at) * 10**9, digest, caption
