"""The rows of a library as one weight of captions sees them, and the nearest of them: from an array, or from a graph.

What a cache lacks is read from the library once and kept. D is the length of a vector, n the rows of a cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.caches.graph import Graph
from index.caches.refresh import load_graph, stale
from index.caches.sealed_file import CacheError
from index.caches.vectors import Arrays, load_arrays, make_arrays, positions
from index.database.database import Database

Ids = NDArray[np.int64]
Vector = NDArray[np.float32]

_CLOSE = 2e-5  # sums in another order differ by less: rows so close to the k-th are candidates too
_SPARE = 32  # asked of the graph beyond k, for rows that are gone
_ROWS = 50_000  # scored at a time


class View:
    """The candidates of many queries with one weight; loads of the caches only what a query needs."""

    def __init__(self, database: Database, weight: float, graph_from: int, graph_after: int) -> None:
        self._database = database
        self._weight = weight
        self._graph_from = graph_from
        self._graph_after = graph_after
        self._asked = 0
        self._arrays: Arrays | None = None
        self._newer = _Newer(database, 0, weight)
        self._dead: Ids = np.empty(0, np.int64)
        self._graph: Graph | None = None
        self._graph_tried = ""
        self._graph_newer = _Newer(database, 0, weight)
        self._counted: tuple[object, int] = (None, 0)

    def nearest(self, query: Vector, k: int, wanted: Ids | None = None, exact: bool | None = None) -> Ids:
        """Return ids that hold the k nearest to a unit vector (D,), among `wanted` (ascending, all alive) if given."""
        if wanted is not None or exact:
            return self._exact(query, k, wanted)
        self._asked += 1
        graph = self._useful_graph()
        return self._exact(query, k, None) if graph is None else self._through(graph, query, k)

    # ---- exact

    def _exact(self, query: Vector, k: int, wanted: Ids | None) -> Ids:
        arrays, newer = self._current(), self._newer
        if wanted is None:
            scores = _cosines(arrays.vectors, None, query)  # (n,)
            scores[self._dead] = -np.inf
            return best(np.concatenate([scores, newer.vectors @ query]), np.concatenate([arrays.ids, newer.ids]), k)
        old, new = positions(arrays.ids, wanted), positions(newer.ids, wanted)
        scores = np.concatenate([_cosines(arrays.vectors, old, query), newer.vectors[new] @ query])
        return best(scores, np.concatenate([arrays.ids[old], newer.ids[new]]), k)

    def _current(self) -> Arrays:
        """Return the array in memory or from disk, made again if it does not serve; read what changed since."""
        database = self._database
        if self._arrays is None or not database.read.knows_run(self._arrays.token):
            try:
                arrays = load_arrays(database, self._weight)
            except CacheError:
                arrays = make_arrays(database, self._weight)
            self._take(arrays)
        else:
            arrays = self._arrays
        if self._newer.update():
            self._dead = positions(arrays.ids, self._newer.gone)
            if stale(len(self._newer.ids), len(self._dead), len(arrays.ids)):
                self._take(make_arrays(database, self._weight))
                return self._current()
        return arrays

    def _take(self, arrays: Arrays) -> None:
        self._arrays, self._newer = arrays, _Newer(self._database, arrays.last_id, self._weight)

    # ---- through the graph

    def _useful_graph(self) -> Graph | None:
        """Return the graph, if the library is large enough and enough queries came to pay for loading it."""
        if self._asked <= self._graph_after:
            return None
        version = self._database.version()
        if self._counted[0] != version:
            self._counted = (version, self._database.read.count())
        if self._counted[1] < self._graph_from:
            return None
        token = self._database.read.run_token()
        if self._graph is not None and not self._database.read.knows_run(self._graph.facts["token"]):
            self._graph = None
        if self._graph is None and self._graph_tried != token:  # a broken one is tried once a run
            self._graph_tried = token
            try:
                self._graph = load_graph(self._database, self._weight)
            except CacheError:
                return None
            self._graph_newer = _Newer(self._database, int(self._graph.facts["last_id"]), self._weight)
        return self._graph

    def _through(self, graph: Graph, query: Vector, k: int) -> Ids:
        """Ask the graph for what it knows, exact for what is newer; more is asked of it until enough are alive."""
        newer = self._graph_newer
        newer.update()
        asked = k + _SPARE
        while True:
            ids, cosines = graph.query(query, asked)
            alive = ~np.isin(ids, newer.gone[positions(newer.gone, ids)])
            ids, cosines = ids[alive], cosines[alive]
            if len(ids) >= k or asked >= len(graph):
                break
            asked *= 4
        scores, ids = np.concatenate([cosines, newer.vectors @ query]), np.concatenate([ids, newer.ids])
        return best(scores, ids, k)


class _Newer:
    """What a cache that ends at `last_id` lacks: the rows above it, and which ids, its own too, are gone."""

    def __init__(self, database: Database, last_id: int, weight: float) -> None:
        self.ids: Ids = np.empty(0, np.int64)  # (m,), ascending, alive
        self.vectors: Vector = np.empty((0, database.read.dim or 0), np.float32)  # (m, D)
        self.gone: Ids = np.empty(0, np.int64)
        self._database, self._last, self._weight = database, last_id, weight
        self._begin = last_id
        self._token = ""
        self._version: object = None

    def update(self) -> bool:
        """Read what the library has got since; False if nothing changed."""
        database = self._database
        if self._version == database.version():
            return False
        if self._token and not database.read.knows_run(self._token):  # restored from a copy: what was read is lost
            self.ids, self.vectors, self._last = self.ids[:0], self.vectors[:0], self._begin
        ids, vectors = database.read.vectors_after(self._last, weight=self._weight)
        self._last = max(self._last, database.read.last_id())
        self.gone = database.read.removed(self._last)
        alive = ~np.isin(self.ids, self.gone)
        self.ids = np.concatenate([self.ids[alive], ids])
        self.vectors = np.concatenate([self.vectors[alive], vectors.reshape(len(ids), database.read.dim or 0)])
        self._token, self._version = database.read.run_token(), database.version()
        return True


def _cosines(vectors: NDArray[np.float32], at: Ids | None, query: Vector) -> NDArray[np.float32]:
    """Multiply rows `at` (m,), or all, of vectors (n, D) by the query (D,): (m,), copying only a part at a time."""
    scores = np.empty(len(vectors) if at is None else len(at), np.float32)
    for start in range(0, len(scores), _ROWS):
        part = slice(start, start + _ROWS)
        scores[part] = vectors[part if at is None else at[part]] @ query
    return scores


def best(scores: NDArray[np.float32], ids: Ids, k: int) -> Ids:
    """Return the ids of the k highest scores and of all that are as good within rounding; -inf is never among them."""
    if len(scores) > k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k] - _CLOSE
        ids, scores = ids[scores >= bound], scores[scores >= bound]
    return ids[np.isfinite(scores)]
