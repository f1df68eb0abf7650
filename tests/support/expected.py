"""What a library must hold, in plain Python: a dict of paths, and how builds and forgetting change it.

It knows nothing of databases, hashes of files or vectors. Contents are known by number.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

BROKEN = -1  # the content of a file that is no picture


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


@dataclass
class Expected:
    """`content_at` reads what lies at a path; `pictures` maps paths to contents; `by_hand` contents to captions."""

    content_at: Callable[[str], int]
    pictures: dict[str, int] = field(default_factory=dict)
    described: set[str] = field(default_factory=set)  # paths that have a caption for sure
    by_hand: dict[int, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    disks: set[str] = field(default_factory=set)  # folders that were seen on another disk
    excludes: set[str] = field(default_factory=set)

    # ---- what lies on the disk

    def look(self, folders: Iterable[str]) -> tuple[dict[str, int], list[str]]:
        """Return the files below folders, and the places that cannot be looked into."""
        found: dict[str, int] = {}
        unseen: list[str] = []
        seen: set[str] = set()
        for folder in folders:
            self._walk(folder, found, unseen, seen)
        return found, unseen

    def _walk(self, folder: str, found: dict[str, int], unseen: list[str], seen: set[str]) -> None:
        if not os.path.isdir(folder) or (folder in self.disks and not os.listdir(folder)):
            unseen.append(folder)
            return
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
        for entry in sorted(Path(folder).iterdir()):
            if entry.name.startswith(".") or self._left_out(entry.name, folder=entry.is_dir()):
                continue
            if entry.is_dir():
                self._walk(str(entry), found, unseen, seen)
            else:
                found[str(entry)] = self.content_at(str(entry))

    def _left_out(self, name: str, *, folder: bool) -> bool:
        patterns = (one.removesuffix("/") for one in self.excludes if folder or not one.endswith("/"))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    # ---- what commands do

    def can_build(self, folders: list[str]) -> bool:
        """Tell whether one of the folders can be looked into."""
        return any(os.path.isdir(one) and not (one in self.disks and not os.listdir(one)) for one in folders)

    def build(self, folders: list[str], *, captions: bool) -> None:
        files, unseen = self.look(folders)
        found = {path: content for path, content in files.items() if content != BROKEN}
        covered = {path for path in self.pictures if any(within(path, folder) for folder in folders)}
        kept = {path for path in covered if path not in files and any(within(path, place) for place in unseen)}
        changed = {path for path in found if self.pictures.get(path) != found[path]}
        stays = {path: content for path, content in self.pictures.items() if path not in covered or path in kept}
        self.pictures = {**stays, **found}
        self.described = (self.described - changed) & self.pictures.keys()
        if captions:
            self.described |= found.keys()
        self.folders |= set(folders)
        self._note_disks(folders)

    def _note_disks(self, folders: list[str]) -> None:
        for folder in folders:
            for top, names, _ in os.walk(folder, followlinks=True):
                names[:] = [name for name in names if not self._left_out(name, folder=True)]
                if os.path.islink(top):  # in these tests, a link leads to another disk
                    self.disks.add(top)

    def reindex(self, *, captions: bool) -> None:
        self.pictures, self.described = {}, set()
        self.build(sorted(self.folders), captions=captions)

    def knows(self, folder: str) -> bool:
        return any(within(one, folder) for one in self.folders)

    def forget(self, folder: str) -> None:
        self.pictures = {path: content for path, content in self.pictures.items() if not within(path, folder)}
        self.described &= self.pictures.keys()
        self.folders = {one for one in self.folders if not within(one, folder)}
        self.disks = {disk for disk in self.disks if any(within(disk, one) for one in self.folders)}
        self.by_hand = {content: text for content, text in self.by_hand.items() if content in self.pictures.values()}

    # ---- what `check` must say

    def missing(self) -> set[str]:
        """Return the pictures that the next build of all folders would take out."""
        found, unseen = self.look(sorted(self.folders))
        covered = {path for path in self.pictures if any(within(path, folder) for folder in self.folders)}
        return {path for path in covered if path not in found and not any(within(path, place) for place in unseen)}
