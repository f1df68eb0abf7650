"""Read again what people wrote about photos whose XMP file is new, has changed, or is gone."""

from __future__ import annotations

import os
from collections.abc import Iterable

from index.build.scan import Scan
from index.database.database import Database
from index.metadata.files import sidecar_of
from index.metadata.notes import read_notes
from index.paths import file_of


def note_sidecars(database: Database, walk: Scan) -> list[tuple[str, str]]:
    """Bring the library in step with the XMP files that a walk has found; only those that changed are opened.

    Return (path, reason) of those that could not be read; they are not opened again until they change.
    """
    known = database.notes.sidecars()
    if not known and not walk.sidecars:
        return []
    pictures = {one.path: one.id for folder in walk.folders for one in database.read.dates_under(folder)}

    def exists(path: str) -> bool:
        return path in walk.sidecars or path in pictures

    jobs = []
    for path, id_ in pictures.items():
        sidecar = sidecar_of(path, exists)
        time = None if sidecar is None else walk.sidecars[sidecar]
        if time != known.get(id_) and not walk.kept(path):
            jobs.append((id_, path, sidecar))
    return _read(database, jobs)


def note_sidecars_at(database: Database, paths: Iterable[str]) -> list[tuple[str, str]]:
    """Do the same only for the pictures at or below these paths, whose files are looked for one by one."""
    known = database.notes.sidecars()
    jobs = []
    for one in (one for path in paths for one in database.read.dates_under(path)):
        sidecar = sidecar_of(one.path)
        time = None
        if sidecar is not None:
            try:
                time = os.stat(sidecar).st_mtime_ns
            except OSError:
                continue  # it went away a moment ago
        if time != known.get(one.id) and (time is not None or os.path.lexists(file_of(one.path))):
            jobs.append((one.id, one.path, sidecar))
    return _read(database, jobs)


def _read(database: Database, jobs: list[tuple[int, str, str | None]]) -> list[tuple[str, str]]:
    troubles = read_notes(database, jobs)
    if jobs:
        database.texts.fill()
    return troubles
