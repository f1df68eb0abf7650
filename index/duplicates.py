"""Groups of pictures that are the same, or nearly: equal content, or vectors that lie closer than a threshold.

Two pictures belong to one group if a chain of such pairs leads from one to the other. The pairs come from products of
blocks of vectors, so memory stays bounded; above some hundred thousand pictures the graph, where there is one, names
each picture's neighbours in place of all products.
D is the length of a vector, n the pictures looked at.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from index.caches.graph import Graph
from index.caches.refresh import GRAPH_FROM, load_graph
from index.caches.sealed_file import CacheError
from index.database.database import Database
from index.database.read import Picture
from index.paths import absolute, file_of
from vsearch.progress import Progress

# With the bundled model, of 2,000 photos of Flickr8k (224 x 224) 6 of 1,999,000 different pairs reach it. Of copies of
# 40 others: JPEG quality 75, all; three quarters of the size, 82 %; 4 % cropped, 88 %; quality 40, 78 %; half the size
# (112 x 112), 38 %.
THRESHOLD = 0.95
_OUTER = 32_768  # rows held while all later ones pass by: 26 MB for D = 200
_INNER = 2_048  # rows a side of one product: 17 MB
_WHOLE = 300_000  # rows that are held all at once: 240 MB for D = 200
_SIDE = 512  # rows a side of one product of shortened vectors: 1 MB
_SHORT = 40  # numbers of a shortened vector, but for the length of the rest
_PAIRS = 20_000  # computed in full at a time
_NEIGHBOURS = 32  # asked of the graph at first
_CLOSE = 1e-5  # cosines of the graph and of a product differ by less


@dataclass(frozen=True)
class Group:
    """Near-identical pictures, the largest file first; `exact` where all have the same content."""

    pictures: tuple[Picture, ...]
    exact: bool

    @property
    def freed(self) -> int:
        """Bytes of all files but the first."""
        return sum(picture.size for picture in self.pictures[1:])


def duplicates(
    database: Database,
    threshold: float = THRESHOLD,
    *,
    within: str | os.PathLike[str] | None = None,
    graph_from: int = GRAPH_FROM,
    progress: Progress | None = None,
) -> list[Group]:
    """Return all groups of two or more, the one that would free most bytes first.

    `threshold` is the cosine of two vectors from which on they count as the same picture; above 1 only equal content
    does. `within` looks only at pictures below a folder. From `graph_from` pictures on the graph names candidates for
    the pictures it knows; without it, all pairs are looked at, most by a bound only, see `_all_pairs`.
    """
    with database.snapshot():
        ids = database.read.ids_under(absolute(within) if within is not None else os.sep)  # (n,)
        parent = np.arange(len(ids))
        _join(parent, *_equal_content(database, ids))
        if threshold <= 1:
            near = _Near(database, ids, parent, threshold, progress or (lambda done, total: None))
            near.run(_load(database) if len(ids) >= graph_from else None)
        return _groups(database, ids, parent)


def _equal_content(database: Database, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs (m,), (m,) of positions among ids (n,): each picture and the next one with its content."""
    rows = database.read.equal_content()
    keep = np.isin([row[1] for row in rows], ids)
    kept = [row for row, inside in zip(rows, keep, strict=True) if inside]
    pairs = [(a[1], b[1]) for a, b in pairwise(kept) if a[0] == b[0]]
    at = np.searchsorted(ids, np.array(pairs, np.int64).reshape(-1, 2))  # (m, 2)
    return at[:, 0].astype(np.int64), at[:, 1].astype(np.int64)


