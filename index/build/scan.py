"""Walking over folders: every file that may be a picture, and every place that could not be looked into."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from index.paths import absolute, inside
from vsearch.image.decode import SUFFIXES

_INT64 = 2**63 - 1


class Found(NamedTuple):
    """A file with the ending of a picture: absolute path, bytes, nanoseconds since 1970."""

    path: str
    size: int
    mtime_ns: int


@dataclass
class Scan:
    """A walk over `folders`: iterate over it once for the files; the other fields fill up on the way.

    `unreadable` holds (path, reason) of folders and files that could not be looked at: what the library knows below
    them must not be taken for deleted. `mounts` holds the folders on another disk than their parent. A folder of
    `known_mounts` that is empty now is unreadable: its disk is not there. A link to a folder may lead anywhere, to the
    folder above too: unless `follow_links` it is not followed, but noted in `links`. One of `folders` may be a link.
    """

    folders: list[str]
    known_mounts: frozenset[str] = frozenset()
    follow_links: bool = False
    suffixes: frozenset[str] = SUFFIXES
    links: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    mounts: set[str] = field(default_factory=set)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def __iter__(self) -> Iterator[Found]:
        for folder in self.folders:
            try:
                above = Path(folder).parent.stat().st_dev
            except OSError:
                above = -1
            yield from self._walk(folder, above)

    def kept(self, path: str) -> bool:
        """Tell whether a path that was not found may still exist, because nobody could look."""
        return any(inside(path, place) for place, _ in self.unreadable)

    def covers(self, path: str) -> bool:
        """Tell whether a path is one of the folders, or below one."""
        return any(inside(path, folder) for folder in self.folders)

    def _walk(self, top: str, device_above: int) -> Iterator[Found]:
        """Walk over files first, then folders, each by name; a folder reached twice, by whatever links, is walked
        once."""
        stack = [(top, device_above)]
        while stack:
            folder, above = stack.pop()
            try:
                status = Path(folder).stat()
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self.unreadable.append((folder, _reason(error)))
                continue
            if (status.st_dev, status.st_ino) in self._seen:
                continue
            self._seen.add((status.st_dev, status.st_ino))
            if status.st_dev != above:
                self.mounts.add(folder)
            if not entries and folder in self.known_mounts:
                self.unreadable.append((folder, "empty: its disk is not mounted"))
            folders = []
            for entry in entries:
                found = self._look(entry)
                if isinstance(found, Found):
                    yield found
                elif found is not None:
                    folders.append((found, status.st_dev))
            stack += reversed(folders)

    def _look(self, entry: os.DirEntry[str]) -> Found | str | None:
        """Return a picture file, the path of a folder to walk, or None for anything else."""
        name = entry.name
        if name.startswith("."):
            return None
        try:
            if name[name.rfind(".") :].lower() in self.suffixes and entry.is_file():
                status = entry.stat()
                return Found(entry.path, status.st_size, max(-_INT64, min(_INT64, status.st_mtime_ns)))
            if not entry.is_dir():
                return None
            if self.follow_links or not entry.is_symlink():
                return entry.path
            self.links.append(entry.path)
            return None
        except OSError as error:
            self.unreadable.append((entry.path, _reason(error)))
            return None


def scan(
    folders: Iterable[str | os.PathLike[str]],
    known_mounts: Iterable[str] = (),
    *,
    follow_links: bool = False,
    suffixes: frozenset[str] = SUFFIXES,
) -> Scan:
    """Return a walk over these folders, made absolute, for files with these endings; what is hidden is left out.

    Links to files are followed, those to folders only with `follow_links`.
    """
    return Scan([absolute(folder) for folder in folders], frozenset(known_mounts), follow_links, suffixes)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such folder"
    if isinstance(error, NotADirectoryError):
        return "not a folder"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return (error.strerror or "cannot be read").lower()
