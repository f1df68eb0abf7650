"""From a query vector to ranked hits: exact for small libraries and small parts, through the graph for large ones.

Whatever path finds the candidates, they are scored anew from the library itself, so a score never depends on the path.
D is the length of a vector, n the pictures in the library, m some of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.arrays import Arrays, load_arrays, make_arrays, positions
from index.cachefile import CacheError
from index.caches import GRAPH_FROM, load_graph, stale
from index.graph import Graph
from index.library import Library
from index.paths import absolute
from vsearch.errors import LibraryError, QueryError

_CLOSE = 2e-5  # sums in another order differ by less: rows so close to the k-th are candidates too
_SPARE = 32  # asked of the graph beyond k, for rows that are gone
_ROWS = 50_000  # scored at a time


@dataclass(frozen=True)
class Hit:
    """A picture found: its path, the cosine with the query (-1 to 1), its caption, its id in the library."""

    path: str
    score: float
    caption: str | None
    id: int


def search(
    library: Library,
    vector: NDArray[np.float32],
    k: int = 10,
    *,
    within: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    exact: bool | None = None,
) -> list[Hit]:
    """The k pictures nearest to a vector (D,) of any length above zero, the best first; equal scores by path.

    `within` keeps pictures below a folder, `min_score` those with at least this cosine. `exact`: True never asks the
    graph, None asks it where the library is large enough. Raises QueryError for a vector that does not fit.
    """
    return Searcher(library).search(vector, k, within=within, min_score=min_score, exact=exact)


class Searcher:
    """Answers many queries on one library, keeping its caches in memory. Sees what builds add meanwhile."""

    def __init__(self, library: Library, *, graph_from: int = GRAPH_FROM) -> None:
        self._library = library
        self._graph_from = graph_from
        self._arrays: Arrays | None = None
        self._graph: Graph | None = None
        self._graph_tried = ""

    def search(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        *,
        within: str | os.PathLike[str] | None = None,
        min_score: float | None = None,
        exact: bool | None = None,
    ) -> list[Hit]:
        """As the function `search`."""
        with self._library.snapshot():
            query = self._check(vector, k)
            if query is None:
                return []
            rows = self._state()
            if within is not None:
                ids = self._among(query, k, rows, self._library.ids_under(absolute(within)))
            elif exact or rows.alive < self._graph_from or (graph := self._load_graph()) is None:
                ids = self._exact(query, k, rows)
            else:
                ids = self._through(graph, query, k, rows)
            hits = self._score(query, ids)
        return [hit for hit in hits if min_score is None or hit.score >= min_score][:k]

    def _check(self, vector: NDArray[np.float32], k: int) -> NDArray[np.float32] | None:
        """The query at unit length (D,), None if the library is empty."""
        dim = self._library.dim
        if k < 1:
            raise QueryError(f"the number of answers must be at least 1, not {k}")
        query = np.asarray(vector, np.float64)
        if dim is None:
            return None
        if query.shape != (dim,):
            raise QueryError(f"the library holds vectors of {dim} numbers, the query has {query.shape}")
        norm = float(np.linalg.norm(query))
        if not np.isfinite(norm) or norm == 0:
            raise QueryError("the query has no direction", "take away terms that cancel each other")
        return (query / norm).astype(np.float32)

    # ---- candidates

    def _state(self) -> _Rows:
        """The array in memory or from disk, made anew where it does not serve, and what changed since it was made."""
        library = self._library
        if self._arrays is None or not library.knows_run(self._arrays.token):
            try:
                self._arrays = load_arrays(library)
            except CacheError:
                self._arrays = make_arrays(library)
        rows = _Rows(library, self._arrays)
        if stale(len(rows.new_ids), len(rows.dead), len(self._arrays.ids)):
            self._arrays = make_arrays(library)
            rows = _Rows(library, self._arrays)
        return rows

    def _exact(self, query: NDArray[np.float32], k: int, rows: _Rows) -> NDArray[np.int64]:
        old = _cosines(rows.vectors, np.arange(len(rows.ids)), query)
        old[rows.dead] = -np.inf
        scores = np.concatenate([old, rows.new_vectors @ query])  # (m,)
        return _best(scores, np.concatenate([rows.ids, rows.new_ids]), k)

    def _among(self, query: NDArray[np.float32], k: int, rows: _Rows, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Exact over the pictures with these ids."""
        old = positions(rows.ids, wanted)
        new = positions(rows.new_ids, wanted)
        scores = np.concatenate([_cosines(rows.vectors, old, query), rows.new_vectors[new] @ query])  # (m,)
        return _best(scores, np.concatenate([rows.ids[old], rows.new_ids[new]]), k)

    def _through(self, graph: Graph, query: NDArray[np.float32], k: int, rows: _Rows) -> NDArray[np.int64]:
        """The graph for what it knows, exact for what is newer; more is asked of it until enough are alive."""
        last_id = int(graph.facts["last_id"])
        removed = self._library.removed(last_id)
        asked = k + _SPARE
        while True:
            ids, _ = graph.query(query, asked)
            ids = ids[~np.isin(ids, removed)]
            if len(ids) >= k or asked >= len(graph):
                break
            asked *= 4
        newer = np.concatenate([rows.ids[np.searchsorted(rows.ids, last_id, side="right") :], rows.new_ids])
        newer = newer[(newer > last_id) & ~np.isin(newer, rows.ids[rows.dead])]
        return np.union1d(ids, self._among(query, k, rows, newer)) if len(newer) else ids

    def _load_graph(self) -> Graph | None:
        """The graph in memory or from disk, None if there is none that serves; a broken one is tried once a run."""
        token = self._library.run_token()
        if self._graph is None and self._graph_tried != token:
            self._graph_tried = token
            try:
                self._graph = load_graph(self._library)
            except CacheError:
                return None
        if self._graph is not None and not self._library.knows_run(self._graph.facts["token"]):
            self._graph = None
        return self._graph

    # ---- scores

    def _score(self, query: NDArray[np.float32], candidates: NDArray[np.int64]) -> list[Hit]:
        """All candidates scored from the library, in double precision and row by row, the best first."""
        ids, vectors = self._library.vectors(candidates.tolist())
        pictures = self._library.pictures(ids.tolist())
        scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)  # (m,)
        hits = [
            Hit(pictures[id_].path, float(np.clip(score, -1.0, 1.0)), pictures[id_].caption, id_)
            for id_, score in zip(ids.tolist(), scores, strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, os.fsencode(hit.path)))


