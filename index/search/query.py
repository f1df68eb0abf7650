"""What is looked for, and among which pictures.

D is the length of a vector.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.model import Model, Photo
from vsearch.errors import PictureError, QueryError, VsearchError
from vsearch.scores import Kind

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Query:
    """What is looked for, as a vector of one model: `Searcher` refuses it for a library of another model.

    - `vector`: (D,), of any length above zero.
    - `kind`: what it was made of, "words" or "picture"; words and a picture together count as words.
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
    - `since`, `until`: those whose file changed from then on, and before then; a date, or nanoseconds since 1970.
    - `min_score`: those with at least this score.
    - `ids`: those with one of these ids, int64 (n,), ascending.
    """

    within: str | os.PathLike[str] | None = None
    since: datetime | int | None = None
    until: datetime | int | None = None
    min_score: float | None = None
    ids: NDArray[np.int64] | None = field(default=None, compare=False)


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


def make_query(model: Model, words: str | Query | None, image: Photo | None) -> Query:
    """Return the query for words, for a picture, or for both: then the mean of both vectors.

    Raises QueryError if neither is given, if no word is known, or if the two cancel each other out; VsearchError if
    the picture cannot be read.
    """
    parts: list[Query] = []
    if isinstance(words, Query):
        parts.append(words)
    elif words:
        found = model.query(words)
        parts.append(Query(found.vector, "words", tuple(found.unknown), model.identity))
    if image is not None:
        parts.append(Query(_embed(model, image), "picture", (), model.identity))
    if not parts:
        raise QueryError("the query is empty", "give words, a picture, or both")
    return _mean(parts)


def _embed(model: Model, image: Photo) -> Vector:
    try:
        return model.embed_image(image)
    except PictureError as error:
        name = f"{os.fspath(image)}: " if isinstance(image, str | os.PathLike) else ""
        raise VsearchError(f"{name}{error}", "name a picture that can be read") from None


def _mean(parts: Sequence[Query]) -> Query:
    """Return the query half way between the first and the last; the first says of which kind it is."""
    first, last = parts[0], parts[-1]
    if first is last:
        return first
    if first.identity != last.identity:
        raise QueryError("words and picture were embedded by two models", "embed both with the library's model")
    vector = _unit(first.vector) + _unit(last.vector)
    if float(np.linalg.norm(vector)) < 1e-6:
        raise QueryError("words and picture cancel each other out", "leave one of them out")
    return Query(_unit(vector), first.kind, first.unknown, first.identity)


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
