"""Where the words of a photo are in files: an XMP file next to it, or the photo itself. Read, written, taken out.

The file next to `photo.jpg` is `photo.jpg.xmp`, as darktable and digiKam call it. Where there is none, but a
`photo.xmp`, as Lightroom calls it, that is used, unless another picture has the same name but for its ending.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from index.metadata import xmp
from index.metadata.embed import EmbedError, packet_of, with_packet
from index.metadata.tree import LONGEST, XmlError
from index.metadata.xmp import Edit
from index.paths import SIDECAR as ENDING
from index.paths import readable
from vsearch.files import replacing
from vsearch.image.decode import SUFFIXES
from vsearch.image.kinds import BY_SUFFIX

_LARGEST = 1 << 30  # bytes of a photo that words are written into
T = TypeVar("T")
Change = Callable[[bytes | None], Edit]


class TagError(Exception):
    """A file that words cannot be read from or written into; its text says why."""


@dataclass(frozen=True)
class Tagging:
    """What was done to a file: the caption and the keywords of vsearch's that it has now, or that were taken out.

    `changed` is False if it was so before. `fresh` are size, nanoseconds since 1970 and content of a photo that was
    changed itself.
    """

    file: Path
    caption: str | None
    keywords: tuple[str, ...]
    changed: bool
    fresh: tuple[int, int, bytes] | None = None


def sidecar_of(photo: str, exists: Callable[[str], bool] = os.path.lexists) -> str | None:
    """Return the path of the XMP file that belongs to a photo, None if there is none."""
    if exists(photo + ENDING):
        return photo + ENDING
    stem, ending = os.path.splitext(photo)
    if not exists(stem + ENDING):
        return None
    endings = [form for each in (*SUFFIXES, *BY_SUFFIX) for form in (each, each.upper())]
    others = {stem + form for form in endings} - {photo, stem + ending.swapcase()}
    return None if any(exists(other) for other in others) else stem + ENDING


def read_sidecar(path: str) -> xmp.Said:
    """Return what an XMP file says. Raises TagError if it cannot be read or is no XMP."""
    return _understood(lambda: xmp.read(_bytes(Path(path).resolve())), Path(path).name)


def change_sidecar(photo: Path, change: Change, *, dry_run: bool) -> Tagging:
    """Write, or with `dry_run` only say, how a `change` leaves the XMP file of a photo; it may make or delete it.

    Raises TagError if the file is a link, read-only or no XMP, OSError if it cannot be written.
    """
    found = sidecar_of(str(photo))
    path = Path(found or f"{photo}{ENDING}")
    before = None if found is None else _bytes(path)
    edit = _understood(lambda: change(before), path.name)
    changed = edit.packet != before
    if changed:
        _check(path)
        if not dry_run and edit.packet is None:
            path.unlink()
        elif not dry_run:
            _replace(path, edit.packet or b"")
    return Tagging(path, edit.description, edit.keywords, changed)


def change_photo(photo: Path, change: Change, digest: Callable[[bytes], bytes], *, dry_run: bool) -> Tagging:
    """Write, or with `dry_run` only say, how a `change` leaves the packet in a photo; no other byte of it changes.

    The file keeps its time, so that photos without a date stay in their order, unless its length stays the same, too:
    programs that make copies would not notice. `digest` makes the content of bytes. Raises as `change_sidecar`.
    """
    _check(photo)
    if photo.stat().st_size > _LARGEST:
        raise TagError(f"larger than {_LARGEST >> 30} GB")
    data = photo.read_bytes()
    try:
        before = packet_of(data)
        edit = _understood(lambda: change(before), "the metadata in it")
        if edit.packet == before:
            return Tagging(photo, edit.description, edit.keywords, False)
        fresh = with_packet(data, edit.packet)
        if packet_of(fresh) != edit.packet or with_packet(fresh, None) != with_packet(data, None):
            raise EmbedError("the file is unusual: write the words next to it")
    except EmbedError as error:
        raise TagError(str(error)) from None
    if dry_run:
        return Tagging(photo, edit.description, edit.keywords, True)
    _replace(photo, fresh, keep_time=len(fresh) != len(data))
    status = photo.stat()
    return Tagging(photo, edit.description, edit.keywords, True, (status.st_size, status.st_mtime_ns, digest(fresh)))


def _understood(what: Callable[[], T], name: str) -> T:
    """Return what is made of a packet; one that is no XMP is a TagError that names it."""
    try:
        return what()
    except XmlError as error:
        raise TagError(f"{readable(name)}: {error}") from None


def _bytes(path: Path) -> bytes:
    """Return what an XMP file holds. Raises TagError if it is no file, or too large."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise TagError(f"{readable(path.name)} is a link")
    if not stat.S_ISREG(status.st_mode):
        raise TagError(f"{readable(path.name)} is no file")
    if status.st_size > LONGEST:
        raise TagError(f"{readable(path.name)}: larger than {LONGEST >> 20} MB")
    return path.read_bytes()


def _check(path: Path) -> None:
    """Raise TagError if a file must not be replaced."""
    if path.is_symlink():
        raise TagError(f"{readable(path.name)} is a link")
    if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
        raise TagError(f"{readable(path.name)} is read-only")


def _replace(path: Path, data: bytes, *, keep_time: bool = False) -> None:
    """Write a file in one step; it keeps who may read and write it."""
    with replacing(path, unique=True) as fresh:
        fresh.write_bytes(data)
        if path.exists():
            shutil.copymode(path, fresh)
            if keep_time:
                status = path.stat()
                os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
