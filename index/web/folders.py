"""The folders of a library as a tree: what is in one is read when it is asked for."""

from __future__ import annotations

import os

from index.database.database import Database
from index.paths import absolute, inside, readable
from index.web.answers import FolderRow, FoldersAnswer
from index.web.problems import Problem
from index.web.service import Service

PAGE = 200


def folders(service: Service, within: str, k: int = PAGE, after: int = 0) -> FoldersAnswer:
    """Return the folders `after` to `after` + `k` right below one, by name; of "", the topmost folders of the library.

    Raises LibraryError if there is no library, Problem 400 if `within` is no folder of it.
    """
    with service.apart() as database:
        if within:
            found = database.read.folders_in(real(database, within), k + 1, after)
        else:
            found = [(top, *database.read.weight(top)) for top in tops(database)][after : after + k + 1]
    rows = [
        FolderRow(
            path=readable(path),
            name=readable(os.path.basename(path) if within else path) or path,
            pictures=pictures,
            more=more,
        )
        for path, pictures, more in found[:k]
    ]
    return FoldersAnswer(folders=rows, next=after + k if len(found) > k else None)


def tops(database: Database) -> list[str]:
    """Return the folders that were indexed and lie below no other one of these, sorted."""
    found: list[str] = []
    for folder in database.read.folders():  # sorted: what is above comes first
        if not any(inside(folder, top) for top in found):
            found.append(folder)
    return found


def real(database: Database, given: str) -> str:
    """Return the folder of the library that a text names: one that was indexed, or one below it.

    A name that is no text is known by what `readable` makes of it, as pages show it.
    Raises Problem 400 if there is none.
    """
    folder = absolute(given)
    known = database.read.folders()
    if database.read.weight(folder)[0]:
        return folder
    for top in known:
        if inside(given, readable(top)):
            found = _descend(database, top, [part for part in given[len(readable(top)) :].split(os.sep) if part])
            if found is not None:
                return found
    if not any(inside(folder, one) or inside(one, folder) for one in known):
        raise Problem(400, f"{readable(folder)} is no folder of the library", "name one that was indexed")
    return folder


def _descend(database: Database, folder: str, names: list[str]) -> str | None:
    """Return the folder that shown names lead to, from `folder` on; None if there is none."""
    for name in names:
        below = [path for path, _, _ in database.read.folders_in(folder)]
        fitting = [path for path in below if readable(os.path.basename(path)) == name]
        if not fitting:
            return None
        folder = fitting[0]
    return folder
