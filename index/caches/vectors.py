"""All vectors of a library as one array on disk: read in milliseconds where SQLite takes a second. A cache.

There are two at most: `.vectors` holds the pictures' own, `.mixed` those with their captions mixed in, whose footer
names the weight. Payload: a head of 64 bytes, vectors float32 (n, D), then ids int64 (n), ascending.
"""

from __future__ import annotations

import io
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from index.caches.sealed_file import HEAD, CacheError, footer, may_replace, prove, seal
from index.database.database import Database
from index.paths import beside
from vsearch.files import mode_of, replacing

_ROWS = 20_000  # read from the library at a time


@dataclass(frozen=True)
class Arrays:
    """Every picture with an id up to `last_id` that was there when the file was made."""

    ids: NDArray[np.int64]  # (n,)
    vectors: NDArray[np.float32]  # (n, D), unit length
    last_id: int
    token: str


def positions(among: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where `ids` (m,) stand in the ascending `among` (n,); those that do not stand there are left out."""
    if not len(among):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(among, ids), len(among) - 1).astype(np.int64)
    found: NDArray[np.int64] = at[among[at] == ids]
    return found


def arrays_path(database: Database, weight: float = 0.0) -> Path:
    """Return where the array of a library lies, for captions of weight 0 or above."""
    return beside(database.path, ".mixed" if weight else ".vectors")


def load_arrays(database: Database, weight: float = 0.0, *, again: bool = False) -> Arrays:
    """Map the array next to a library; raises CacheError if it is missing, damaged, or not made of this library.

    `again`: see `sealed_file.prove`.
    """
    path = arrays_path(database, weight)
    try:
        with path.open("rb") as file:
            table = footer(file)
            _check(database, table, weight)
            prove(path, file, table, again=again)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CacheError(str(error)) from None
    return _parse(data, table)


def make_arrays(database: Database, weight: float = 0.0) -> Arrays:
    """Make the array again from the library and keep it next to it.

    Only in memory where nothing can be written, or where another program's file has the name.
    """
    with database.snapshot():
        try:
            if not may_replace(arrays_path(database, weight)):
                raise CacheError("another program's file")
            mode = mode_of(database.path)
            with replacing(arrays_path(database, weight), unique=True, mode=mode) as fresh, fresh.open("wb") as file:
                _write(database, file, weight)
            return load_arrays(database, weight)
        except (OSError, CacheError):
            memory = io.BytesIO()
            _write(database, memory, weight)
            return _parse(memory.getbuffer(), footer(memory))


def _write(database: Database, file: BinaryIO, weight: float) -> None:
    all_ids, crc, size = [np.empty(0, np.int64)], zlib.crc32(HEAD), len(HEAD)
    file.write(HEAD)
    for ids, vectors in database.read.blocks(_ROWS, weight):
        all_ids.append(ids)
        crc, size = zlib.crc32(vectors.data, crc), size + vectors.nbytes
        file.write(vectors.data)
    tail = np.concatenate(all_ids)
    crc, size = zlib.crc32(tail.data, crc), size + tail.nbytes
    file.write(tail.data)
    table = {"kind": "vectors", "weight": weight, "count": len(tail), "dim": database.read.dim or 0}
    seal(file, {**table, "last_id": database.read.last_id(), "token": database.read.run_token()}, size, crc)


def _check(database: Database, table: Mapping[str, Any], weight: float) -> None:
    """Raise CacheError if a footer is not that of an array of this library with this weight."""
    match table:
        case {"kind": "vectors", "count": int(n), "dim": int(dim), "last_id": int(last_id), "token": str(token)}:
            pass
        case _:
            raise CacheError("another kind of file")
    if dim != (database.read.dim or 0) or last_id > database.read.last_id() or not database.read.knows_run(token):
        raise CacheError("made of another library")
    if table.get("weight", 0.0) != weight:
        raise CacheError("made with another weight")
    if table["size"] != len(HEAD) + 4 * n * dim + 8 * n:
        raise CacheError("damaged")


def _parse(data: mmap.mmap | memoryview, table: Mapping[str, Any]) -> Arrays:
    n, dim = int(table["count"]), int(table["dim"])
    vectors = np.frombuffer(data, np.float32, n * dim, len(HEAD)).reshape(n, dim)  # (n, D)
    ids = np.frombuffer(data, np.int64, n, len(HEAD) + 4 * n * dim).copy()  # aligned, whatever n and D are
    return Arrays(ids, vectors, table["last_id"], table["token"])
