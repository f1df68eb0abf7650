"""What is computed of all pictures at once: the map with axes in words, and the time line of a query.

n is the number of pictures, D the length of a vector.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.caches.refresh import stale
from index.caches.sealed_file import CacheError
from index.caches.vectors import load_arrays, make_arrays, positions
from index.database.database import Database
from index.web.answers import MonthRow, TimeAnswer
from index.web.board import make_board
from index.web.problems import Problem
from index.web.search import Wish, board_of
from index.web.service import Service

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
_SAMPLE = 20_000  # pictures that principal components are computed of
_ROWS = 50_000  # multiplied at a time


def vectors(database: Database, weight: float) -> tuple[Ids, list[Floats]]:
    """Return all ids (n,), ascending, and their vectors in parts that make (n, D) together, captions mixed in."""
    try:
        arrays = load_arrays(database, weight)
    except CacheError:
        arrays = make_arrays(database, weight)
    dead = positions(arrays.ids, database.read.removed(arrays.last_id))
    newer, fresh = database.read.vectors_after(arrays.last_id, weight=weight)
    if stale(len(newer), len(dead), len(arrays.ids)):
        arrays = make_arrays(database, weight)
        dead, newer, fresh = dead[:0], newer[:0], fresh[:0]
    alive = np.ones(len(arrays.ids), bool)
    alive[dead] = False
    known = arrays.vectors if alive.all() else arrays.vectors[alive]
    return np.concatenate([arrays.ids[alive], newer]), [known, fresh.reshape(len(newer), known.shape[1])]


def products(parts: list[Floats], basis: Floats) -> Floats:
    """Return the products of all vectors with those of `basis` (B, D): (n, B)."""
    rows = [part[start : start + _ROWS] @ basis.T for part in parts for start in range(0, len(part), _ROWS)]
    return np.concatenate(rows) if rows else np.empty((0, len(basis)), np.float32)


def points(service: Service, x: str, y: str) -> bytes:
    """Return a place on the map for each picture: n ids as float64, then n pairs as float32, all little-endian.

    A coordinate is the cosine with the words of its axis, as in "outdoors -indoors"; of an axis without words, the
    next principal component. Raises QueryError if the words cannot be read or none is known.
    """
    with service.reading() as (database, _):
        key = ("map", x, y, database.version())
        kept: bytes = service.rankings.get(key, lambda: _points(service, database, x, y))
    return kept


def _points(service: Service, database: Database, x: str, y: str) -> bytes:
    ids, parts = vectors(database, 0.0)
    axes = [_axis(service, words) for words in (x, y)]
    missing = sum(axis is None for axis in axes)
    components = iter(principal(parts, missing)) if missing and len(ids) else iter(())
    dim = database.read.dim or 0
    basis = np.stack([next(components, np.zeros(dim, np.float32)) if axis is None else axis for axis in axes])
    places = products(parts, basis.astype(np.float32))
    return ids.astype("<f8").tobytes() + places.astype("<f4").tobytes()


def _axis(service: Service, words: str) -> Floats | None:
    board = make_board(None if service.words is None else service.words.space, words)
    return None if board is None else board.query(service.model.identity).vector


def principal(parts: list[Floats], count: int) -> Floats:
    """Return the directions (count, D) in which vectors vary most, the same at every call."""
    rows = np.concatenate(parts)
    if len(rows) > _SAMPLE:
        rows = rows[np.random.default_rng(0).choice(len(rows), _SAMPLE, replace=False)]
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    found = directions.T[::-1][:count]
    found = found * np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])[:, None]
    return np.asarray(found, np.float32)


def months(when: Ids) -> tuple[Ids, list[str]]:
    """Return the month of each moment (n,), counted from the first month of all, and the names of the months."""
    if not len(when):
        return when, []
    offset = datetime.now().astimezone().utcoffset() or timedelta()
    local = when + round(offset.total_seconds()) * 1_000_000_000
    found = local.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    first, last = int(found.min()), int(found.max())
    return found - first, np.arange(first, last + 1).astype("datetime64[M]").astype(str).tolist()


def time_line(service: Service, wish: Wish) -> TimeAnswer:
    """Return for each month how many pictures there are, and how many are expected to fit a query.

    The expected number is the sum of the calibrated scores of all pictures of the month: each is the share of hits
    with its cosine that fit. Raises Problem 501 if the model's scores are not calibrated.
    """
    with service.reading() as (database, searcher):
        board = board_of(service, database, searcher, wish)
        catalogue = service.catalogue()
        number, names = months(catalogue.when)
        expected = np.zeros(len(names))
        if board is not None:
            scores = service.model.scores
            if not scores.is_calibrated(board.kind):
                raise Problem(
                    501, "this model's scores are not shares of hits", "make them: `training.evaluate.scores`"
                )
            ids, parts = vectors(database, database.read.mixed(scores.weight(board.kind)))
            vector = board.query(service.model.identity).vector
            cosines = products(parts, (vector / np.linalg.norm(vector))[None])[:, 0].astype(np.float64)
            shares = scores.calibrate_all(cosines, board.kind)
            at = positions(ids, catalogue.ids)
            both = np.isin(catalogue.ids, ids, assume_unique=True)
            expected += np.bincount(number[both], weights=shares[at], minlength=len(names))
        totals = np.bincount(number, minlength=len(names))
    return TimeAnswer(
        months=[
            MonthRow(month=name, expected=None if board is None else round(float(fits), 2), total=int(total))
            for name, fits, total in zip(names, expected, totals, strict=True)
        ]
    )
