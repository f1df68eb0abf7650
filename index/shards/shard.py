"""The unit of work: a tar, or some hundred photos of a listing, under a name that stays the same while they do."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from index.build.scan import Found

LEAST, MOST = 500, 1_000  # photos of a shard
_BORDER = 128  # one path in so many may end a shard


@dataclass(frozen=True)
class Shard:
    """A tar (then `photos` is empty), or photos by themselves.

    The name tells of paths, sizes and dates: what has changed has another name, and is done again.
    """

    name: str
    photos: tuple[Found, ...]
    tar: Found | None = None

    @property
    def place(self) -> str:
        """The tar, or the first of the photos, for people."""
        return self.tar.path if self.tar is not None else f"{len(self.photos):,} photos from {self.photos[0].path} on"


def cut(photos: Iterable[Found], tags: dict[str, str] | None = None) -> Iterator[Shard]:
    """Yield shards of photos that come in a fixed order; `tags` say more of their content than size and date.

    Where one ends is said by the paths themselves, so that a photo more or less changes its own shard, and not every
    one that follows.
    """
    part: list[Found] = []
    for photo in photos:
        part.append(photo)
        if len(part) == MOST or (len(part) >= LEAST and _number(photo.path) % _BORDER == 0):
            yield _of_photos(part, tags or {})
            part = []
    if part:
        yield _of_photos(part, tags or {})


def of_tar(tar: Found, tag: str = "") -> Shard:
    """Return the shard that a tar is."""
    return Shard(_name([tar], {tar.path: tag}), (), tar)


def _of_photos(photos: list[Found], tags: dict[str, str]) -> Shard:
    return Shard(_name(photos, tags), tuple(photos))


def _name(files: list[Found], tags: dict[str, str]) -> str:
    """Return a name that is safe as that of a file: what the first file is called, and a hash of all."""
    state = hashlib.blake2b(digest_size=10)
    for file in files:
        tag = tags.get(file.path, "").encode()
        state.update(b"%b\0%d\0%d\0%b\0" % (_bytes(file.path), file.size, file.mtime_ns, tag))
    stem = os.path.splitext(os.path.basename(files[0].path))[0]
    return f"{re.sub('[^A-Za-z0-9_-]', '_', stem)[:40]}-{state.hexdigest()}"


def _number(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(_bytes(path), digest_size=4).digest())


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
