"""HNSW by hnswlib and by faiss behind one interface, with the settings of `index.caches.graph`: for benchmarks only.

D is the length of a vector, n a number of vectors.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.caches.graph import BUILD_WIDTH, LINKS

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


class Other(Protocol):
    """A graph over unit vectors by inner product; it answers with row numbers."""

    def __init__(self, dim: int) -> None: ...

    def build(self, vectors: Vectors, path: Path) -> None:
        """Build over vectors (n, D) on all cores and write the file."""

    def load(self, path: Path) -> None:
        """Read the file; queries use one thread from now on."""

    def widen(self, width: int) -> None:
        """Set efSearch."""

    def ask(self, query: Vectors, k: int) -> Rows:
        """Return the rows (k,) nearest to a vector (D,)."""


class Hnswlib:
    """hnswlib 0.8 (https://github.com/nmslib/hnswlib)."""

    def __init__(self, dim: int) -> None:
        import hnswlib

        self._index: Any = hnswlib.Index("ip", dim)

    def build(self, vectors: Vectors, path: Path) -> None:
        self._index.init_index(len(vectors), M=LINKS, ef_construction=BUILD_WIDTH, random_seed=0)
        self._index.set_num_threads(os.cpu_count() or 1)
        self._index.add_items(vectors, np.arange(len(vectors)))
        self._index.save_index(os.fspath(path))

    def load(self, path: Path) -> None:
        self._index.load_index(os.fspath(path))
        self._index.set_num_threads(1)

    def widen(self, width: int) -> None:
        self._index.set_ef(width)

    def ask(self, query: Vectors, k: int) -> Rows:
        return np.asarray(self._index.knn_query(query, k)[0][0], np.int64)


class Faiss:
    """IndexHNSWFlat of faiss (https://github.com/facebookresearch/faiss)."""

    def __init__(self, dim: int) -> None:
        import faiss

        self._faiss: Any = faiss
        self._index: Any = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)

    def build(self, vectors: Vectors, path: Path) -> None:
        self._faiss.omp_set_num_threads(os.cpu_count() or 1)
        self._index.hnsw.efConstruction = BUILD_WIDTH
        self._index.add(vectors)
        self._faiss.write_index(self._index, os.fspath(path))

    def load(self, path: Path) -> None:
        self._faiss.omp_set_num_threads(1)
        self._index = self._faiss.read_index(os.fspath(path))

    def widen(self, width: int) -> None:
        self._index.hnsw.efSearch = width

    def ask(self, query: Vectors, k: int) -> Rows:
        return np.asarray(self._index.search(query[None], k)[1][0], np.int64)


OTHERS: dict[str, type[Other]] = {"hnswlib": Hnswlib, "faiss": Faiss}


def installed(name: str) -> bool:
    """Return whether a package is there."""
    return importlib.util.find_spec(name) is not None
