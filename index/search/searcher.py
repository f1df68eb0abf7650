"""From a query vector to ranked hits: exact for small libraries and small parts, through the graph for large ones.

Whatever path finds the candidates, they are scored again from the library itself, so a score never depends on the path.
D is the length of a vector, n the pictures in the library, m some of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial, reduce

import numpy as np
from numpy.typing import NDArray

from index.caches.refresh import GRAPH_AFTER, GRAPH_FROM
from index.caches.vectors import positions
from index.database.connection import as_library_error
from index.database.database import Database
from index.database.texts import Match
from index.paths import absolute
from index.search.candidates import View, best
from index.search.place import ids_near
from index.search.query import ANY, Filter, Query, check_count, nanoseconds, unit_vector
from vsearch.scores import Kind, Scores

_FEW = 2_000  # rows that a filter leaves: read from the library, no cache is touched
_ROWS = 20_000  # read from the library at a time


@dataclass(frozen=True)
class Hit:
    """A picture found: path, score (how likely it fits, 0 to 1, or the cosine), caption, id, cosine (-1 to 1).

    `match` is where it says the text that was searched for; where that was all, score and cosine are 0.
    """

    path: str
    score: float
    caption: str | None
    id: int
    cosine: float
    match: Match | None = None


class Searcher:
    """Answers many queries on one library, keeping its caches in memory. Sees what builds add meanwhile."""

    def __init__(
        self,
        database: Database,
        scores: Scores | None = None,
        *,
        graph_from: int = GRAPH_FROM,
        graph_after: int = GRAPH_AFTER,
    ) -> None:
        """Rank hits by `scores`, by default by the cosine with the picture only.

        The graph is asked from `graph_from` pictures on, once more than `graph_after` queries of a kind came.
        """
        self.database = database
        self.scores = scores or Scores()
        self._graph_from = graph_from
        self._graph_after = graph_after
        self._views: dict[float, View] = {}

    def search(
        self,
        query: Query,
        k: int = 10,
        only: Filter = ANY,
        *,
        caption_weight: float | None = None,
        exact: bool | None = None,
    ) -> list[Hit]:
        """Return the k nearest of the pictures that `only` lets pass, the best first; equal scores by path.

        `caption_weight` says how much captions count in place of what the scores say. `exact`: True never asks the
        graph, None asks it where the library is large enough.
        Raises LibraryError if the query was made by another model than the library, QueryError if it does not fit.
        """
        with self.database.snapshot():
            vector = self._check(query, k)
            if vector is None:
                return []
            wish = self.scores.weight(query.kind) if caption_weight is None else caption_weight
            weight = self.database.read.mixed(wish)
            candidates = self.nearest(vector, k, weight, self._passing(only), exact)
            hits = self._score(vector, candidates, weight, query.kind)
            hits = [hit for hit in hits if only.min_score is None or hit.score >= only.min_score][:k]
            return hits if only.text is None else self._told(hits, only.text)

    def say(self, text: str, k: int = 10, only: Filter = ANY) -> list[Hit]:
        """Return k of the pictures that say a text and that `only` lets pass, those that say little else first.

        Raises QueryError if there is no word in the text, LibraryError if the library has no index of words yet.
        """
        check_count(k)
        with self.database.snapshot():
            wanted = self._wanted(only)
            ranked = self.database.texts.best(text, k if wanted is None else -1)
            if wanted is not None:
                ranks = np.array(ranked, np.int64)
                ranked = ranks[np.isin(ranks, wanted)][:k].tolist()
            pictures = self.database.read.pictures(ranked)
            hits = [Hit(pictures[id_].path, 0.0, pictures[id_].caption, id_, 0.0) for id_ in ranked if id_ in pictures]
            return self._told(hits, text)

    def _passing(self, only: Filter) -> NDArray[np.int64] | None:
        """Return the ids (n,) of pictures that pass all filters and say the text, ascending, None if all do."""
        wanted = self._wanted(only)
        if only.text is None:
            return wanted
        said = self.database.texts.ids(only.text)
        return said if wanted is None else np.intersect1d(said, wanted, assume_unique=True)

    def _told(self, hits: list[Hit], text: str) -> list[Hit]:
        """Return the hits with where each says a text."""
        found = self.database.texts.where(text, [hit.id for hit in hits])
        return [replace(hit, match=found.get(hit.id)) for hit in hits]

    def _wanted(self, only: Filter) -> NDArray[np.int64] | None:
        """Return the ids (n,) of pictures that pass the filters but for the score, ascending; None if all do."""
        details, found = self.database.details, list[NDArray[np.int64]]()
        dates = nanoseconds(only.since), nanoseconds(only.until)
        changed, taken = (dates, (None, None)) if only.by_file_time else ((None, None), dates)
        folder = None if only.within is None else absolute(only.within)
        if (folder, *changed) != (None, None, None):
            found.append(self.database.read.ids_where(folder, *changed))
        cameras = None if only.camera is None else details.cameras_with(only.camera)
        if (cameras, *taken) != (None, None, None):
            found.append(details.ids_where(cameras, *taken))
        if only.near is not None:
            found.append(ids_near(details, only.near))
        if only.keywords or only.rating is not None:
            found.append(self.database.notes.ids_where(only.keywords, only.rating))
        if only.ids is not None:
            found.append(only.ids)
        return reduce(partial(np.intersect1d, assume_unique=True), found) if found else None

    def vectors(self, ids: Iterable[int], kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids (m,), ascending, and the unit vectors (m, D) that a query of this kind is compared with."""
        return self.database.read.vectors(ids, self.database.read.mixed(self.scores.weight(kind)))

    def _check(self, query: Query, k: int) -> NDArray[np.float32] | None:
        """Return the query's vector at unit length (D,), None if the library is empty."""
        check_count(k)
        dim = self.database.read.dim
        if dim is None:
            return None
        self.database.check_identity(query.identity)
        return unit_vector(query.vector, dim)

    def nearest(
        self, query: NDArray[np.float32], k: int, weight: float, wanted: NDArray[np.int64] | None, exact: bool | None
    ) -> NDArray[np.int64]:
        """Return ids that hold the k nearest: from the library where few may be found, or no cache has this weight."""
        if wanted is not None and len(wanted) <= _FEW:
            ids, vectors = self.database.read.vectors(wanted.tolist(), weight)
            return best(vectors @ query, ids, k)
        if weight not in (0.0, self.scores.caption_weight):
            return self._walk(query, k, weight, wanted)
        if weight not in self._views:
            self._views[weight] = View(self.database, weight, self._graph_from, self._graph_after)
        return self._views[weight].nearest(query, k, wanted, exact)

    def _walk(
        self, query: NDArray[np.float32], k: int, weight: float, wanted: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Search exactly over all rows of the library, a part at a time."""
        found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
        for ids, vectors in self.database.read.blocks(_ROWS, weight):
            scores = vectors @ query
            if wanted is not None:
                at = positions(ids, wanted)
                ids, scores = ids[at], scores[at]
            found.append((ids, scores))
        return best(np.concatenate([scores for _, scores in found]), np.concatenate([ids for ids, _ in found]), k)

    def _score(self, query: NDArray[np.float32], candidates: NDArray[np.int64], weight: float, kind: Kind) -> list[Hit]:
        """Score all candidates from the library, in double precision and row by row, the best first."""
        ids, vectors = self.database.read.vectors(candidates.tolist(), weight)
        pictures = self.database.read.pictures(ids.tolist())
        if len(pictures) != len(ids):
            raise as_library_error(self.database.path, ValueError("malformed: a vector has no picture"))
        scores = cosines(vectors, query)  # (m,)
        shares = self.scores.calibrate_all(scores, kind)
        hits = []
        for id_, share, cosine in zip(ids.tolist(), shares.tolist(), scores.tolist(), strict=True):
            hits.append(Hit(pictures[id_].path, share, pictures[id_].caption, id_, cosine))
        return sorted(hits, key=lambda hit: (-hit.cosine, os.fsencode(hit.path)))


def cosines(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines (m,) of unit vectors (m, D) with a unit vector (D,): in double precision, row by row.

    The score of a picture depends on nothing else, so it is the same whatever found it, and in whatever store it is.
    """
    return np.asarray((vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1.0, 1.0), np.float64)
