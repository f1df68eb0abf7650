"""Names of files as they travel: into SQLite, onto a shell's command line, before a reader's eyes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_from_bytes

from vsearch.image.kinds import VIDEO, clock, parse_moment, suffix


def default_path() -> Path:
    """Return where the library is unless the user says otherwise: in the user's data directory."""
    import platformdirs

    return platformdirs.user_data_path("vsearch", appauthor=False) / "library.sqlite3"


CACHES = (".vectors", ".mixed", ".graph", ".mixed-graph")  # what is derived from a library and lies next to it
PROOF = ".proof"  # added to the name of a cache
LOCK = ".lock"
SIDECAR = ".xmp"  # the ending of files that say what a photo next to them shows
SQLITE = ("-wal", "-shm", "-journal")  # what SQLite itself keeps next to a file


def beside(path: Path, ending: str) -> Path:
    """Return the path of a file next to the library that belongs to it."""
    return path.with_name(path.name + ending)


def neighbours(library: Path) -> list[Path]:
    """Return every path next to a library that it may use, whether a file is there or not."""
    return [beside(library, ending) for ending in (*SQLITE, LOCK, *CACHES, *(name + PROOF for name in CACHES))]


def absolute(path: str | os.PathLike[str]) -> str:
    """Return the path as the library keeps it: absolute, without `..`, links left as they are; a URL as it is."""
    if isinstance(path, str) and is_url(path):
        return path
    return os.path.abspath(path)  # Path.absolute keeps the `..`


def is_url(path: str) -> bool:
    """Tell whether a path names something in an object store, such as `s3://bucket/photos/`."""
    return re.match(r"[a-z][a-z0-9+]*://", path) is not None


def as_url(path: str | os.PathLike[str]) -> str:
    """Return a path as text; where it is a URL, with both slashes, of which pathlib keeps one."""
    return re.sub(r"^([a-z][a-z0-9+]+):/(?=[^/])", r"\1://", os.fspath(path))


def names(path: str, folders: Iterable[str]) -> list[str]:
    """Return the names by which a library of these folders may know a file or folder, the given one first.

    A folder may be known by one name and asked for by another, where a link leads to one of them.
    """
    if is_url(path):
        return [path]
    given = absolute(path)
    found, real = [given], os.path.realpath(given)
    for folder in folders:
        if is_url(folder):
            continue
        top = os.path.realpath(folder)
        if inside(real, top):
            found.append(absolute(os.path.join(folder, os.path.relpath(real, top))))
        elif inside(top, real):
            found.append(folder)
    return list(dict.fromkeys(found))


def below(folder: str) -> tuple[bytes, bytes]:
    """Return the half-open range of encoded paths that lie below a folder, given as an absolute path."""
    stem = os.fsencode(folder.rstrip(os.sep) + os.sep)
    return stem, stem[:-1] + bytes([stem[-1] + 1])


def spans(place: str) -> list[tuple[bytes, bytes]]:
    """Return the half-open ranges of encoded paths that lie below a folder, or in a tar or a video, whose members and
    moments follow a `#`.
    """
    stem = os.fsencode(place)
    parts = place.endswith(".tar") or suffix(place) in VIDEO
    return [below(place), (stem + b"#", stem + b"$")] if parts else [below(place)]


def file_of(path: str) -> str:
    """Return the file that a picture of a library lies in: for a moment of a video, `clip.mp4#t=12.5`, the video."""
    return parse_moment(path)[0]


def link(path: str) -> str:
    """Return a picture's path as a URL; that of a moment begins there."""
    file, seconds = parse_moment(path)
    return "file://" + quote_from_bytes(os.fsencode(file)) + path[len(file) :] * (seconds is not None)


def inside(path: str, folder: str) -> bool:
    """Tell whether a path is a folder, or is below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def titled(path: str) -> str:
    """Return a picture's path for people: `clip.mp4 at 0:12` for a moment of a video."""
    file, seconds = parse_moment(path)
    return path if seconds is None else f"{file} at {clock(seconds)}"


def readable(path: str) -> str:
    """Return a path as valid text for a page: bytes that are no UTF-8 become U+FFFD, control characters a blank."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter == "\ufffd" else " " for letter in text)
