"""Read the heads of pictures that have no details yet: of new ones, and of all in a library of an older format."""

from __future__ import annotations

import os
from datetime import datetime

from index.database.database import Database
from index.database.details import Detail
from index.database.notes import Note
from index.metadata.notes import note_of
from index.paths import file_of
from vsearch.ahead import ahead
from vsearch.errors import PictureError
from vsearch.image.header import read_header
from vsearch.progress import Progress

_ROWS = 500  # written in one transaction
_THREADS = 4
_Row = tuple[int, str, int, int]  # id, path, size, mtime_ns


def note_details(database: Database, after: int = 0, progress: Progress | None = None) -> int:
    """Write the details of all pictures above the id `after` that have none; return the highest id looked at.

    Of a file that changed meanwhile nothing is written: it gets a new row, or details in the next build. `progress`
    counts the files; what was written stays where this is interrupted.
    """
    total, done = 0 if progress is None else database.details.count_missing(), 0
    while rows := database.details.missing(after, _ROWS):
        after = rows[-1][0]
        found = [(row[0], head) for row, head in zip(rows, ahead(_head, rows, _THREADS, _ROWS), strict=True) if head]
        database.details.put([(id_, detail) for id_, (detail, _) in found])
        database.notes.put([(id_, note) for id_, (_, note) in found])
        done += len(rows)
        if progress is not None:
            progress(done, total)
    return after


def _head(row: _Row) -> tuple[Detail, Note] | None:
    """Return the details of a picture and what its file says, None if that is not as the library knows it."""
    _, path, size, mtime_ns = row
    try:
        file = os.stat(file_of(path))
        if (file.st_size, file.st_mtime_ns) != (size, mtime_ns):
            return None
        head = read_header(path)
    except OSError:
        return None
    except PictureError:
        return Detail(0, 0), Note()
    latitude, longitude = head.place or (None, None)
    place = latitude, longitude
    detail = Detail(head.width, head.height, _nanoseconds(head.taken), head.camera, head.lens, *place)
    return detail, note_of(head.written, None)[0]  # files next to it are for `note_sidecars`


def _nanoseconds(taken: datetime | None) -> int | None:
    """Return nanoseconds since 1970; a date without a zone is local time of this machine."""
    if taken is None:
        return None
    return round(taken.replace(microsecond=0).timestamp()) * 1_000_000_000 + taken.microsecond * 1_000
