"""Search with a bare vector, as if the library's own model had made it."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.search.query import Filter, Query
from index.search.searcher import Hit, Searcher
from vsearch.scores import Kind, Scores


def ask(
    searcher: Searcher,
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
    """Return what a searcher finds for a vector of the library's own model."""
    query = Query(vector, kind, (), searcher.database.read.identity or "")
    only = Filter(within, since, until, min_score)
    return searcher.search(query, k, only, caption_weight=weight, exact=exact)


def search(
    database: Database,
    vector: NDArray[np.float32],
    k: int = 10,
    *,
    scores: Scores | None = None,
    kind: Kind = "words",
    weight: float | None = None,
    within: str | os.PathLike[str] | None = None,
    since: int | None = None,
    until: int | None = None,
    min_score: float | None = None,
    exact: bool | None = None,
) -> list[Hit]:
    """Return the same from a searcher that knows nothing yet."""
    bounds = {"since": since, "until": until}
    searcher = Searcher(database, scores)
    return ask(searcher, vector, k, kind=kind, weight=weight, within=within, min_score=min_score, exact=exact, **bounds)
