"""Captions by hand: a person's words in place of the model's, for all pictures with one content.

They are placed among the words at once, and kept through moves, later builds and other models. D is the length of a
vector.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index import remedies
from index.database.database import Database
from index.database.read import Picture
from index.model import Describer
from index.paths import file_of
from vsearch.errors import LibraryError, PictureError, VsearchError

LONGEST = 500  # letters of a caption


def clean(caption: str) -> str:
    """Return a caption in one line: what cannot be printed, line ends too, becomes a blank, several blanks one.

    Raises VsearchError if nothing is left, or more than LONGEST letters.
    """
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in caption).split())
    if not text or len(text) > LONGEST:
        raise VsearchError(f"a caption has 1 to {LONGEST} letters", "write a shorter sentence")
    return text


def give(database: Database, model: Describer, path: str, caption: str | None) -> str | None:
    """Give the picture at a path, and all with its content, a caption by hand, or with None the model's; return it.

    Raises LibraryError if the picture is not in the library or another model made that; VsearchError for a caption
    that `clean` refuses, and, where the model has to describe it again, if the file cannot be read.
    """
    text = None if caption is None else clean(caption)
    picture = database.read.picture(path)
    if picture is None:
        remedy = "name one that was indexed, or `Library.open(path)`"
        raise LibraryError(f"{path} is not in {database.path}", remedy)
    database.check_identity(model.identity)
    told = _described(database, model, picture) if text is None else text
    [vector] = [None] if told is None else model.embed_captions([told])
    with database.writing():
        database.write.upgrade(model.embed_captions)
        if text is None:
            database.opinions.drop_caption(picture.hash)
        else:
            database.opinions.write_caption(picture.hash, text)
        rewrite(database, picture.hash, told, vector)
    return told


def rewrite(
    database: Database, content: bytes, caption: str | None, vector: NDArray[np.float32] | None
) -> dict[int, int]:
    """Write the caption of all pictures with a content, and its vector (D,); return their new ids, by the old ones."""
    ids = {}
    with database.writing():
        database.write.start_run()
        for one in database.read.by_hash(content):
            database.write.set_caption(one.id, caption, vector)
            fresh = database.read.picture(one.path)
            assert fresh is not None
            ids[one.id] = fresh.id
        database.texts.fill()
    return ids


def _described(database: Database, model: Describer, picture: Picture) -> str | None:
    """Return what the model says of a picture, or of a file with its content, None if it describes none.

    Raises VsearchError if no such file can be read, or each was changed since the last build: it shows something else.
    """
    from vsearch.image.pixels import read_pixels

    same = [picture, *(one for one in database.read.by_hash(picture.hash) if one.id != picture.id)]
    there = next((one for one in same if _is_as_known(one)), None)
    if there is None and os.path.exists(file_of(picture.path)):
        remedy = f"bring the library up to date: {remedies.build(database.path, remedies.FOLDER)}"
        raise VsearchError(f"{picture.path} has changed since the library saw it", remedy)
    read = there or picture
    try:
        pixels = read_pixels(read.path, model.side)
    except PictureError as error:
        raise VsearchError(f"{read.path}: {error}", "its caption comes back when the file can be read") from None
    _, captions = model.describe(pixels[None], model.captions, None)
    return None if captions is None else captions[0]


def _is_as_known(picture: Picture) -> bool:
    """Tell whether a file shows what the library knows: it has the same size and date, or the same content."""
    from index.build.read import open_file

    path = Path(file_of(picture.path))
    try:
        file = path.stat()
        same = (file.st_size, file.st_mtime_ns) == (picture.size, picture.mtime_ns)
        return same or open_file(path, file.st_size)[1] == picture.hash
    except OSError:
        return False
