"""What changes in folders, told by the system, and where their disks are."""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from index.paths import inside
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

STEP = 200  # milliseconds between two looks of watchfiles at what the system told
_MOUNTS = Path("/proc/self/mounts")
_NETWORK = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.rclone", "afs", "davfs")


class Broken(Exception):
    """The system tells no changes, or no longer; the text says why."""


class Events:
    """A thread that collects the paths that change below some folders. Raises Broken if the system refuses."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._found: queue.SimpleQueue[set[str] | Broken] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._folders = folders
        self._thread = threading.Thread(target=self._run, name="vsearch-watch", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> set[str]:
        """Return the paths that changed since the last call; wait for the first of them, but only so long."""
        paths: set[str] = set()
        while True:
            try:
                found = self._found.get(timeout=0 if paths else seconds)
            except queue.Empty:
                return paths
            if isinstance(found, Broken):
                raise found
            paths |= found

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            from watchfiles import watch

            changes = watch(
                *self._folders,
                watch_filter=None,
                debounce=2 * STEP,
                step=STEP,
                stop_event=self._stop,
                rust_timeout=0,
                raise_interrupt=False,
                ignore_permission_denied=True,
            )
            for found in changes:
                self._found.put({path for _, path in found})
        except Exception as error:  # it raises several kinds of its own; a limit of the system is the usual one
            self._found.put(Broken(" ".join(str(error).split())))


def check_installed() -> None:
    """Raise VsearchError if the package that listens to the system is not there."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        remedy = f"install the extra: {install_hint('watch')}; or have all files looked at, `poll=30`"
        raise VsearchError("watching folders needs watchfiles", remedy) from None


class Mount(NamedTuple):
    """A disk that is mounted: where, and the kind of its file system."""

    place: str
    kind: str


def mounted_below(folders: Iterable[str]) -> list[Mount]:
    """Return what is mounted in or below these folders now; nothing where the system has no list."""
    try:
        lines = _MOUNTS.read_bytes().split(b"\n")
    except OSError:
        return []
    found = []
    for fields in (line.split(b" ") for line in lines if line.count(b" ") >= 2):
        place = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8) & 255]), fields[1]))
        if any(inside(place, folder) for folder in folders):
            found.append(Mount(place, os.fsdecode(fields[2])))
    return found


def network_kind(folder: str) -> str | None:
    """Return the kind of the network disk that a folder lies on, None if it is one of this machine's."""
    disks = [mount for mount in mounted_below([os.sep]) if inside(folder, mount.place)]
    kind = max(disks, key=lambda mount: len(mount.place)).kind if disks else ""
    return kind if kind.startswith(_NETWORK) else None


def identity(place: str) -> tuple[int, int] | None:
    """Return what tells a folder from another one that takes its place; None if it is not there."""
    try:
        status = os.stat(place)
    except OSError:
        return None
    return status.st_dev, status.st_ino
