"""Votes by name and photo, and the correction that is learned from them, kept only where it helps."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from index.database.database import Database
from index.model import Model
from index.paths import absolute
from index.search.terms import key_of
from index.teach.correction import Correction, fit, held_out
from vsearch.errors import QueryError

FEWEST = 10  # votes


@dataclass(frozen=True)
class Voted:
    """A vote: its query, the photo (None: none in the library has that content now), and whether it fits."""

    query: str
    path: str | None
    good: bool


@dataclass(frozen=True)
class Lesson:
    """What was learned: from how many votes on how many queries; the share of pairs of votes that are in order before
    and after, on votes that were held out (None if there is no such pair); whether it was kept, and if not, why.
    """

    votes: int
    queries: int
    before: float | None
    after: float | None
    kept: bool
    reason: str = ""


def vote(
    database: Database, model: Model, query: str, photos: Iterable[str | os.PathLike[str]], good: bool | None
) -> tuple[int, list[str]]:
    """Write votes on photos for a query, or with None take them back.

    Return how many, and the photos that are not in the library. Raises QueryError if the query has no words.
    """
    key = key_of(model.space, query)
    if not key:
        raise QueryError("votes are kept for words", "give some, as in dog -boat")
    unknown, count = list[str](), 0
    with database.writing():
        for photo in photos:
            found = database.read.picture(absolute(photo))
            if found is None:
                unknown.append(os.fspath(photo))
                continue
            count += 1
            if good is None:
                database.opinions.withdraw(key, found.hash)
            else:
                database.opinions.vote(key, found.hash, good)
    return count, unknown


def votes(database: Database) -> list[Voted]:
    """Return all votes, in the order in which they came."""
    found = []
    for one in database.opinions.votes():
        rows = database.read.by_hash(one.hash)
        found += [Voted(one.query, row.path, one.good) for row in rows] or [Voted(one.query, None, one.good)]
    return found


def teach(database: Database, model: Model) -> Lesson:
    """Learn from all votes on pictures that are in the library; an earlier correction goes, whatever comes of it.

    Raises LibraryError if the library was made by another model.
    """
    database.check_identity(model.identity)
    names, good, ids, queries = [], [], [], []
    known: dict[str, np.ndarray] = {}
    for one in database.opinions.votes():
        rows = database.read.by_hash(one.hash)
        try:
            vector = known[one.query] if one.query in known else model.query(one.query).vector
        except QueryError:
            continue  # words of another model
        known[one.query] = vector
        if rows:
            names.append(one.query)
            good.append(1.0 if one.good else -1.0)
            ids.append(rows[0].id)
            queries.append(vector / np.linalg.norm(vector))
    database.taught.forget()
    counted = len(names), len(set(names))
    if len(names) < FEWEST:
        return Lesson(*counted, None, None, False, f"{FEWEST} votes are needed")
    order, vectors = database.read.vectors(set(ids), database.read.mixed(model.scores.weight("words")))
    pictures = vectors[np.searchsorted(order, ids)]
    rows_ = np.array(queries, np.float32), pictures, np.array(good), names
    shares = held_out(*rows_)
    if shares is None:
        return Lesson(*counted, None, None, False, "no query has votes of both kinds")
    if shares[1] <= shares[0]:
        return Lesson(*counted, *shares, False, "it does not help votes that were held out")
    database.taught.put(model.identity, fit(*rows_))
    return Lesson(*counted, *shares, True)


def correction(database: Database, identity: str) -> Correction | None:
    """Return what the library has learned, None if nothing, or with another model."""
    found = database.taught.read(identity, database.read.dim or 0)
    return None if found is None else Correction(*found)
