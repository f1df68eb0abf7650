"""The screens as HTML, whole before any script has run: a form, a list, links."""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path as Folder
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from index import remedies
from index.database.database import NoLibraryError, OtherModelError
from index.database.texts import SAID
from index.page import grid
from index.paths import readable
from index.web import pictures, search, static, status, whole
from index.web.answers import HitRow, PictureAnswer, SearchAnswer
from index.web.api import After, Id, Served, Wished, Words
from index.web.search import PAGE, Wish
from index.web.service import Service
from vsearch.errors import QueryError, VsearchError

router = APIRouter(include_in_schema=False)
_EMPTY = SearchAnswer(total=0, took_ms=0, unknown=[], terms=[], gram=[], curve=None, hits=[], next=None)
_MOST_MONTHS = 120  # bars of the chart: a page stays small
_ROW = 8  # pictures in the row of similar ones


@functools.cache
def _environment() -> jinja2.Environment:
    here = Folder(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([here / "templates", here.parent / "page"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "signed": _signed, "day": _day, "bytes": _bytes}
    environment.filters |= {"data": _data, "shape": _shape, "spoken": _spoken, "told": _told}
    environment.globals["static"] = f"/static/{static.version()}"
    return environment


def page(service: Service, name: str, status: int = 200, **values: Any) -> Response:
    """Fill in a template; every value is escaped."""
    common = {"read_only": service.read_only, "wish": Wish(), "address": address, "screen": name}
    text = _environment().get_template(f"{name}.html.j2").render({**common, **values})
    return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def problem_page(service: Service, status: int, detail: str, hint: str) -> Response:
    """Return an error as a page."""
    return page(service, "problem", status, detail=readable(detail), hint=readable(hint), code=status)


@router.get("/", response_class=HTMLResponse)
def get_search(service: Served, wish: Wished, after: After = 0) -> Response:
    """Show the search screen, the first hits in it."""
    found, trouble, hint = _EMPTY, "", ""
    facts: dict[str, Any] = {"indexed": False, "cameras": [], "months": [], "placed": False}
    try:
        facts = _facts(service)
        found = search.search(service, wish, PAGE, after)
    except (NoLibraryError, OtherModelError, QueryError) as error:
        trouble, hint = readable(service.say(str(error))), readable(service.say(error.hint))
        if not isinstance(error, QueryError):
            return page(service, "empty", wish=wish, trouble=trouble, hint=hint)
    if not facts["indexed"] and not found.total:
        hint = readable(service.say(f"fill it: {remedies.build(service.path, remedies.FOLDER)}"))
        return page(service, "empty", wish=wish, trouble="The library is empty.", hint=hint)
    return page(
        service,
        "search",
        wish=wish,
        found=found,
        after=after,
        trouble=trouble,
        hint=hint,
        labelled=found.curve is not None,
        **facts,
    )


@router.get("/p/{id}", response_class=HTMLResponse)
def get_picture(
    service: Served,
    id_: Id,
    wish: Wished,
    fragment: Annotated[bool, Query(description="Only the inner part, for the dialog.")] = False,
) -> Response:
    """Show one picture: a page of its own, or what the dialog over the grid shows."""
    found = pictures.picture(service, id_, wait=False)
    terms, trouble = [], ""
    try:
        terms = pictures.split(service, id_, wish)
    except VsearchError as error:
        trouble = readable(service.say(str(error)))
    near = [] if found.trouble else search.similar(service, id_, _ROW)
    name = "_picture" if fragment else "picture"
    return page(service, name, wish=wish, picture=found, terms=terms, trouble=trouble, near=near)


@router.get("/map", response_class=HTMLResponse)
def get_map(service: Served, left: Words = "", right: Words = "", bottom: Words = "", top: Words = "") -> Response:
    """Show the map: a dot for each picture, between words."""
    return page(service, "map", left=left, right=right, bottom=bottom, top=top)


@router.get("/time", response_class=HTMLResponse)
def get_time(service: Served, wish: Wished) -> Response:
    """Show how many pictures of each month are expected to fit a query."""
    months, trouble = [], ""
    try:
        months = whole.time_line(service, wish).months
    except VsearchError as error:
        trouble = readable(service.say(f"{error}; {error.hint}"))
    most = max((row.total if row.expected is None else row.expected for row in months), default=0) or 1
    bars = [
        {
            "month": row.month,
            "expected": row.expected,
            "total": row.total,
            "height": round(200 * (row.total if row.expected is None else row.expected) / most, 2),
            "address": address(
                "/", Wish(wish.q, wish.like, wish.like_weight, since=_first(row.month), until=_last(row.month))
            ),
        }
        for row in months
    ]
    return page(service, "time", wish=wish, bars=bars, trouble=trouble)


@router.get("/library", response_class=HTMLResponse)
def get_library(service: Served) -> Response:
    """Show folders, skipped files, the findings of a check, and how far a build is."""
    facts, folders, skipped = status.info(service), [], []
    with suppress(VsearchError), service.apart() as database:
        folders = status.folders(database)
        skipped = [(readable(path), reason) for path, reason in database.read.skipped()]
    return page(service, "library", facts=facts, folders=folders, skipped=skipped)


def _first(month: str) -> date:
    return date(int(month[:4]), int(month[5:]), 1)


def _last(month: str) -> date:
    return (_first(month) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _facts(service: Service) -> dict[str, Any]:
    """Return what the filters offer: cameras, and how many pictures there are in each month."""
    with service.reading() as (database, _):
        return {
            "indexed": bool(database.read.folders()),
            "cameras": database.details.cameras(),
            "placed": database.details.has_places(),
            "months": _months(service.catalogue().when),
        }


def _months(when: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return month, count and height (0 to 40) of a bar for each month of the pictures' dates (n,), the last 120."""
    number, names = whole.months(when)
    if not names:
        return []
    counts = np.bincount(number, minlength=len(names))[-_MOST_MONTHS:]
    most = int(counts.max())
    return [
        {"month": month, "count": int(count), "height": round(40 * int(count) / most, 2)}
        for month, count in zip(names[-_MOST_MONTHS:], counts, strict=True)
    ]


def address(path: str, wish: Wish, **changed: Any) -> str:
    """Return the address of a screen for a wish, with only what is not as it is by default."""
    given: dict[str, Any] = {
        "q": wish.q,
        "like": wish.like,
        "like_weight": "" if wish.like is None or wish.like_weight == 1 else f"{wish.like_weight:g}",
        "in": wish.within,
        "from": wish.since,
        "to": wish.until,
        "camera": wish.camera,
        "near": wish.near,
        "text": wish.text,
        "min_score": wish.min_score,
        "sort": "" if wish.sort == "match" else wish.sort,
        "ids": ",".join(map(str, wish.ids or ())),
        **changed,
    }
    words = urlencode({name: value for name, value in given.items() if value not in (None, "", 0)})
    return f"{path}?{words}" if words else path


def _data(row: BaseModel) -> str:
    """Return what a script needs to know of an answer, as JSON: all that the page does not say anyway."""
    return row.model_dump_json(exclude={"hits", "path", "why", "taken", "caption", "width", "height", "match"})


def _shape(hit: HitRow) -> str:
    return grid.shape(hit.width, hit.height)


def _spoken(picture: HitRow | PictureAnswer) -> str:
    """Return what stands for a picture where it is not seen: its caption, and whether a machine wrote it."""
    if not picture.caption:
        return "no caption"
    return picture.caption if picture.by_hand else f"{picture.caption} (machine-made)"


def _told(hit: HitRow) -> str:
    """Return what a tile adds of the text that was asked for: where it is said, unless the caption shows it anyway."""
    if hit.match is None or hit.match.snippet.strip("…") in (hit.caption or ""):
        return ""
    return f"{SAID[hit.match.field]}: {hit.match.snippet}"


def _signed(number: float) -> str:
    return f"{number:+.3f}"


def _percent(hit: HitRow, labelled: bool) -> str:
    """Return a score as people read it: in percent where it is a share of hits, else as the cosine that it is."""
    if hit.score is None:
        return ""
    return f"{hit.score:.0%}" if labelled else f"{hit.score:.3f}"


def _day(moment: str | None) -> str:
    return "" if moment is None else moment[:10]


def _bytes(number: int) -> str:
    size = float(number)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
