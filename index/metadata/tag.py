"""Write captions and keywords of the library into files, and take them out again.

n is a number of pictures, D the length of a vector, K a number of nouns.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from index.database.database import Database
from index.database.read import Picture
from index.metadata import xmp
from index.metadata.files import TagError, Tagging, change_photo, change_sidecar
from index.metadata.notes import renote
from index.metadata.xmp import Edit, Words
from index.model import Model
from index.paths import absolute, file_of
from vsearch.distribution import version
from vsearch.errors import LibraryError
from vsearch.progress import Progress

if TYPE_CHECKING:
    from vsearch.text.nouns import Noun

SURE = 0.5  # the score from which on a noun is written
_ROWS = 200  # pictures whose rows are written in one transaction


@dataclass(frozen=True)
class Wish:
    """What is to be written, and where; `nouns` is how many at most, `names` the list that they are from."""

    caption: bool = True
    nouns: int = 0
    names: str = "imagenet"
    in_file: bool = False
    undo: bool = False
    dry_run: bool = False


@dataclass
class Tagged:
    """What `tag` did: files changed, photos that needed no change, and (path, reason) of those that were left out."""

    changed: list[Tagging] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def tag(
    database: Database,
    model: Model | None,
    photos: Iterable[str | os.PathLike[str]],
    wish: Wish,
    progress: Progress | None = None,
) -> Tagged:
    """Write what is wished for into the files of photos, or next to them; folders stand for all photos below them.

    A single photo that cannot be tagged raises nothing, see `Tagged.skipped`.
    Raises LibraryError if nouns are wanted without a model, or a build is writing while photos themselves are changed.
    """
    if wish.nouns and not wish.undo and model is None:
        raise LibraryError(f"{database.path} was opened without a model", "name one when you open it")
    report = Tagged()
    pictures = list(_pictures(database, photos, report))
    show = progress or (lambda done, total: None)
    with database.building() if wish.in_file and not wish.dry_run else nullcontext():
        for start in range(0, len(pictures), _ROWS):
            part = pictures[start : start + _ROWS]
            nouns = _nouns(database, model, part, wish)
            for picture in part:
                _tag(database, picture, _change(picture, nouns.get(picture.id), model, wish), wish, report)
            show(min(start + _ROWS, len(pictures)), len(pictures))
        if report.changed and not wish.dry_run and database.texts.known():
            database.texts.fill()
    return report


def _pictures(database: Database, photos: Iterable[str | os.PathLike[str]], report: Tagged) -> Iterator[Picture]:
    """Yield the rows of the photos, each once, and of those below folders; note which are not in the library."""
    seen: set[int] = set()
    for photo in photos:
        found = database.read.picture(absolute(photo))
        rows = [found] if found is not None else []
        if found is None and os.path.isdir(photo):
            below = database.read.pictures(database.read.ids_under(absolute(photo)).tolist())
            rows = sorted(below.values(), key=lambda row: os.fsencode(row.path))
        if not rows:
            report.skipped.append((os.fspath(photo), "not in the library"))
        for row in rows:
            if row.id not in seen:
                seen.add(row.id)
                yield row


def _tag(
    database: Database, picture: Picture, change: Callable[[bytes | None], Edit], wish: Wish, report: Tagged
) -> None:
    """Change the file of one photo, note in the library what it is then, and in the report what was done."""
    try:
        check_file(picture)
        if wish.in_file:
            done = change_photo(Path(picture.path), change, content_of, dry_run=wish.dry_run)
        else:
            done = change_sidecar(Path(picture.path), change, dry_run=wish.dry_run)
    except TagError as error:
        report.skipped.append((picture.path, str(error)))
        return
    except OSError as error:
        report.skipped.append((picture.path, (error.strerror or "cannot be written").lower()))
        return
    if done.fresh is not None:
        database.write.renew(picture.id, *done.fresh)
    if done.changed and not wish.dry_run and database.notes.known():
        renote(database, picture.id, picture.path)
    if done.changed:
        report.changed.append(done)
    else:
        report.unchanged += 1


def check_file(picture: Picture) -> None:
    """Raise TagError if the file of a picture is not the one that was indexed."""
    if file_of(picture.path) != picture.path:
        raise TagError("a moment of a video has no metadata of its own")
    try:
        status = os.stat(picture.path)
    except OSError:
        raise TagError("the file is gone") from None
    if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns) != (picture.size, picture.mtime_ns):
        raise TagError("the file has changed since it was indexed")


def content_of(data: bytes) -> bytes:
    """Return by what the library knows the content of a file."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _change(
    picture: Picture, nouns: tuple[str, ...] | None, model: Model | None, wish: Wish
) -> Callable[[bytes | None], Edit]:
    """Return what is done to the packet of a picture."""
    if wish.undo:
        return lambda packet: Edit(None) if packet is None else xmp.undo(packet)
    by = f"vsearch {version()}" + ("" if model is None else f", model {model.identity[:12]}")
    words = Words(picture.caption if wish.caption else None, nouns, by)
    return lambda packet: xmp.write(packet, words)


def _nouns(database: Database, model: Model | None, pictures: list[Picture], wish: Wish) -> dict[int, tuple[str, ...]]:
    """Return the nouns of each picture, by its id, that score as hits of a search for them would, surely enough."""
    if not wish.nouns or wish.undo or model is None:
        return {}
    nouns = model.nouns(wish.names)
    weight = database.read.mixed(model.scores.weight("words"))
    ids, vectors = database.read.vectors([one.id for one in pictures], weight)  # (n, D)
    found: dict[int, tuple[str, ...]] = {}
    for id_, row in zip(ids.tolist(), vectors, strict=True):
        found[id_] = _sure(nouns.nearest(row, wish.nouns), model)
    return found


def _sure(near: Iterable[tuple[Noun, float]], model: Model) -> tuple[str, ...]:
    """Return the first lemma of each noun that is sure enough, each once."""
    found = (noun.lemmas[0] for noun, cosine in near if model.scores.calibrate(cosine, "words") >= SURE)
    return tuple(dict.fromkeys(found))
