"""Walking over folders: every file that may be a picture, and every place that could not be looked into."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from index.build.leave_out import BY_NAME, IGNORE, MARKS, NOMEDIA, Rules, read_rules, rules_for
from index.paths import SIDECAR, absolute, file_of, inside
from vsearch.image.decode import SUFFIXES
from vsearch.image.kinds import BY_SUFFIX, OPTIONAL, VIDEOS, Kind

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

    Videos are found only if `videos` are wanted. `left_out` holds them otherwise, and the files of other kinds whose
    package is not installed. `ways` maps folders to the names that are looked at in them; in others, all are.

    `excludes` holds patterns of what nobody wants; what they, marks in the folders and names of folders leave out is
    noted in `excluded`, and what lies below it is not. None of them leaves out one of `folders` itself.

    `sidecars` holds the times of all XMP files.
    """

    folders: list[str]
    known_mounts: frozenset[str] = frozenset()
    follow_links: bool = False
    suffixes: frozenset[str] = SUFFIXES
    links: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    mounts: set[str] = field(default_factory=set)
    videos: bool = False
    left_out: dict[str, Kind] = field(default_factory=dict)
    ways: dict[str, set[str]] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    excluded: set[str] = field(default_factory=set)
    sidecars: dict[str, int] = field(default_factory=dict)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def __iter__(self) -> Iterator[Found]:
        for folder in self.folders:
            try:
                above = Path(folder).parent.stat().st_dev
            except OSError:
                above = -1
            yield from self._walk(folder, above, rules_for(folder, self.excludes))

    @functools.cached_property
    def _endings(self) -> frozenset[str]:
        """The endings of files that can be read, and are wanted."""
        kinds = [kind for kind in OPTIONAL if kind.readable() and (kind is not VIDEOS or self.videos)]
        return self.suffixes.union(*(kind.suffixes for kind in kinds))

    def kept(self, path: str) -> bool:
        """Tell whether a path that was not found may still exist, because nobody could look."""
        file = file_of(path)
        kind = self.left_out.get(file)
        if kind is not None and not kind.readable() and (kind is not VIDEOS or self.videos):
            return True
        return any(inside(file, place) for place, _ in self.unreadable)

    def is_excluded(self, path: str) -> bool:
        """Tell whether a path that was not found lies in what nobody wants."""
        place = file_of(path)
        while place not in self.excluded:
            above = os.path.dirname(place)
            if above == place:
                return False
            place = above
        return True

    def covers(self, path: str) -> bool:
        """Tell whether a path is one of the folders, or below one."""
        return any(inside(path, folder) for folder in self.folders)

    def _walk(self, top: str, device_above: int, rules: Rules | None) -> Iterator[Found]:
        """Walk over files first, then folders, each by name; a folder reached twice, by whatever links, is walked
        once."""
        stack = [(top, device_above, rules)]
        while stack:
            folder, above, rules = stack.pop()
            try:
                status = Path(folder).stat()
                entries = list(os.scandir(folder))
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
            if marks := MARKS.intersection(entry.name for entry in entries):
                try:
                    rules = self._marked(folder, marks, rules)
                except (OSError, ValueError) as error:
                    reason = _reason(error) if isinstance(error, OSError) else str(error)
                    self.unreadable.append((folder, f"its {IGNORE} {reason}"))
                    continue
            if folder in self.excluded:
                continue
            folders = []
            names = self.ways.get(folder)
            looked_at = entries if names is None else [entry for entry in entries if entry.name in names]
            for entry in sorted(looked_at, key=lambda entry: entry.name):
                found = self._look(entry, rules)
                if isinstance(found, Found):
                    yield found
                elif found is not None:
                    folders.append((found, status.st_dev, rules))
            stack += reversed(folders)

    def _marked(self, folder: str, marks: frozenset[str], rules: Rules | None) -> Rules | None:
        """Return the rules of a folder with such files in it, or note that it is left out."""
        if NOMEDIA in marks:
            self.excluded.add(folder)
            return rules
        return read_rules(folder, rules)

    def _look(self, entry: os.DirEntry[str], rules: Rules | None) -> Found | str | None:
        """Return a picture file, the path of a folder to walk, or None for anything else."""
        name = entry.name
        if name.startswith("."):
            return None
        try:
            ending = name[name.rfind(".") :].lower()
            optional = ending in BY_SUFFIX and self.suffixes == SUFFIXES
            if (ending in self.suffixes or optional) and entry.is_file():
                if rules is not None and rules.leaves_out(entry.path, folder=False):
                    self.excluded.add(entry.path)
                    return None
                if ending not in self._endings:
                    self.left_out[entry.path] = BY_SUFFIX[ending]
                    return None
                status = entry.stat()
                return Found(entry.path, status.st_size, max(-_INT64, min(_INT64, status.st_mtime_ns)))
            if not entry.is_dir():
                if ending == SIDECAR and entry.is_file():
                    self.sidecars[entry.path] = entry.stat().st_mtime_ns
                return None
            if name in BY_NAME or (rules is not None and rules.leaves_out(entry.path, folder=True)):
                if entry.path not in self.folders:  # a folder that is named itself is walked for its own sake
                    self.excluded.add(entry.path)
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
    videos: bool = False,
    only: Collection[str] | None = None,
    excludes: Iterable[str] = (),
) -> Scan:
    """Return a walk over these folders, made absolute, for files with these endings; what is hidden is left out, and
    what `excludes` says.

    Links to files are followed, those to folders only with `follow_links`. `only` restricts the walk to these absolute
    paths, files and whole folders, and to what lies on the way to them.
    """
    places = [absolute(folder) for folder in folders]
    walk = Scan(places, frozenset(known_mounts), follow_links, suffixes, videos=videos, excludes=tuple(excludes))
    if only is not None:
        walk.ways = _ways(walk.folders, only)
        walk.folders = [folder for folder in walk.folders if any(inside(path, folder) for path in only)]
    return walk


def _ways(folders: Iterable[str], only: Collection[str]) -> dict[str, set[str]]:
    """Return the names to follow in each folder on the way from `folders` to the paths; none where all is wanted."""
    ways: dict[str, set[str]] = {}
    whole = set(only)
    for folder in folders:
        for path in whole:
            steps: list[tuple[str, str]] = []
            while path != folder and inside(path, folder):
                path, name = os.path.split(path)
                steps.append((path, name))
            if path == folder and not any(parent in whole for parent, _ in steps):
                for parent, name in steps:
                    ways.setdefault(parent, set()).add(name)
    return ways


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such folder"
    if isinstance(error, NotADirectoryError):
        return "not a folder"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return (error.strerror or "cannot be read").lower()
