"""Votes re-rank at once: relevance feedback by Rocchio.

    v' = unit(v) + BETA / |G| * sum of x in G  -  GAMMA / |B| * sum of x in B

with the unit vectors x of the pictures voted good (G) and bad (B) for the query v. Rocchio 1971, "Relevance Feedback in
Information Retrieval"; the weights are those of Manning, Raghavan and Schuetze 2008, section 9.1.1: what fits tells
more than what does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.search.searcher import Searcher
from index.web.board import Board

BETA, GAMMA = 0.75, 0.15


def feedback(good: NDArray[np.float32], bad: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return what votes add to the unit vector of a query, of pictures (n, D) and (m, D); None without any."""
    if not len(good) and not len(bad):
        return None
    total = np.zeros((good if len(good) else bad).shape[1], np.float32)
    if len(good):
        total += np.float32(BETA) * good.mean(axis=0)
    if len(bad):
        total -= np.float32(GAMMA) * bad.mean(axis=0)
    return total


def voted(database: Database, board: Board) -> dict[int, bool]:
    """Return the ids of the pictures that were voted on for this query, and whether they fit."""
    if not board.key:
        return {}
    votes = database.opinions.votes(board.key)
    return {picture.id: vote.good for vote in votes for picture in database.read.by_hash(vote.hash)}


def with_votes(database: Database, searcher: Searcher, board: Board) -> Board:
    """Return a board with what the votes on its query add."""
    votes = voted(database, board)
    if not votes:
        return board
    ids, vectors = searcher.vectors(votes, board.kind)
    good = np.array([votes[id_] for id_ in ids.tolist()], bool)
    return board.with_votes(feedback(vectors[good], vectors[~good]))
