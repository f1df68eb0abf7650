"""What is looked for, and among which pictures.

D is the length of a vector.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.model import Model, Photo, Weighted
from index.search.place import Near
from vsearch.errors import PictureError, QueryError, VsearchError
from vsearch.scores import Kind

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Query:
    """What is looked for, as a vector of one model: `Searcher` refuses it for a library of another model.

    - `vector`: (D,), of any length above zero.
    - `kind`: what it was made of, "words" or "picture"; words and pictures together count as words.
    - `unknown`: words that the model's dictionary does not have; a guess from their letters took their place.
    - `identity`: the model that made it.
    """

    vector: Vector
    kind: Kind
    unknown: tuple[str, ...]
    identity: str


@dataclass(frozen=True)
class Filter:
    """Which pictures may be found; None lets all of them pass.

    - `within`: those below this folder.
    - `since`, `until`: those taken from then on, and before then; a date, or nanoseconds since 1970. Where it is not
      known when a picture was taken, the last change of its file counts; with `by_file_time`, everywhere.
    - `min_score`: those with at least this score.
    - `ids`: those with one of these ids, int64 (n,), ascending.
    - `camera`: those with this text in the maker or the model of their camera, in whatever case.
    - `near`: those taken near a place.
    - `text`: those that say this, see `index.database.texts.expression`.
    - `keywords`: those with all of these keywords, in whatever case.
    - `rating`: those with at least so many stars.
    """

    within: str | os.PathLike[str] | None = None
    since: datetime | int | None = None
    until: datetime | int | None = None
    min_score: float | None = None
    ids: NDArray[np.int64] | None = field(default=None, compare=False)
    by_file_time: bool = False
    camera: str | None = None
    near: Near | None = None
    text: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None


ANY = Filter()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = 2**63 - 1


def nanoseconds(moment: datetime | int | None) -> int | None:
    """Return a date as file systems note it: nanoseconds since 1970. A date without a time zone is local time.

    What lies outside the years that 64 bits hold, 1677 to 2262, becomes the nearest that they do.
    """
    if isinstance(moment, datetime):
        if not 1700 <= moment.year <= 2250:  # some platforms know no local time there
            moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        seconds = (moment - EPOCH) // timedelta(seconds=1) if moment.tzinfo else math.floor(moment.timestamp())
        moment = seconds * 1_000_000_000 + moment.microsecond * 1_000
    return moment if moment is None else max(-_INT64, min(_INT64, moment))


def make_query(
    model: Model,
    words: str | Query | None,
    image: Photo | None = None,
    like: Iterable[Weighted] = (),
    unlike: Iterable[Weighted] = (),
) -> Query:
    """Return the query for words, for pictures, or for both.

    With the unit vectors q of the words, x of the pictures `like` with weights w, and y of those `unlike` with weights
    u, that is q + sum of w x - sum of u y, at length 1: a picture of weight 1 counts as all words together. `image` is
    one more picture of `like`. Raises QueryError if nothing is given, if no word is known, if a weight is no number
    above 0, or if all cancel each other out; VsearchError if a picture cannot be read.
    """
    parts: list[tuple[Query, float]] = []
    if isinstance(words, Query):
        parts.append((words, 1.0))
    elif words:
        found = model.query(words)
        parts.append((Query(found.vector, "words", tuple(found.unknown), model.identity), 1.0))
    wanted = [*([] if image is None else [(image, 1.0)]), *map(_weighted, like)]
    for photo, weight in [*wanted, *((photo, -weight) for photo, weight in map(_weighted, unlike))]:
        parts.append((Query(_embed(model, photo), "picture", (), model.identity), weight))
    if not parts:
        raise QueryError("the query is empty", "give words, a picture, or both")
    return _sum(parts)


def _weighted(given: Weighted) -> tuple[Photo, float]:
    """Return a photo and its weight. Raises QueryError if that is no number above 0."""
    photo, weight = given if isinstance(given, tuple) else (given, 1.0)
    if not (math.isfinite(weight) and weight > 0):
        raise QueryError(
            f"a picture's weight is a number above 0, not {weight}", "leave the weight out, or give one above 0"
        )
    return photo, float(weight)


def _embed(model: Model, image: Photo) -> Vector:
    try:
        return model.embed_image(image)
    except PictureError as error:
        name = f"{os.fspath(image)}: " if isinstance(image, str | os.PathLike) else ""
        raise VsearchError(f"{name}{error}", "name a picture that can be read") from None


def _sum(parts: list[tuple[Query, float]]) -> Query:
    """Return the sum of queries, each at length 1 times its weight; the first says of which kind it is."""
    first = parts[0][0]
    if len(parts) == 1 and parts[0][1] > 0:
        return first
    if any(part.identity != first.identity for part, _ in parts):
        raise QueryError("words and picture were embedded by two models", "embed both with the library's model")
    vector = np.stack([np.float32(weight) * _unit(part.vector) for part, weight in parts]).sum(axis=0)  # (D,)
    if float(np.linalg.norm(vector)) < 1e-6 * max(abs(weight) for _, weight in parts):
        raise QueryError("words and pictures cancel each other out", "leave one of them out")
    return Query(_unit(vector), first.kind, first.unknown, first.identity)


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def check_count(k: int) -> None:
    """Raise QueryError for a number of answers below 1."""
    if k < 1:
        raise QueryError(f"the number of answers must be at least 1, not {k}")


def unit_vector(given: Vector, dim: int) -> Vector:
    """Return a query's vector at unit length (D,). Raises QueryError if it is not of D numbers, or has no direction."""
    vector = np.asarray(given, np.float64)
    if vector.shape != (dim,):
        raise QueryError(f"the library holds vectors of {dim} numbers, the query has {vector.shape}")
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise QueryError("the query has no direction", "remove terms that cancel each other out")
    return np.asarray((vector / norm), np.float32)
