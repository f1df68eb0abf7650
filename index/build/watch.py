"""Keep a library in step with folders while they change: one build of everything, then builds of what changed.

The system names the paths that change; each is left alone until it rests, for a file that is still being written is no
picture yet. What is gone comes last, so that a renamed picture is found under its new name before it is missed.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from index.build.build import WHOLE, Part
from index.build.events import Broken, Events, check_installed, identity, mounted_below, network_kind
from index.build.leave_out import MARKS
from index.build.report import Report
from index.build.scan import Found
from index.database.connection import BusyError
from index.paths import SIDECAR, inside
from vsearch.image.decode import SUFFIXES
from vsearch.image.kinds import BY_SUFFIX, suffix

REST = 1.0  # seconds without a change after which a file counts as written
PATIENCE = 10.0  # seconds for which what is gone waits while other files are being written
TICK = 0.25  # seconds between two looks at what does not rest yet
IDLE = 2.0  # seconds between two looks whether a disk came or went
BUSY = 5.0  # seconds until another build's end is waited for once more
POLL = 30.0  # seconds between two looks at all files, where the system tells no changes
_ENDINGS = SUFFIXES | BY_SUFFIX.keys()
MANY = 2_000  # paths from which on all files are looked at instead


@dataclass(frozen=True)
class Doors:
    """How a watch reaches the library: `build` runs a build; `knows` tells whether a path is, or holds, pictures of it;
    `mounts` gives the mount points it knows; `own` begins the names of its own files; `say` tells people something."""

    build: Callable[[Part], Report]
    knows: Callable[[str], bool]
    mounts: Callable[[], list[str]]
    own: str
    say: Callable[[str], None]


class Watch:
    """Folders, as absolute paths, that are watched: iterate for the report of each build that changed something."""

    def __init__(
        self, folders: Sequence[str], doors: Doors, *, poll: float | None, stop: threading.Event | None = None
    ) -> None:
        """Ask the system what changes, or with `poll` look at all files every so many seconds, until `stop` is set.

        Raises VsearchError if the package for the first is not installed.
        """
        if poll is None:
            check_installed()
        self._folders, self._doors, self._poll = folders, doors, poll
        self._stop = stop or threading.Event()
        self._pending: dict[str, float] = {}  # path -> when it changed last
        self._signs: dict[str, tuple[int, int]] = {}  # path -> size and date when it was looked at last
        self._events: Events | None = None
        self._places: dict[str, tuple[int, int] | None] = {}
        self._next_poll = 0.0
        self._waiting = False
        self._told: set[tuple[str, str]] = set()  # (path, reason) of what was skipped or could not be looked into

    def __iter__(self) -> Iterator[Report]:
        try:
            self._listen()
            self._places = self._seen_places()
            first = self._doors.build(WHOLE)  # a file that is just being written is told again when it changes
            self._told = {*first.skipped, *first.unreadable}
            yield first
            self._next_poll = time.monotonic() + (self._poll or 0)
            while not self._stop.is_set():
                self._note(self._heard(TICK if self._pending else IDLE))
                self._look_at_places()
                report = self._round()
                if report is not None and _told(report):
                    yield report
        finally:
            if self._events is not None:
                self._events.close()

    # ---- what changes

    def _listen(self) -> None:
        """Begin to listen to the system, again where disks came or went; fall back to looking at all files."""
        if self._events is not None:
            self._events.close()
            self._events = None
        there = [folder for folder in self._folders if os.path.isdir(folder)]
        if self._poll is None and there:
            for folder in there:
                if (kind := network_kind(folder)) is not None and not self._places:
                    told = "what other machines change there is only seen with `poll=30`"
                    self._doors.say(f"{folder} is on a network disk ({kind}): {told}")
            self._events = Events(there)

    def _heard(self, seconds: float) -> set[str]:
        if self._events is None:
            self._stop.wait(seconds)
        else:
            try:
                return self._events.wait(seconds)
            except Broken as error:
                self._events.close()
                self._events, self._poll = None, POLL
                often = f"all files are looked at every {POLL:g} seconds"
                self._doors.say(f"the system tells no changes ({error}): {often}")
                return set(self._folders)
        if self._poll is not None and time.monotonic() >= self._next_poll:
            self._next_poll = math.inf  # until that is done
            return set(self._folders)
        return set()

    def _note(self, paths: Collection[str]) -> None:
        """Remember the paths that may concern the library."""
        now = time.monotonic()
        for path in paths:
            self._pending.update(dict.fromkeys(self._concerned(path), now))

    def _concerned(self, path: str) -> list[str]:
        """Return what is to be looked at because a path changed: itself, its folder, photos next to it, or nothing."""
        folder = next((folder for folder in self._folders if inside(path, folder)), None)
        if folder is None or path.startswith(self._doors.own):
            return []
        names = path[len(folder) :].split(os.sep)
        if names[-1] in MARKS:  # what they say is for their folder
            path = os.path.dirname(path)
            names.pop()
        if any(name.startswith(".") for name in names):
            return []
        if suffix(path) == SIDECAR:
            return photos_of(path)
        if suffix(path) in _ENDINGS or os.path.isdir(path):
            return [path]
        return [path] if not os.path.lexists(path) and self._doors.knows(path) else []

    # ---- disks that come and go

    def _seen_places(self) -> dict[str, tuple[int, int] | None]:
        known = [place for place in self._doors.mounts() if any(inside(place, folder) for folder in self._folders)]
        mounted = [mount.place for mount in mounted_below(self._folders)]
        return {place: identity(place) for place in dict.fromkeys([*self._folders, *known, *mounted])}

    def _look_at_places(self) -> None:
        """Look at folders whose disk came or went, or that are others than before, and listen to them again."""
        places = self._seen_places()
        changed = [place for place in {**self._places, **places} if self._places.get(place) != places.get(place)]
        if changed:
            self._places = places
            self._listen()
            self._pending.update(dict.fromkeys(changed, time.monotonic()))

    # ---- builds

    def _round(self) -> Report | None:
        """Build what rests, if anything does."""
        ready = self._ready()
        if not ready:
            return None
        begun = time.monotonic()
        paths = list(self._folders) if len(ready) > MANY else ready
        try:
            report = self._doors.build(Part(paths, self._held))
        except BusyError as error:
            if not self._waiting:
                self._doors.say(f"{error}: waiting for its end")
            self._waiting = True
            self._stop.wait(BUSY)
            return None
        self._waiting = False
        for path in ready:
            if self._pending.get(path, begun) <= begun:
                self._pending.pop(path, None)
                self._signs.pop(path, None)
        self._leave_told(report, paths)
        if self._poll is not None:
            self._next_poll = time.monotonic() + max(self._poll, 10 * (time.monotonic() - begun))
        return report

    def _leave_told(self, report: Report, paths: Sequence[str]) -> None:
        """Take out of a report what an earlier one said, and is still so."""
        told = self._told
        now = {*report.skipped, *report.unreadable}
        self._told = now | {one for one in told if not any(inside(one[0], path) for path in paths)}
        report.skipped = [one for one in report.skipped if one not in told]
        report.unreadable = [one for one in report.unreadable if one not in told]

    def _ready(self) -> list[str]:
        """Return the paths that rest: what is there for a second, what is gone once nothing else is being written."""
        now = time.monotonic()
        ready, gone = [], []
        for path, since in self._pending.items():
            sign = _sign(path)
            if sign is None:
                gone.append(path)
            elif sign != self._signs.get(path, sign):
                self._pending[path] = now
            elif now - since >= REST:
                ready.append(path)
            if sign is not None:
                self._signs[path] = sign
        writing = len(ready) + len(gone) < len(self._pending)
        patience = PATIENCE if writing else REST
        return ready + [path for path in gone if now - self._pending[path] >= patience]

    def _held(self, file: Found) -> bool:
        """Tell whether a file that a build would open is still being written; then it comes later."""
        now = time.monotonic()
        if now - self._pending.get(file.path, now - REST) < REST:
            return True
        try:
            age = time.time() - os.stat(file.path).st_ctime
        except OSError:
            return False
        if file.path in self._pending or not -REST < age < REST:  # a clock of another machine says nothing
            return False
        self._pending[file.path] = now
        return True


def photos_of(sidecar: str) -> list[str]:
    """Return the photos that an XMP file may belong to: `dog.jpg` of `dog.jpg.xmp`, and of `dog.xmp`."""
    stem = sidecar[: -len(SIDECAR)]
    names = [stem + form for ending in _ENDINGS for form in (ending, ending.upper())]
    return [name for name in ([stem] if suffix(stem) in _ENDINGS else names) if os.path.lexists(name)]


def _sign(path: str) -> tuple[int, int] | None:
    """Return size and date of a file, of a folder nothing that changes, None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (0, 0) if os.path.isdir(path) else (status.st_size, status.st_mtime_ns)


def _told(report: Report) -> bool:
    changes = (report.added, report.updated, report.moved, report.captioned, report.removed)
    return any(changes) or bool(report.skipped or report.unreadable)
