"""Search for the pages and the API: hits with their sizes, dates and the parts that their cosines are made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.database.texts import Match
from index.paths import readable
from index.search.place import ids_near, parse_near
from index.search.query import Filter
from index.search.searcher import Hit, Searcher
from index.teach.teach import correction
from index.web.answers import HitRow, Said, SearchAnswer, TermRow, Unknown
from index.web.board import Board, make_board
from index.web.folders import real
from index.web.photos import row
from index.web.service import Service
from index.web.votes import with_votes
from vsearch.errors import QueryError

if TYPE_CHECKING:
    from index.database.details import Catalogue

Vector = NDArray[np.float32]
SORTS = ("match", "newest", "oldest")
PAGE = 60
DEEPEST = 10_000  # hits that are ranked; those further down fit nothing
_FIRST = 120  # hits ranked at first
_BY_DATE = 500  # the best hits, which are shown by date where that is wanted
_WHY = 5
_LATEST = 9_000_000_000  # seconds: what nanoseconds in 64 bits can hold


@dataclass(frozen=True)
class Wish:
    """What is looked for, and among which pictures; `since` and `until` are days, both included.

    `near` is a place and a distance, "48.858,2.294,5"; `picture_key` stands for the content of a picture that was sent
    with the request.
    """

    q: str = ""
    like: int | None = None
    like_weight: float = 1.0
    within: str | None = None
    since: date | None = None
    until: date | None = None
    camera: str | None = None
    text: str | None = None
    min_score: float | None = None
    sort: str = "match"
    ids: tuple[int, ...] | None = None
    picture_key: str = ""
    near: str | None = None


def search(
    service: Service, wish: Wish, k: int = PAGE, after: int = 0, *, picture: Vector | None = None, why: bool = False
) -> SearchAnswer:
    """Return the hits `after` to `after` + `k` of a query, the best first; without a query the newest pictures.

    Raises QueryError if the query cannot be read or none of its words is known, LibraryError if there is no library or
    another model made it, Problem 404 if the picture `like` is not in it.
    """
    started = time.perf_counter()
    if wish.sort not in SORTS:
        raise QueryError(f"cannot sort by {wish.sort!r}", f"sort by one of {', '.join(SORTS)}")
    with service.reading() as (database, searcher):
        board = board_of(service, database, searcher, wish, picture)
        wanted = passing(service, database, wish)
        if board is None:
            hits, total = newest(service, database, wanted, after, k, oldest=wish.sort == "oldest")
        else:
            ranked, total = ranking(service, database, searcher, board, wish, wanted, after + k)
            hits = ranked[after : after + k]
        rows = hit_rows(service, database, searcher, board, hits, why=why, text=wish.text)
        unknown = [] if board is None else [_unknown(service, word) for word in board.unknown]
    more = after + k < min(total, DEEPEST)
    return SearchAnswer(
        total=total,
        took_ms=round(1000 * (time.perf_counter() - started), 1),
        unknown=unknown,
        terms=[] if board is None else [TermRow(word=p.word, kind=p.kind, weight=p.weight) for p in board.parts],
        gram=[] if board is None else np.round(board.gram(), 6).tolist(),
        curve=None if board is None else service.model.scores.curve(board.kind),
        hits=rows,
        next=after + k if more else None,
    )


def board_of(
    service: Service, database: Database, searcher: Searcher, wish: Wish, picture: Vector | None = None
) -> Board | None:
    """Return the board of a query with what was learned and the votes on it; None if nothing is looked for."""
    name = "the picture"
    if picture is None and wish.like is not None:
        row(database, wish.like)
        picture = database.read.vectors([wish.like])[1][0]
        name = f"picture {wish.like}"
    space = None if service.words is None else service.words.space
    if wish.q.strip() and space is None:
        raise QueryError("this model knows no words", "search by a picture")
    board = make_board(space, wish.q, picture, wish.like_weight, name)
    return None if board is None else with_votes(database, searcher, _with_taught(service, database, board))


def _with_taught(service: Service, database: Database, board: Board) -> Board:
    """Return a board with what `Library.teach` learned, as `Library.search` has it: in searches by words."""
    if board.kind != "words":
        return board
    identity = service.model.identity
    learned = service.rankings.get(("taught", database.version()), lambda: correction(database, identity))
    return (
        board if learned is None else board.with_taught(learned.step(board.query(identity).vector).astype(np.float32))
    )


def passing(service: Service, database: Database, wish: Wish) -> NDArray[np.int64] | None:
    """Return the ids (n,) of the pictures that pass the filters, ascending; None if all do."""
    found: list[NDArray[np.int64]] = []
    if wish.within:
        found.append(database.read.ids_under(real(database, wish.within)))
    if wish.camera is not None:
        found.append(database.details.ids_where(_cameras(database, wish.camera)))
    if wish.near:
        found.append(ids_near(database.details, parse_near(wish.near)))
    if wish.text:
        found.append(database.texts.ids(wish.text))
    if wish.since is not None or wish.until is not None:
        catalogue = service.catalogue()
        fits = np.ones(len(catalogue.ids), bool)
        if wish.since is not None:
            fits &= catalogue.when >= _begin(wish.since)
        if wish.until is not None:
            fits &= catalogue.when < _begin(wish.until, days=1)
        found.append(catalogue.ids[fits])
    if wish.ids is not None:
        found.append(np.unique(np.array(wish.ids, np.int64)))
    if not found:
        return None
    ids = found[0]
    for other in found[1:]:
        ids = np.intersect1d(ids, other, assume_unique=True)
    return ids


def _cameras(database: Database, given: str | None) -> list[str] | None:
    """Return the camera of the library that bears this name, else those with this text in maker or model."""
    if given is None or given in database.details.cameras():
        return None if given is None else [given]
    return database.details.cameras_with(given)


def _begin(day: date, days: int = 0) -> int:
    """Return the beginning of a day, or of a later one, local time, in nanoseconds since 1970, as far as they count."""
    try:
        moment = (datetime(day.year, day.month, day.day) + timedelta(days=days)).timestamp()
    except (OverflowError, ValueError, OSError):  # the first and the last days of the calendar
        moment = -_LATEST if day.year < 1970 else _LATEST
    return int(max(-_LATEST, min(_LATEST, moment))) * 1_000_000_000


def newest(
    service: Service, database: Database, wanted: NDArray[np.int64] | None, after: int, k: int, *, oldest: bool
) -> tuple[list[Hit], int]:
    """Return the pictures by date, the newest first, and how many there are."""
    catalogue = service.catalogue()
    ids, when = catalogue.ids, catalogue.when
    if wanted is not None:
        fits = np.isin(ids, wanted, assume_unique=True)
        ids, when = ids[fits], when[fits]
    order = _by_date(when, after + k, oldest=oldest)[after:]
    chosen = ids[order].tolist()
    pictures = database.read.pictures(chosen)
    hits = [Hit(pictures[id_].path, 0.0, pictures[id_].caption, id_, 0.0) for id_ in chosen if id_ in pictures]
    return hits, len(ids)


def _by_date(when: NDArray[np.int64], count: int, *, oldest: bool) -> NDArray[np.int64]:
    """Return the positions of the `count` latest (or earliest) of `when` (n,), in order; equal ones by position."""
    keys = when if oldest else -when
    if count < len(keys):
        bound = np.partition(keys, count)[count]
        at = np.flatnonzero(keys <= bound)
        return at[np.argsort(keys[at], kind="stable")][:count]
    return np.argsort(keys, kind="stable")[:count]


def ranking(
    service: Service,
    database: Database,
    searcher: Searcher,
    board: Board,
    wish: Wish,
    wanted: NDArray[np.int64] | None,
    needed: int,
) -> tuple[list[Hit], int]:
    """Return at least `needed` hits, as far as there are so many, and how many there are in all.

    More are ranked than are needed, and kept, for the next page is asked for in a moment.
    """
    total = database.read.count() if wanted is None else len(wanted)
    count = min(total, DEEPEST, _FIRST)
    while count < min(needed, total, DEEPEST):
        count *= 4
    count = min(count, total, DEEPEST)
    if wish.sort != "match":
        count = min(total, _BY_DATE)

    def rank(count: int) -> list[Hit]:
        if not count:
            return []
        only = Filter(min_score=wish.min_score, ids=wanted)
        return searcher.search(board.query(service.model.identity), count, only)

    key = (wish, database.version())
    hits = service.rankings.get((*key, count), partial(rank, count))
    if wish.min_score is not None:  # how many reach it is known only when one has not
        while len(hits) == count and count < min(total, DEEPEST):
            count = min(4 * count, total, DEEPEST)
            hits = service.rankings.get((*key, count), partial(rank, count))
        total = len(hits)
    if wish.sort != "match":
        when = _when(service.catalogue(), hits)
        hits = [hits[at] for at in _by_date(when, len(hits), oldest=wish.sort == "oldest").tolist()]
        total = len(hits)
    return hits, total


def _when(catalogue: Catalogue, hits: Sequence[Hit]) -> NDArray[np.int64]:
    """Return when each hit was taken: (n,); 0 for one that is newer than the catalogue."""
    ids = np.array([hit.id for hit in hits], np.int64)
    at = np.minimum(np.searchsorted(catalogue.ids, ids), max(len(catalogue.ids) - 1, 0))
    if not len(catalogue.ids):
        return np.zeros(len(ids), np.int64)
    return np.where(catalogue.ids[at] == ids, catalogue.when[at], 0)


def hit_rows(
    service: Service,
    database: Database,
    searcher: Searcher,
    board: Board | None,
    hits: Sequence[Hit],
    *,
    why: bool = False,
    text: str | None = None,
) -> list[HitRow]:
    """Return hits as the API gives them, with where they say `text`; without a board they have no score."""
    ids = [hit.id for hit in hits]
    pictures, details = database.read.pictures(ids), database.details.of(ids)
    votes = [] if board is None or not board.key else database.opinions.votes(board.key)
    good = {vote.hash: vote.good for vote in votes}
    by_hand = database.opinions.captions([picture.hash for picture in pictures.values()])
    parts = {} if board is None or not hits else _products(searcher, board, ids)
    reasons = _reasons(service, database, ids) if why and hits else {}
    said = database.texts.where(text, ids) if text and hits else {}
    rows = []
    for hit in hits:
        picture = pictures.get(hit.id)
        if picture is None:
            continue
        detail = details.get(hit.id)
        taken = picture.mtime_ns if detail is None or detail.taken is None else detail.taken
        rows.append(
            HitRow(
                id=hit.id,
                path=readable(hit.path),
                score=None if board is None else round(hit.score, 4),
                cosine=None if board is None else round(hit.cosine, 5),
                caption=hit.caption,
                by_hand=picture.hash in by_hand,
                width=0 if detail is None else detail.width,
                height=0 if detail is None else detail.height,
                taken=local_time(taken),
                why=reasons.get(hit.id, []),
                parts=parts.get(hit.id, []),
                vote=good.get(picture.hash),
                v=picture.hash.hex()[:12],
                match=_said(said.get(hit.id)),
            )
        )
    return rows


def _said(match: Match | None) -> Said | None:
    return None if match is None else Said(field=match.field, snippet=readable(match.snippet))


def _products(searcher: Searcher, board: Board, ids: list[int]) -> dict[int, list[float]]:
    """Return the products of each picture with the parts of a query, by id."""
    found, vectors = searcher.vectors(ids, board.kind)
    products = np.round((vectors @ board.basis().T).astype(np.float64), 6)
    return dict(zip(found.tolist(), products.tolist(), strict=True))


def _reasons(service: Service, database: Database, ids: list[int]) -> dict[int, list[str]]:
    """Return the words nearest to each picture, by id; none if the model has no words."""
    if service.words is None:
        return {}
    found, vectors = database.read.vectors(ids)
    near = service.words.near(vectors, _WHY)
    return {id_: [word for word, _ in own] for id_, own in zip(found.tolist(), near, strict=True)}


def local_time(moment: int) -> str | None:
    """Return nanoseconds since 1970 as local time, `2024-05-01T12:00:00`; None where no calendar reaches."""
    try:
        return datetime.fromtimestamp(moment // 1_000_000_000).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def similar(service: Service, id_: int, k: int) -> list[HitRow]:
    """Return the `k` pictures most like one of the library, without it. Raises Problem 404 if it is not there."""
    with service.reading() as (database, searcher):
        board = board_of(service, database, searcher, Wish(like=id_))
        assert board is not None
        hits = searcher.search(board.query(service.model.identity), k + 1)
        return hit_rows(service, database, searcher, board, [hit for hit in hits if hit.id != id_][:k])


def _unknown(service: Service, word: str) -> Unknown:
    return Unknown(word=word, guess=None if service.words is None else service.words.guess(word))
