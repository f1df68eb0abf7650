"""Take folders out of the library again; the files stay where they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from index.caches import thumbnails
from index.caches.refresh import graph_path, refresh
from index.caches.sealed_file import discard
from index.caches.vectors import arrays_path
from index.database.database import Database
from index.paths import absolute, inside
from vsearch.errors import LibraryError


@dataclass(frozen=True)
class Forgotten:
    """What `forget` did: `covered` holds (folder, known folder above it) where a later build brings it back.

    `captions` and `votes` are those by hand that went, for no picture with their content is left.
    """

    folders: int
    pictures: int
    covered: tuple[tuple[str, str], ...]
    total: int  # pictures in the library now
    seconds: float
    captions: int = 0
    votes: int = 0


def forget(database: Database, folders: Iterable[str | os.PathLike[str]]) -> Forgotten:
    """Take these folders, known folders below them, and all pictures below them out of the library, or nothing.

    No build looks into them again unless one of them is named, or lies below a folder that stays. Nothing of them is
    left in the file, its log or its caches, nor in the folder of thumbnails. Votes and captions by hand belong to a
    content: they go once no picture with it is left, those of pictures that were deleted before, too. What was learned
    from votes is forgotten: `Library.teach` learns it again from those that stay.
    Raises LibraryError for a folder that the library does not know, or while a build is writing.
    """
    start = time.monotonic()
    with database.building():
        known = database.read.folders()
        wanted = list(dict.fromkeys(absolute(folder) for folder in folders))
        for folder in wanted:
            if not any(inside(one, folder) for one in known):
                remedy = "`library.folders()` shows the folders that it knows"
                raise LibraryError(f"{folder} is no folder of the library", remedy)
        gone = [one for one in known if any(inside(one, folder) for folder in wanted)]
        kept = [one for one in known if one not in gone]
        before = database.read.count()
        contents = {hash_ for folder in wanted for hash_ in database.read.contents_under(folder)}
        database.connection.execute("PRAGMA secure_delete = ON")
        with database.writing():
            database.write.start_run()
            for folder in wanted:
                database.write.remove_below(folder)
            _forget_places(database, gone, kept)
            orphans = database.write.drop_orphans()
            if database.taught.count():
                database.taught.forget()
        for weight in (0.0, 1.0):  # a cache keeps what it has as long as it serves
            discard(arrays_path(database, weight))
            discard(graph_path(database, weight))
        thumbnails.drop(thumbnails.default_folder(), (one for one in contents if not database.read.by_hash(one)))
        database.connection.erase()
        refresh(database)
    covered = tuple((folder, above) for folder in wanted for above in kept if inside(folder, above))
    total = database.read.count()
    seconds = time.monotonic() - start
    return Forgotten(len(gone), before - total, covered, total, seconds, orphans["written"], orphans["votes"])


def _forget_places(database: Database, gone: list[str], kept: list[str]) -> None:
    """Forget folders and mount points that no build looks at any more."""
    mounts = [mount for mount in database.read.mounts() if not any(inside(mount, folder) for folder in kept)]
    database.write.forget_folders(gone, [mount for mount in mounts if any(inside(mount, folder) for folder in gone)])