class _Near:
    """Joins pictures with a cosine at or above the threshold; positions count in ids (n,)."""

    def __init__(
        self,
        database: Database,
        ids: NDArray[np.int64],
        parent: NDArray[np.int64],
        threshold: float,
        progress: Progress,
    ) -> None:
        self._database = database
        self._ids = ids
        self._parent = parent
        self._threshold = threshold
        self._progress = progress

    def run(self, graph: Graph | None) -> None:
        """Join all pairs; those among pictures that the graph knows through the graph."""
        if graph is None and len(self._ids) <= _WHOLE:
            self._all_pairs()
            return
        n = len(self._ids)
        known = np.isin(self._ids, graph.ids) if graph is not None else np.zeros(n, bool)  # (n,)
        for start in range(0, n, _OUTER):
            self._progress(start, n)
            at = np.arange(start, min(start + _OUTER, n))  # (m,)
            vectors = self._vectors(at)  # (m, D)
            if graph is not None:
                for position, vector in zip(at[known[at]].tolist(), vectors[known[at]], strict=True):
                    self._ask(graph, position, vector)
            self._compare(at[~known[at]], vectors[~known[at]], known)
        self._progress(n, n)

    def _all_pairs(self) -> None:
        """Join all pairs through products of blocks, short ones first.

        In the directions in which the vectors are longest, `short` has k numbers of each and, as the last one, the
        length of the rest. The product of two such rows is at least the cosine (Cauchy-Schwarz), so only pairs for
        which it reaches the threshold are computed in full.
        """
        n = len(self._ids)
        if not n:
            return
        vectors = self._vectors(np.arange(n))
        short = _shortened(vectors)
        for start in range(0, n, _SIDE):
            self._progress(start, n)
            for other in range(start, n, _SIDE):
                bounds = short[start : start + _SIDE] @ short[other : other + _SIDE].T  # (_SIDE, _SIDE)
                if bounds.max() >= self._threshold - _CLOSE:
                    left, right = np.nonzero(bounds >= self._threshold - _CLOSE)
                    self._join_near(vectors, left + start, right + other)
        self._progress(n, n)

    def _join_near(self, vectors: NDArray[np.float32], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Join the pairs left (m,), right (m,) that are near in all D directions, and are not together already."""
        for first in range(0, len(left), _PAIRS):
            one, two = left[first : first + _PAIRS], right[first : first + _PAIRS]
            apart = self._parent[one] != self._parent[two]
            one, two = one[apart], two[apart]
            near = np.einsum("md,md->m", vectors[one], vectors[two]) >= self._threshold
            _join(self._parent, one[near], two[near])

    def _vectors(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the unit vectors (m, D) of the pictures at these positions (m,); one without a vector gets zeros."""
        found, vectors = self._database.read.vectors(self._ids[at].tolist())
        if len(found) == len(at):
            return vectors
        filled = np.zeros((len(at), vectors.shape[1]), np.float32)
        filled[np.searchsorted(self._ids[at], found)] = vectors
        return filled  # (m, D)

    def _ask(self, graph: Graph, position: int, vector: NDArray[np.float32]) -> None:
        """Join a picture with its neighbours in the graph, asking for more as long as all of them are near."""
        asked = _NEIGHBOURS
        while True:
            ids, cosines = graph.query(vector, asked)
            if cosines[-1] < self._threshold or asked >= len(graph):
                break
            asked *= 4
        ids = np.intersect1d(ids[cosines >= self._threshold - _CLOSE], self._ids)
        found, vectors = self._database.read.vectors(ids.tolist())
        near = np.searchsorted(self._ids, found[vectors @ vector >= self._threshold])
        _join(self._parent, np.full(len(near), position), near.astype(np.int64))

    def _compare(self, at: NDArray[np.int64], vectors: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
        """Join pictures at `at` (m,) with themselves, with all later ones, and with earlier ones of the graph."""
        if not len(at):
            return
        for start in range(0, len(self._ids), _INNER):
            other = np.arange(start, min(start + _INNER, len(self._ids)))
            other = other[known[other] | (other >= at[0])]
            if not len(other):
                continue
            others = self._vectors(other)  # (o, D)
            for first in range(0, len(at), _INNER):
                part = slice(first, first + _INNER)
                rows, columns = np.nonzero(vectors[part] @ others.T >= self._threshold)
                _join(self._parent, at[part][rows], other[columns])


def _shortened(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors (n, D) as (n, k + 1): their longest k directions, and the length of what is left."""
    _, directions = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))  # the longest last
    kept = vectors @ directions[:, -_SHORT:].astype(np.float32)  # (n, k)
    lengths = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    rest = lengths - np.einsum("nk,nk->n", kept, kept, dtype=np.float64)
    return np.concatenate([kept, np.sqrt(rest.clip(0))[:, None].astype(np.float32)], axis=1)


def _join(parent: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Merge the components of each pair left (m,), right (m,); parent (n,) names the lowest of each component."""
    while True:
        one, two = parent[left], parent[right]
        apart = one != two
        if not apart.any():
            return
        left, right, one, two = left[apart], right[apart], one[apart], two[apart]
        np.minimum.at(parent, np.maximum(one, two), np.minimum(one, two))
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent[:] = above


def _groups(database: Database, ids: NDArray[np.int64], parent: NDArray[np.int64]) -> list[Group]:
    members = np.flatnonzero(np.bincount(parent, minlength=len(parent))[parent] > 1)
    members = members[np.argsort(parent[members], kind="stable")]
    pictures = database.read.pictures(ids[members].tolist())
    groups = []
    for _, positions in groupby(members.tolist(), key=lambda at: int(parent[at])):
        rows = [pictures[int(ids[at])] for at in positions]
        rows.sort(key=lambda row: (-row.size, os.fsencode(row.path)))
        groups += _told([row for row in rows if file_of(row.path) == row.path])
        groups += _told(_one_each([row for row in rows if file_of(row.path) != row.path]))
    groups = list({tuple(file_of(row.path) for row in group.pictures): group for group in reversed(groups)}.values())
    return sorted(groups, key=lambda group: (-group.freed, os.fsencode(group.pictures[0].path)))


def _one_each(moments: list[Picture]) -> list[Picture]:
    """Return one moment of each video: that a video looks like itself is not worth a word, and nothing to spare."""
    return list({file_of(row.path): row for row in reversed(moments)}.values())[::-1]


def _told(rows: list[Picture]) -> list[Group]:
    return [Group(tuple(rows), len({row.hash for row in rows}) == 1)] if len(rows) > 1 else []


def _load(database: Database) -> Graph | None:
    """Return the graph of picture vectors next to a library, None if there is none that serves."""
    try:
        return load_graph(database)
    except CacheError:
        return None
