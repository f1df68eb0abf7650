"""From a query vector to ranked hits: exact for small libraries and small parts, through the graph for large ones.

Whatever path finds the candidates, they are scored anew from the library itself, so a score never depends on the path.
D is the length of a vector, n the pictures in the library, m some of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.caches.refresh import GRAPH_AFTER, GRAPH_FROM
from index.caches.vectors import positions
from index.database.connection import as_library_error
from index.library import Library
from index.paths import absolute
from index.search.candidates import View, best
from vsearch.errors import QueryError
from vsearch.scores import Kind, Scores

_FEW = 2_000  # rows that a filter leaves: read from the library, no cache is touched
_ROWS = 20_000  # read from the library at a time


@dataclass(frozen=True)
class Hit:
    """A picture found: path, score (the share of such hits that fit, or the cosine), caption, id, cosine (-1 to 1)."""

    path: str
    score: float
    caption: str | None
    id: int
    cosine: float


def search(
    library: Library,
    vector: NDArray[np.float32],
    k: int = 10,
    *,
    kind: Kind = "words",
    ranking: Scores | None = None,
    weight: float | None = None,
    within: str | os.PathLike[str] | None = None,
    since: int | None = None,
    until: int | None = None,
    min_score: float | None = None,
    exact: bool | None = None,
) -> list[Hit]:
    """The k pictures nearest to a vector (D,) of any length above zero, the best first; equal scores by path.

    `kind` says what the vector is of, `ranking` how such hits are ranked and scored (default: by the cosine with the
    picture alone), `weight` how much captions count in place of what the ranking says. `within` keeps pictures below a
    folder, `since` and `until` those whose file changed from then until before then (ns since 1970), `min_score` those
    with at least this score. `exact`: True never asks the graph, None asks it where the library is large enough.
    Raises QueryError for a vector that does not fit.
    """
    return Searcher(library, ranking).search(
        vector,
        k,
        kind=kind,
        weight=weight,
        within=within,
        since=since,
        until=until,
        min_score=min_score,
        exact=exact,
    )


class Searcher:
    """Answers many queries on one library, keeping its caches in memory. Sees what builds add meanwhile."""

    def __init__(
        self,
        library: Library,
        ranking: Scores | None = None,
        *,
        graph_from: int = GRAPH_FROM,
        graph_after: int = GRAPH_AFTER,
    ) -> None:
        """The graph is asked from `graph_from` pictures on, once more than `graph_after` queries of a kind came."""
        self._library = library
        self._ranking = ranking or Scores()
        self._graph_from = graph_from
        self._graph_after = graph_after
        self._views: dict[float, View] = {}

    def search(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        *,
        kind: Kind = "words",
        weight: float | None = None,
        within: str | os.PathLike[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        min_score: float | None = None,
        exact: bool | None = None,
    ) -> list[Hit]:
        """As the function `search`."""
        with self._library.snapshot():
            query = self._check(vector, k)
            if query is None:
                return []
            weight = self._library.mixed(self._ranking.weight(kind) if weight is None else weight)
            wanted = None
            if any(bound is not None for bound in (within, since, until)):
                wanted = self._library.ids_where(None if within is None else absolute(within), since, until)
            hits = self._score(query, self._nearest(query, k, weight, wanted, exact), weight, kind)
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

    def _nearest(
        self, query: NDArray[np.float32], k: int, weight: float, wanted: NDArray[np.int64] | None, exact: bool | None
    ) -> NDArray[np.int64]:
        """Ids that hold the k nearest: from the library where few may be found, or no cache has this weight."""
        if wanted is not None and len(wanted) <= _FEW:
            ids, vectors = self._library.vectors(wanted.tolist(), weight)
            return best(vectors @ query, ids, k)
        if weight not in (0.0, self._ranking.caption_weight):
            return self._walk(query, k, weight, wanted)
        if weight not in self._views:
            self._views[weight] = View(self._library, weight, self._graph_from, self._graph_after)
        return self._views[weight].nearest(query, k, wanted, exact)

    def _walk(
        self, query: NDArray[np.float32], k: int, weight: float, wanted: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Exact over all rows of the library, a part at a time."""
        found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
        for ids, vectors in self._library.blocks(_ROWS, weight):
            scores = vectors @ query
            if wanted is not None:
                at = positions(ids, wanted)
                ids, scores = ids[at], scores[at]
            found.append((ids, scores))
        return best(np.concatenate([scores for _, scores in found]), np.concatenate([ids for ids, _ in found]), k)

    def _score(self, query: NDArray[np.float32], candidates: NDArray[np.int64], weight: float, kind: Kind) -> list[Hit]:
        """All candidates scored from the library, in double precision and row by row, the best first."""
        ids, vectors = self._library.vectors(candidates.tolist(), weight)
        pictures = self._library.pictures(ids.tolist())
        if len(pictures) != len(ids):
            raise as_library_error(self._library.path, ValueError("malformed: a vector has no picture"))
        scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1.0, 1.0)  # (m,)
        hits = []
        for id_, cosine in zip(ids.tolist(), scores.tolist(), strict=True):
            picture = pictures[id_]
            hits.append(Hit(picture.path, self._ranking.calibrate(cosine, kind), picture.caption, id_, cosine))
        return sorted(hits, key=lambda hit: (-hit.cosine, os.fsencode(hit.path)))
