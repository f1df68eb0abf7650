"""Approximate nearest neighbours by HNSW: the only file that knows nmslib, and the guard against its pitfalls.

What nmslib would let pass, and what stands against it here:
- points added after createIndex are never found, points cannot be removed, a loaded index that is saved again is
  garbage: a graph is built once, saved once, and replaced whole;
- a NaN row poisons the graph, a NaN query answers anything, a query of another length reads past the buffer, an empty
  graph can crash: every vector is checked before it goes in;
- many equal vectors (copies of a file) link only to each other and cut the graph in pieces (3,000 copies among 8,000
  rows: recall falls from 0.99 to 0.80): nmslib sees every distinct vector once;
- k above efSearch cuts the answer short: efSearch follows k;
- ids must fit int32: nmslib sees row numbers, the ids lie in our part of the file;
- a truncated file can kill the process, a zeroed one answers nothing, the space is not written down: our footer holds
  the size, the CRC-32 and the space, and is checked before nmslib sees the file;
- an interrupt during createIndex is lost: the building runs in a thread of its own, the interrupt is raised after it;
- it talks on stderr: its own chatter is dropped, anything else is passed on.

File layout: as in `sealed_file`; the payload is nmslib's file (it ignores what follows its own data), then ids
int64 (n), then the row of each id in nmslib, int64 (n).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.caches.sealed_file import CacheError, checksum, footer, prove, seal
from vsearch.files import PRIVATE, replacing

SPACE = "cosinesimil"  # ranks as angulardist does, 1.5 times as fast
LINKS = 16  # neighbours of a point per layer (M)
BUILD_WIDTH = 200  # candidates looked at while building (efConstruction)
QUERY_WIDTH = 200  # candidates looked at by a query (efSearch), at least k

_CHATTER = re.compile(
    r"^(Your CPU supports instructions|For maximum performance, you can install NMSLIB|pip install --no-binary|"
    r"\d{4}-\d\d-\d\d [\d:]+ \S+ \(\w+\) \[(INFO|DEBUG)\]|The vector space is|\s*$)"
)

_START_SECONDS = 5.0  # how long a thread may take to begin
_one_at_a_time = threading.RLock()


class Graph:
    """A finished graph over n vectors: made by `build` or `load`, answers `query`, cannot be changed."""

    def __init__(self, index: Any, ids: NDArray[np.int64], rows: NDArray[np.int64], facts: Mapping[str, Any]) -> None:
        self._index = index
        self._width = 0
        self._fresh = False
        self._rows = rows  # (n,): where nmslib has the vector of each id
        self._by_row = ids[np.argsort(rows, kind="stable")]  # (n,)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(rows))])  # into _by_row, one per row and the end
        self.ids = ids
        self.dim = int(facts["dim"])
        self.facts = dict(facts)
        self._set_width(QUERY_WIDTH)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls, vectors: NDArray[np.float32], ids: NDArray[np.int64], facts: Mapping[str, Any] | None = None
    ) -> Graph:
        """Build a graph over vectors (n, D) with ids (n,), any integers. `facts` are kept in the saved file.

        Uses all cores; 100,000 rows of 300 numbers take about a minute on two. Raises ValueError for no rows, rows that
        are not finite or all zero, or ids that do not match.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f"a graph needs vectors (n, D), not {vectors.shape}")
        if ids.shape != (len(vectors),):
            raise ValueError(f"{ids.shape} ids for {len(vectors)} vectors")
        norms = np.einsum("nd,nd->n", vectors, vectors)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise ValueError("a vector is not finite, or is zero")
        distinct, rows = _distinct(vectors)
        index = _new()
        index.addDataPointBatch(distinct, np.arange(len(distinct), dtype=np.int32))
        threads = os.cpu_count() or 1
        settings = {"M": LINKS, "efConstruction": BUILD_WIDTH, "post": 0, "indexThreadQty": threads}
        with _quiet():
            _uninterrupted(lambda: index.createIndex(settings, print_progress=False))
        own = {"kind": "graph", "space": SPACE, "count": len(ids), "dim": vectors.shape[1]}
        graph = cls(index, ids.astype(np.int64), rows, {**(facts or {}), **own})
        graph._fresh = True
        return graph

    def save(self, path: Path, mode: int = PRIVATE) -> None:
        """Write the graph under this name, whole or not at all; only a graph that was just built can be saved.

        `mode` says who may read and write the file, as for `os.open`.
        """
        if not self._fresh:
            raise ValueError("a graph that was loaded cannot be saved again")
        with replacing(path, unique=True, mode=mode) as fresh_path:
            with _quiet():
                self._index.saveIndex(os.fsencode(fresh_path), save_data=False)
            with fresh_path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                tail = np.concatenate([self.ids, self._rows])
                crc = zlib.crc32(tail.data, checksum(file, size))
                file.seek(size)
                file.write(tail.data)
                seal(file, self.facts, size + tail.nbytes, crc)

    @classmethod
    def load(cls, path: Path) -> Graph:
        """Read a saved graph; raises CacheError if the file is missing, damaged, or no graph of this kind."""
        try:
            before = path.stat()
            facts, ids, rows = inspect(path)
            index = _new()
            with _quiet():
                index.loadIndex(os.fsencode(path), load_data=False)
            after = path.stat()
        except (OSError, RuntimeError) as error:
            raise CacheError(str(error)) from None
        if not os.path.samestat(before, after) or before.st_mtime_ns != after.st_mtime_ns:
            raise CacheError("replaced while it was read")
        return cls(index, ids, rows, facts)

    def query(self, vector: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest of a vector (D,): ids (m,) and cosines (m,), falling; m is at least min(k, n).

        More than k come back where the last have the same vector; fewer only if the graph misses some.
        Raises ValueError for a vector of another length, not finite or zero, and for k below 1.
        """
        vector = np.ascontiguousarray(vector, dtype=np.float32)
        if vector.shape != (self.dim,):
            raise ValueError(f"the graph takes vectors of {self.dim} numbers, not {vector.shape}")
        if not np.isfinite(vector).all() or not vector.any():
            raise ValueError("the query is not finite, or is zero")
        if k < 1:
            raise ValueError("k must be at least 1")
        asked = min(k, len(self._starts) - 1)
        self._set_width(max(QUERY_WIDTH, asked))
        rows, distances = self._index.knnQuery(vector, k=asked)
        copies = [self._by_row[self._starts[row] : self._starts[row + 1]] for row in rows]
        last = int(np.searchsorted(np.cumsum([len(ids) for ids in copies]), k)) + 1  # enough distinct vectors
        cosines = 1.0 - np.asarray(distances[:last], np.float32)
        return np.concatenate(copies[:last]), np.repeat(cosines, [len(ids) for ids in copies[:last]])

    def _set_width(self, width: int) -> None:
        if width != self._width:
            self._index.setQueryTimeParams({"efSearch": width})
            self._width = width


def inspect(path: Path, *, again: bool = False) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the facts of a saved graph, its ids (n,) and their rows (n,), once size and checksum have proved right.

    nmslib is not asked. Raises CacheError if the file is missing, damaged, or no graph of this kind. `again`: see
    `sealed_file.prove`.
    """
    try:
        with path.open("rb") as file:
            facts = footer(file)
            match facts:
                case {"kind": "graph", "space": str(space), "count": int(n), "dim": int()} if space == SPACE and n > 0:
                    pass
                case _:
                    raise CacheError("another kind of graph")
            prove(path, file, facts, again=again)
            file.seek(facts["size"] - 16 * n)
            tail = np.frombuffer(file.read(16 * n), np.int64)
            return facts, tail[:n], tail[n:]
    except (OSError, ValueError) as error:
        raise CacheError(str(error)) from None


def _distinct(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Map vectors (n, D) -> the distinct ones (g, D) in the order of their first, and the row there of each vector
    (n,)."""
    keys = np.fromiter((hash(row.tobytes()) for row in vectors), np.int64, len(vectors))
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(vectors)))
    if not len(copies) or not np.array_equal(vectors[copies], vectors[first[group[copies]]]):  # two rows, one hash
        return vectors, np.arange(len(vectors))
    kept = np.sort(first)
    return vectors[kept], np.searchsorted(kept, first[group]).astype(np.int64)


def _new() -> Any:
    with _quiet():
        import nmslib

        return nmslib.init(space=SPACE, method="hnsw")


def _uninterrupted(work: Any) -> None:
    """Run `work` in a thread; an interrupt of the main thread waits for it and is raised then."""
    failures: list[BaseException] = []
    begun, done = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        try:
            work()
        except BaseException as error:  # handed to the caller below
            failures.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run).start()
        while not done.wait(0.1):
            pass
    except BaseException:  # perhaps in the midst of `start`: then the thread is about to begin, or never will
        if _patiently(begun, _START_SECONDS):
            _patiently(done)
        raise
    if failures:
        raise failures[0]


def _patiently(event: threading.Event, seconds: float = float("inf")) -> bool:
    """Wait for an event whatever interrupts come; False if it did not come in time."""
    end = time.monotonic() + seconds
    while not event.is_set() and time.monotonic() < end:
        with contextlib.suppress(KeyboardInterrupt):
            event.wait(0.1)
    return event.is_set()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C++ writes on stderr, then pass on all but nmslib's chatter."""
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        try:
            real = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if not _CHATTER.match(line.decode("utf-8", "replace")):
                    os.write(2, line)