class _Rows:
    """An array together with what the library says about it at this moment."""

    def __init__(self, library: Library, arrays: Arrays) -> None:
        self.ids = arrays.ids  # (n,)
        self.vectors = arrays.vectors  # (n, D)
        self.dead = positions(arrays.ids, library.removed(arrays.last_id))
        self.new_ids, self.new_vectors = library.vectors_after(arrays.last_id)
        self.alive = len(self.ids) - len(self.dead) + len(self.new_ids)


def _cosines(vectors: NDArray[np.float32], at: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows `at` (m,) of vectors (n, D) times the query (D,): (m,), without copying more than a part at a time."""
    scores = np.empty(len(at), np.float32)
    for start in range(0, len(at), _ROWS):
        part = at[start : start + _ROWS]
        whole = len(at) == len(vectors)
        scores[start : start + _ROWS] = (vectors[start : start + len(part)] if whole else vectors[part]) @ query
    return scores


def _best(scores: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Ids of the k highest scores and of all that are as good within rounding; -inf is never among them."""
    if len(scores) > k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k] - _CLOSE
        ids, scores = ids[scores >= bound], scores[scores >= bound]
    return ids[np.isfinite(scores)]


def vectors_of(library: Library, hits: list[Hit]) -> NDArray[np.float32]:
    """The unit vectors (m, D) of hits, in their order. Raises LibraryError if one is gone meanwhile."""
    ids, vectors = library.vectors([hit.id for hit in hits])
    at = positions(ids, np.array([hit.id for hit in hits], np.int64))
    if len(at) != len(hits):
        raise LibraryError("the library changed while it was searched", "search again")
    return vectors[at]
