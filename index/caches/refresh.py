"""Keep the caches of a library, arrays and graphs, in step with it.

There is one of each for the pictures' own vectors and, where captions count, one of each with them mixed in, at the
weight that the library notes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.caches.graph import Graph, inspect
from index.caches.sealed_file import CacheError, discard, may_replace
from index.caches.vectors import arrays_path, load_arrays, make_arrays, positions
from index.database.database import Database
from index.paths import beside
from vsearch.files import mode_of

# Exact search over 100,000 rows of 200 numbers takes 24 ms and is always right; the graph of as many takes a minute
# of computing to build, and a new process 0.15 s to load. It pays for many queries by one process, or for many rows.
GRAPH_FROM = 200_000  # pictures
GRAPH_AFTER = 5  # queries of a process answered exactly before it loads the graph: a pass takes a sixth of the loading
STALE_SHARE = 0.1  # a cache is made again when more than this share of it is dead or missing
STALE_ROWS = 1_000  # and more than this many rows: so many are read from the library in 10 ms


def graph_path(database: Database, weight: float = 0.0) -> Path:
    """Return the path of the graph of a library, for captions of weight 0 or above."""
    return beside(database.path, ".mixed-graph" if weight else ".graph")


def load_graph(database: Database, weight: float = 0.0) -> Graph:
    """Read the graph next to a library; raises CacheError if it is missing, damaged, or not made of this library."""
    graph = Graph.load(graph_path(database, weight))
    _check(database, graph.facts, weight)
    return graph


def weights(database: Database) -> list[float]:
    """Return the weights of captions for which this library keeps caches: 0 and, where captions count, its own."""
    return sorted({0.0, database.read.mixed(database.read.caption_weight)})


def stale(newer: int, dead: int, cached: int) -> bool:
    """Tell whether a cache of `cached` rows lacks so many newer ones, or holds so many dead ones, that it is redone."""
    return newer + dead > max(STALE_ROWS, STALE_SHARE * cached)


def refresh(database: Database, *, graph_from: int = GRAPH_FROM) -> None:
    """Bring all caches up to date after a build. What cannot be written is left out: search does without."""
    kept = weights(database)
    for weight in kept:
        _refresh(database, weight, graph_from)
    if len(kept) == 1:
        discard(arrays_path(database, 1.0))
        discard(graph_path(database, 1.0))


def _refresh(database: Database, weight: float, graph_from: int) -> None:
    with database.snapshot():
        try:
            arrays = load_arrays(database, weight)
            if _stale(database, arrays.ids, arrays.last_id):
                arrays = make_arrays(database, weight)
        except CacheError:
            arrays = make_arrays(database, weight)
        big = database.read.count() >= graph_from
        whole = big and _graph_serves(database, weight)
        if big and not whole and _stale(database, arrays.ids, arrays.last_id, any_change=True):
            arrays = make_arrays(database, weight)
    if not big:
        discard(graph_path(database, weight))
    elif not whole and may_replace(graph_path(database, weight)):
        facts = {"token": arrays.token, "last_id": arrays.last_id, "weight": weight}
        with contextlib.suppress(OSError, RuntimeError):
            Graph.build(arrays.vectors, arrays.ids, facts).save(graph_path(database, weight), mode_of(database.path))


def _graph_serves(database: Database, weight: float) -> bool:
    try:
        facts, ids, _ = inspect(graph_path(database, weight))
        _check(database, facts, weight)
    except CacheError:
        return False
    return not _stale(database, ids, int(facts["last_id"]))


def _check(database: Database, facts: dict[str, Any], weight: float) -> None:
    match facts:
        case {"token": str(token), "last_id": int(last_id), "dim": int(dim)}:
            mine = dim == database.read.dim and last_id <= database.read.last_id() and database.read.knows_run(token)
            if mine and facts.get("weight", 0.0) == weight:
                return
    raise CacheError("made of another library")


def _stale(database: Database, ids: NDArray[np.int64], last_id: int, *, any_change: bool = False) -> bool:
    newer = database.read.count_after(last_id)
    dead = len(positions(ids, database.read.removed(last_id)))
    return newer + dead > 0 if any_change else stale(newer, dead, len(ids))
