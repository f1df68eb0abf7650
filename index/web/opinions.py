"""What people say through the page: votes on hits, and captions of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator

from index import captions
from index.captions import clean
from index.database.read import Picture
from index.paths import readable
from index.web.answers import PictureAnswer
from index.web.board import make_board
from index.web.photos import row
from index.web.pictures import picture
from index.web.problems import Problem
from index.web.service import Service
from vsearch.errors import VsearchError


def vote(service: Service, id_: int, q: str, good: bool | None) -> None:
    """Keep a vote on a picture for the words of a query, or with None take it back.

    Raises Problem 404 if there is no such picture, 400 without words, 403 if nothing may be written.
    """
    board = make_board(None if service.words is None else service.words.space, q)
    if board is None:
        raise Problem(400, "votes are kept for words", "as in q=boat")
    with service.writing() as database:
        content = row(database, id_).hash
        if good is None:
            database.opinions.withdraw(board.key, content)
        else:
            database.opinions.vote(board.key, content, good)


def exported(service: Service) -> Iterator[str]:
    """Yield all votes as JSON lines: query, path and caption of the picture, hash of its content, whether it fits."""
    with service.reading() as (database, _):
        for one in database.opinions.votes():
            rows: list[Picture | None] = [*database.read.by_hash(one.hash)]
            for found in rows or [None]:
                facts: dict[str, str | None] = {"path": None, "caption": None}
                if found is not None:
                    facts = {"path": readable(found.path), "caption": found.caption}
                yield json.dumps({"query": one.query, **facts, "hash": one.hash.hex(), "good": one.good}) + "\n"


def rewrite(service: Service, id_: int, caption: str) -> PictureAnswer:
    """Give a picture, and all with its content, a caption by hand; return its row, which has a new id.

    Later builds keep it. Raises Problem 404 if there is no such picture, 400 for an empty caption, 403 if nothing may
    be written.
    """
    try:
        text = clean(caption)
    except VsearchError as error:
        raise Problem(400, str(error), error.hint) from None
    [vector] = service.model.embed_captions([text])
    with service.writing() as database, database.writing():
        mine = row(database, id_)
        database.opinions.write_caption(mine.hash, text)
        found = captions.rewrite(database, mine.hash, text, vector)[id_]
    return picture(service, found, wait=False)
