"""What assistants may ask of a library: search, similar, describe, info. Nothing is ever written.

No file is read that is not a picture of the library, still the one that was indexed: a picture is named by its path or
by its number as `search` gives them, and any other name is refused in the same words, whether there is such a file or
not. The network is loaded only where a picture without a caption is described.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from index.database.database import Database
from index.database.read import Picture
from index.library import Library
from index.page.thumbnail import jpeg, small
from index.paths import inside, readable
from index.search.searcher import Hit
from index.unchanged import trouble
from vsearch import distribution
from vsearch.errors import PictureError, VsearchError

if TYPE_CHECKING:
    from vsearch.model import Model

MOST = 50  # hits of an answer
SHOWN = 5  # thumbnails of an answer: 5 of 320 pixels are about 100 kB
SMALL, LARGE = 320, 640  # pixels a side of a thumbnail
_NEAR = 8


@dataclass(frozen=True)
class Found:
    """A picture found."""

    id: int
    path: str
    score: float
    caption: str | None
    taken: str | None


@dataclass(frozen=True)
class Hits:
    """Pictures found, the best first, and words of the query that are not known."""

    hits: list[Found]
    unknown: list[str]


@dataclass(frozen=True)
class Described:
    """What is known of one picture."""

    id: int
    path: str
    caption: str | None
    words: list[str]
    width: int
    height: int
    taken: str | None
    camera: str | None
    bytes: int
    trouble: str | None


@dataclass(frozen=True)
class Facts:
    """A library and its model."""

    library: str
    pictures: int
    folders: list[str]
    model: str
    captions: bool
    version: str


class Desk:
    """Answers for one library, one question at a time."""

    def __init__(self, path: Path | None, model: Model) -> None:
        """Answer for the library at `path`, by default the user's own; it is opened with each question."""
        self._path, self._model = path, model
        self._lock = threading.Lock()

    @contextmanager
    def _open(self) -> Iterator[tuple[Library, Database]]:
        with (
            self._lock,
            Library.open(self._path, self._model, read_only=True) as library,
            Database.open(library.path, read_only=True) as database,
        ):
            yield library, database

    def search(
        self,
        query: str,
        k: int,
        folder: str | None = None,
        since: date | None = None,
        until: date | None = None,
        min_score: float | None = None,
    ) -> tuple[Hits, list[Picture]]:
        """Return the hits of words, as `Library.search` finds them, and their rows.

        Raises QueryError if the query is empty or cannot be read, LibraryError if there is no library.
        """
        with self._open() as (library, database):
            wanted = library.query(query)
            hits = library.search(
                wanted,
                k=k,
                within=_folder(database, folder),
                since=None if since is None else datetime.combine(since, time()),
                until=None
                if until is None or until == date.max
                else datetime.combine(until, time()) + timedelta(days=1),
                min_score=min_score,
            )
            rows = database.read.pictures(hit.id for hit in hits)
            return Hits(_found(library, hits), list(wanted.unknown)), _in_order(rows, hits)

    def similar(self, photo: str | int, k: int, folder: str | None = None) -> tuple[Hits, list[Picture]]:
        """Return the pictures most like one of the library, and their rows. Raises VsearchError if it is none of it."""
        with self._open() as (library, database):
            place = _folder(database, folder)
            hits = library.similar(Path(_picture(database, photo).path), k, within=place)
            rows = database.read.pictures(hit.id for hit in hits)
            return Hits(_found(library, hits), []), _in_order(rows, hits)

    def describe(self, photo: str | int) -> tuple[Described, Picture]:
        """Return what is known of a picture of the library, and its row; one without a caption gets one now.

        Raises VsearchError if it is no picture of the library.
        """
        with self._open() as (library, database):
            row = _picture(database, photo)
            reason = trouble(row, database.read.folders())
            caption = row.caption
            if caption is None and not reason and self._model.captions:
                try:
                    caption = self._model.caption(row.path).text
                except PictureError as error:
                    reason = str(error)
            hit = Hit(row.path, 0.0, caption, row.id, 0.0)
            detail = library.details([hit]).get(row.id)
            words = library.explain([hit], _NEAR)[row.id] if self._model.config.words else []
            described = Described(
                id=row.id,
                path=readable(row.path),
                caption=caption,
                words=words,
                width=0 if detail is None else detail.width,
                height=0 if detail is None else detail.height,
                taken=None if detail is None else _moment(detail.taken),
                camera=None if detail is None else detail.camera,
                bytes=row.size,
                trouble=reason or None,
            )
            return described, row

    def info(self) -> Facts:
        """Return where the library is, its folders, how many pictures it has, and which model made it."""
        with self._open() as (library, _):
            return Facts(
                library=readable(os.fspath(library.path)),
                pictures=library.count(),
                folders=[readable(folder) for folder in library.folders()],
                model=f"{self._model.folder.name} {self._model.identity[:12]}",
                captions=self._model.captions,
                version=distribution.version(),
            )

    def thumbnails(self, rows: Sequence[Picture], side: int = SMALL) -> list[bytes]:
        """Return JPEGs of the first pictures, without EXIF; of those whose files are not as they were indexed, none."""
        with self._open() as (_, database):
            folders = database.read.folders()
        made = []
        for row in rows[:SHOWN]:
            if not trouble(row, folders):
                try:
                    made.append(jpeg(small(row.path, side)))
                except PictureError:
                    continue
        return made


def _picture(database: Database, photo: str | int) -> Picture:
    """Return the row of a picture by its number or its path. Raises VsearchError if the library has none such."""
    number = int(photo) if isinstance(photo, int) or (photo.isdecimal() and len(photo) < 19) else None
    found = None
    if number is not None:
        found = database.read.pictures([number]).get(number) if 0 < number < 1 << 63 else None
    elif "\0" not in (path := str(photo)):
        found = database.read.picture(os.path.expanduser(path))
    if found is None:
        raise VsearchError("this is no picture of the library", "name one by its path or id, as search gives them")
    return found


def _folder(database: Database, given: str | None) -> Path | None:
    """Return a folder of the library; None if none is given. Raises VsearchError if it is none of it."""
    if given is None:
        return None
    folder = os.path.abspath(os.path.expanduser(given.replace("\0", "")))
    known = database.read.folders()
    if not any(inside(folder, one) or inside(one, folder) for one in known):
        raise VsearchError("this is no folder of the library", "info names its folders")
    return Path(folder)


def _found(library: Library, hits: Sequence[Hit]) -> list[Found]:
    details = library.details(hits)
    return [
        Found(
            id=hit.id,
            path=readable(hit.path),
            score=round(hit.score, 4),
            caption=hit.caption,
            taken=_moment(details[hit.id].taken) if hit.id in details else None,
        )
        for hit in hits
    ]


def _in_order(rows: dict[int, Picture], hits: Sequence[Hit]) -> list[Picture]:
    return [rows[hit.id] for hit in hits if hit.id in rows]


def _moment(nanoseconds: int | None) -> str | None:
    """Return nanoseconds since 1970 as local time; None where no calendar reaches."""
    try:
        return None if nanoseconds is None else datetime.fromtimestamp(nanoseconds // 1_000_000_000).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
