"""What people wrote about a photo, put together from the photo itself and from the XMP file next to it.

Of the file, XMP goes before IPTC-IIM and that before EXIF; the XMP file next to it goes before all. So a title, a
description or stars are those of the first that has any; keywords are all there are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from index.database.database import Database
from index.database.notes import Note
from index.metadata.files import TagError, read_sidecar, sidecar_of
from index.metadata.tree import XmlError
from index.metadata.xmp import LONGEST, Said, keywords_of, rating_of, read
from vsearch.ahead import ahead
from vsearch.errors import PictureError
from vsearch.image.header import read_header
from vsearch.image.written import Written
from vsearch.text.line import one_line

_ROWS = 500  # written in one transaction
_THREADS = 4
_Job = tuple[int, str, str | None]  # id and path of a picture, and its XMP file


def note_of(written: Written, sidecar: str | None) -> tuple[Note, str | None]:
    """Return what a photo's file and its XMP file say, and what is wrong with the latter, if anything."""
    texts = one_line(written.title, LONGEST) or None, one_line(written.description, LONGEST) or None
    said = [Said(*texts, keywords_of(written.keywords), rating_of(written.rating))]
    if written.packet is not None:
        with contextlib.suppress(XmlError):  # the photo is good
            said.insert(0, read(written.packet))
    time, trouble = None, None
    if sidecar is not None:
        try:
            time = os.stat(sidecar).st_mtime_ns
            said.insert(0, read_sidecar(sidecar))
        except TagError as error:
            trouble = str(error).removeprefix(f"{os.path.basename(sidecar)}: ")
        except OSError as error:
            trouble = (error.strerror or "cannot be read").lower()
    return merged(said, time), trouble


def merged(said: Iterable[Said], sidecar: int | None = None) -> Note:
    """Return the note that some say together, the first that says something before the others."""
    title = description = rating = None
    keywords: list[str] = []
    for one in said:
        title, description = title or one.title, description or one.description
        rating = one.rating if rating is None else rating
        keywords += one.keywords
    return Note(title, description, keywords_of(keywords), rating, sidecar)


def read_notes(database: Database, jobs: Iterable[_Job]) -> list[tuple[str, str]]:
    """Read and write the notes on pictures; return (path, reason) of XMP files that could not be read."""
    todo, troubles = list(jobs), list[tuple[str, str]]()
    for start in range(0, len(todo), _ROWS):
        part = todo[start : start + _ROWS]
        found = list(ahead(_note, part, _THREADS, _ROWS))
        database.notes.put([(job[0], note) for job, (note, _) in zip(part, found, strict=True)])
        troubles += [(job[2] or job[1], reason) for job, (_, reason) in zip(part, found, strict=True) if reason]
    return troubles


def _note(job: _Job) -> tuple[Note, str | None]:
    try:
        written = read_header(job[1]).written
    except (OSError, PictureError):
        written = Written()
    return note_of(written, job[2])


def renote(database: Database, id_: int, path: str) -> None:
    """Read the notes on one picture again, of its file and of the XMP file next to it."""
    read_notes(database, [(id_, path, sidecar_of(path, os.path.lexists))])
