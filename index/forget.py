"""Taking folders out of the library again; the files stay where they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from index.caches.refresh import refresh
from index.library import Library
from index.paths import absolute, below, inside
from vsearch.errors import LibraryError


@dataclass(frozen=True)
class Forgotten:
    """What `forget` did: `covered` holds (folder, known folder above it) where a later build brings it back."""

    folders: int
    pictures: int
    covered: tuple[tuple[str, str], ...]
    total: int  # pictures in the library now
    seconds: float


def forget(library: Library, folders: Iterable[str | os.PathLike[str]]) -> Forgotten:
    """Take these folders, known folders below them, and all pictures below them out of the library, or nothing.

    No build looks into them again unless one of them is named, or lies below a folder that stays.
    Raises LibraryError for a folder that the library does not know, or while a build is writing.
    """
    start = time.monotonic()
    with library.building():
        known = library.folders()
        wanted = list(dict.fromkeys(absolute(folder) for folder in folders))
        for folder in wanted:
            if not any(inside(one, folder) for one in known):
                remedy = "`vsearch info` shows the folders that it knows"
                raise LibraryError(f"{folder} is no folder of the library", remedy)
        gone = [one for one in known if any(inside(one, folder) for folder in wanted)]
        kept = [one for one in known if one not in gone]
        before = library.count()
        with library.writing():
            library.start_run()
            for folder in wanted:
                _remove(library, folder)
            _forget_places(library, gone, kept)
        refresh(library)
    covered = tuple((folder, above) for folder in wanted for above in kept if inside(folder, above))
    total = library.count()
    return Forgotten(len(gone), before - total, covered, total, time.monotonic() - start)


def _remove(library: Library, folder: str) -> None:
    for table in ("pictures", "skipped"):
        library.execute(f"DELETE FROM {table} WHERE path >= ? AND path < ?", below(folder))


def _forget_places(library: Library, gone: list[str], kept: list[str]) -> None:
    """Folders and mount points that nothing looks at any more."""
    library.execute_many("DELETE FROM folders WHERE path = ?", [(os.fsencode(folder),) for folder in gone])
    mounts = [mount for mount in library.mounts() if not any(inside(mount, folder) for folder in kept)]
    unseen = [mount for mount in mounts if any(inside(mount, folder) for folder in gone)]
    library.execute_many("DELETE FROM mounts WHERE path = ?", [(os.fsencode(mount),) for mount in unseen])
