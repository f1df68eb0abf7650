"""What is done stays done: a marker for each shard, written only once, next to a list of the photos it left out.

    _done/<build>/<shard>            {"written": 998, "unchanged": 0, "skipped": 2}
    _skipped/<build>/<shard>.jsonl   {"path": "s3://photos/00017.tar#000170003.jpg", "reason": "truncated"}

<build> is a hash of the store, the model and the settings, so that builds of one source into two stores keep apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from index.shards import s3
from index.shards.photo import Skipped
from vsearch.errors import VsearchError
from vsearch.files import write_bytes

_ABOUT = "_about.json"  # what the build is, among its markers


class Place(Protocol):
    """Where markers lie."""

    def names(self, folder: str) -> set[str]:
        """Return the names below a folder."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file unless it is there, whoever else tries; return whether it was written."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete files."""


class Markers:
    """The markers of one build, that is, of one store, one model and one way to describe photos."""

    def __init__(self, place: Place, name: str) -> None:
        """Keep the markers of the build called `name`, see `build_name`."""
        self.place = place
        self.name = name

    def begin(self, about: dict[str, object]) -> None:
        """Write what the build is about, so that what must fail fails before the first photo."""
        self.place.put(f"_done/{self.name}/{_ABOUT}", json.dumps(about, indent=2).encode())

    def done(self) -> set[str]:
        """Return the names of the shards that are done."""
        return self.place.names(f"_done/{self.name}") - {_ABOUT}

    def mark(self, shard: str, counts: dict[str, int]) -> bool:
        """Mark a shard as done; return False if another had marked it."""
        return self.place.put_new(f"_done/{self.name}/{shard}", json.dumps(counts).encode())

    def note_skipped(self, shard: str, skipped: Sequence[Skipped]) -> None:
        """Keep which photos of a shard were left out, and why."""
        lines = [json.dumps({"path": one.path, "reason": one.reason}) for one in skipped]
        self.place.put(f"_skipped/{self.name}/{shard}.jsonl", "".join(f"{line}\n" for line in lines).encode())

    def forget(self) -> None:
        """Take every marker of this build away, so that all is done again."""
        self.place.delete([f"_done/{self.name}/{shard}" for shard in sorted(self.done())])


def build_name(store: str, identity: str, *, captions: bool, beam: int | None) -> str:
    """Return the name of a build, 16 digits."""
    told = json.dumps([store, identity, captions, beam])
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def place_of(place: str) -> Place:
    """Return a folder, or a prefix in S3, as a place of markers."""
    return S3Place(place) if place.startswith(s3.SCHEME) else FolderPlace(Path(place))


def default_place(sources: Sequence[str]) -> str:
    """Return where markers lie unless the user says otherwise.

    Next to the first source that lies in S3, so that every machine finds them; else in the user's data directory, for
    nothing is written into folders of photos.
    """
    import platformdirs

    for source in sources:
        if source.startswith(s3.SCHEME):
            return re.sub(r"[^/]*\.tar$", "", source)
    return str(platformdirs.user_data_path("vsearch", appauthor=False) / "shards")


class FolderPlace:
    """Markers in a folder of this machine, or of a shared mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in a folder below."""
        try:
            return set(os.listdir(self.folder / folder))
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise self._refused(error) from None

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""
        try:
            path = self._above(name)
            write_bytes(path, data)
        except OSError as error:
            raise self._refused(error) from None

    def put_new(self, name: str, data: bytes) -> bool:
        """Create a file that nobody else creates; a crash may cut its content off, but that it is there says all."""
        try:
            path = self._above(name)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                return False
            try:
                os.write(file, data)
                os.fsync(file)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(file)
        except OSError as error:
            raise self._refused(error) from None
        return True

    def delete(self, names: Sequence[str]) -> None:
        """Delete files."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _above(self, name: str) -> Path:
        """Return the path of a file whose folder is there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _refused(self, error: OSError) -> VsearchError:
        reason = (error.strerror or "cannot be written").lower()
        remedy = "make room there, or keep the markers elsewhere: `markers=place`"
        return VsearchError(f"no markers can be kept in {self.folder}: {reason}", remedy)


class S3Place:
    """Markers below a prefix in S3."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def names(self, folder: str) -> set[str]:
        """Return the names of the objects below a prefix."""
        start = f"{self.url}/{folder}/"
        return {found.url[len(start) :] for found in s3.listed(start)}

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        s3.put(f"{self.url}/{name}", data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object unless it is there (`If-None-Match: *`)."""
        return s3.put_new(f"{self.url}/{name}", data)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        s3.delete(f"{self.url}/{name}" for name in names)
