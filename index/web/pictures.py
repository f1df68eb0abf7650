"""All about one picture: its row, its EXIF, words and nouns near it, its copies, and what the network sees in it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.caches.refresh import GRAPH_FROM
from index.database.database import Database
from index.database.notes import Note
from index.database.read import Picture
from index.duplicates import THRESHOLD
from index.paths import readable
from index.search.query import Query
from index.search.searcher import Searcher
from index.web.answers import AttendedWord, AttentionAnswer, Copy, Near, PictureAnswer, WhereAnswer
from index.web.board import make_board
from index.web.photos import checked, row
from index.web.problems import Problem
from index.web.search import Wish, board_of, local_time
from index.web.service import Service
from vsearch.errors import PictureError
from vsearch.image.header import read_header

if TYPE_CHECKING:
    from vsearch.model import Caption

_NEAR = 8


class Share(NamedTuple):
    """What a part of a query adds to a picture's cosine."""

    word: str
    weight: float
    kind: str
    share: float


_COPIES = 20


def picture(service: Service, id_: int, *, wait: bool = True) -> PictureAnswer:
    """Return what is known of a picture; a file that is gone is no error, `trouble` says so.

    Unless we `wait`, nouns are left out as long as their list is not ready.
    Raises Problem 404 if there is no such picture.
    """
    with service.reading() as (database, searcher):
        found = row(database, id_)
        trouble, head = "", None
        try:
            checked(database, id_)
        except Problem as error:
            trouble = str(error)
        detail = database.details.of([id_]).get(id_)
        note = database.notes.of([id_]).get(id_)
        _, vectors = database.read.vectors([id_])
        copies = _copies(service, database, searcher, found, vectors[0])
        by_hand = found.hash in database.opinions.captions([found.hash])
    if not trouble:
        with suppress(PictureError, OSError):
            head = read_header(found.path)
    words = [] if service.words is None else service.words.near(vectors, _NEAR)[0]
    taken = found.mtime_ns if detail is None or detail.taken is None else detail.taken
    return PictureAnswer(
        id=id_,
        path=readable(found.path),
        v=found.hash.hex()[:12],
        caption=found.caption,
        by_hand=by_hand,
        width=0 if detail is None else detail.width,
        height=0 if detail is None else detail.height,
        size=found.size,
        taken=local_time(taken),
        trouble=trouble or None,
        exif=({} if head is None else head.facts) | facts_of(note),
        words=[Near(word=word, cosine=round(cosine, 4)) for word, cosine in words],
        nouns=_nouns(service, vectors[0], wait),
        duplicates=copies,
    )


def facts_of(note: Note | None) -> dict[str, str]:
    """Return what people wrote on a picture as names and values, as the page shows EXIF."""
    if note is None:
        return {}
    stars = "" if note.rating is None else "rejected" if note.rating < 0 else "\u2605" * note.rating
    rows = {
        "title": note.title or "",
        "description": note.description or "",
        "keywords": ", ".join(note.keywords),
        "rating": stars,
    }
    return {name: value for name, value in rows.items() if value}


def _nouns(service: Service, vector: NDArray[np.float32], wait: bool) -> list[Near]:
    """Return the nouns of ImageNet nearest to a picture's vector (D,); none if there are none, or none yet."""
    nouns = service.nouns(wait=wait)
    near = [] if nouns is None else nouns.nearest(vector, _NEAR)
    return [Near(word=noun.lemmas[0], cosine=round(float(cosine), 4)) for noun, cosine in near]


def _copies(
    service: Service, database: Database, searcher: Searcher, mine: Picture, vector: NDArray[np.float32]
) -> list[Copy]:
    """Return the pictures with the content of this one, and those as near to it as `duplicates` takes for copies."""
    exact = {one.id for one in database.read.by_hash(mine.hash)} - {mine.id}
    query = Query(vector, "picture", (), service.model.identity)
    fast = None if database.read.count() >= GRAPH_FROM else True
    near = {hit.id for hit in searcher.search(query, _COPIES, exact=fast) if hit.cosine >= THRESHOLD} - {mine.id}
    rows = database.read.pictures(sorted(exact | near)[:_COPIES])
    return [
        Copy(id=one.id, path=readable(one.path), v=one.hash.hex()[:12], exact=one.id in exact) for one in rows.values()
    ]


def attention(service: Service, id_: int) -> AttentionAnswer:
    """Return the model's own caption of a picture and where each of its words looked.

    Raises Problem 404 or 410, PictureError if the file cannot be read, ModelError if the model writes no captions.
    """
    with service.reading() as (database, _):
        found = checked(database, id_)

    def look() -> Caption:
        return service.model.caption(found.path)

    caption = service.asked(("caption", found.hash), look)
    maps, sentinel = caption.attention, caption.sentinel
    return AttentionAnswer(
        caption=caption.text,
        words=[
            AttendedWord(
                word=word,
                sentinel=None if sentinel is None else round(float(sentinel[at]), 4),
                cells=[] if maps is None else [round(float(cell), 5) for cell in maps[at].reshape(-1)],
            )
            for at, word in enumerate(caption.words)
        ],
        side=0 if maps is None else maps.shape[1],
    )


def where(service: Service, id_: int, q: str) -> WhereAnswer:
    """Return how much each cell of a picture speaks for a query; see `vsearch.networks.where`.

    Raises Problem 404 or 410, PictureError if the file cannot be read, QueryError if the query cannot be.
    """
    with service.reading() as (database, _):
        found = checked(database, id_)
    board = make_board(None if service.words is None else service.words.space, q)
    if board is None:
        raise Problem(400, "say what to look for", "as in /api/where/1?q=dog")
    vector = board.query(service.model.identity).vector
    cells = service.asked(("where", found.hash, q), lambda: service.model.where(found.path, vector))
    flat = cells.reshape(-1).astype(np.float64)
    return WhereAnswer(side=len(cells), cells=[round(float(cell), 7) for cell in flat], sum=round(float(flat.sum()), 6))


def split(service: Service, id_: int, wish: Wish) -> list[Share]:
    """Return how much each part of a query adds to a picture's cosine; they sum to it. None without a query."""
    with service.reading() as (database, searcher):
        board = board_of(service, database, searcher, wish)
        if board is None:
            return []
        _, vectors = searcher.vectors([id_], board.kind)
        coefficients, basis = board.coefficients(), board.basis().astype(np.float64)
        total = coefficients @ basis
        products = coefficients * (basis @ vectors[0].astype(np.float64))
    shares = (products / max(float(np.linalg.norm(total)), 1e-12)).tolist()
    return [
        Share(part.word, part.weight, part.kind, round(share, 4))
        for part, share in zip(board.parts, shares, strict=True)
    ]
