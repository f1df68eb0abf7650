"""From an id to a file that may be shown. No path ever comes from a request: ids only.

The file must still be the one that was indexed: regular, below an indexed folder, of the size and date noted.
"""

from __future__ import annotations

from index.database.database import Database
from index.database.read import Picture
from index.page.thumbnail import jpeg
from index.paths import file_of
from index.unchanged import trouble
from index.web.problems import Problem
from vsearch.image.decode import decode

_GONE = "bring the library up to date: `library.build([folder])`"
_QUALITY = 92


def row(database: Database, id_: int) -> Picture:
    """Return the row of a picture. Raises Problem 404 if there is none with this id."""
    found = database.read.pictures([id_]).get(id_) if 0 < id_ < 1 << 63 else None
    if found is None:
        raise Problem(404, f"there is no picture {id_}", "search again: the library has changed")
    return found


def checked(database: Database, id_: int) -> Picture:
    """Return the row of a picture whose file is as it was indexed. Raises Problem 404 or 410."""
    picture = row(database, id_)
    reason = trouble(picture, database.read.folders())
    if reason:
        raise Problem(410, reason, _GONE)
    return picture


def media_type(path: str) -> str | None:
    """Return the type of a file that every browser shows, by its first bytes; None for any other file, and a moment."""
    if file_of(path) != path:
        return None
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "image/avif" if head[4:12] in (b"ftypavif", b"ftypavis") else None


def as_jpeg(path: str) -> bytes:
    """Return what browsers do not show as a picture (HEIC, TIFF, BMP, raw photos, moments of videos) as a JPEG of its
    size. Raises PictureError.
    """
    return jpeg(decode(path), _QUALITY)
