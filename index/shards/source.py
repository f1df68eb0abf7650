"""Where photos come from: folders and shared mounts, prefixes in S3, and tars in both; listed, cut, and read.

A photo's path in the store is its own, its URL, or (in a tar) that of the tar, then # and the member's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from index.build.scan import Found, scan
from index.paths import absolute
from index.shards import s3
from index.shards.errors import ShardError
from index.shards.photo import Loaded, Skipped, is_photo, too_large, too_long
from index.shards.shard import Shard, cut, of_tar
from index.shards.tar import members
from vsearch.errors import VsearchError
from vsearch.image.decode import SUFFIXES

_TAR = ".tar"


@dataclass
class Listing:
    """What the sources hold: shards in a fixed order, and what could not be looked into, as (place, reason).

    `names` are the sources as the store keeps them.
    """

    names: list[str]
    shards: list[Shard]
    unreadable: list[tuple[str, str]]
    links: list[str]


@dataclass
class _Files:
    photos: dict[str, Found] = field(default_factory=dict)
    tars: dict[str, Found] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, found: Found, tag: str = "") -> None:
        """Take in a file by its ending; one that two sources hold counts once."""
        if found.path.endswith(_TAR):
            self.tars[found.path] = found
        elif is_photo(found.path):
            self.photos[found.path] = found
        self.tags[found.path] = tag


def is_remote(source: str) -> bool:
    """Tell whether a source is no folder of this machine."""
    return source.startswith(s3.SCHEME)


def is_sharded(source: str) -> bool:
    """Tell whether a source can only be built in shards: S3, or a tar."""
    return is_remote(source) or source.endswith(_TAR)


def list_shards(sources: Iterable[str], *, follow_links: bool = False) -> Listing:
    """List the photos of all sources and cut them into shards.

    Raises VsearchError if one in S3 cannot be listed, or if none of the folders can be read.
    """
    files, names = _Files(), []
    unreadable: list[tuple[str, str]] = []
    links: list[str] = []
    for source in dict.fromkeys(sources):
        if is_remote(source):
            names.append(_list_remote(source, files))
        else:
            names.append(absolute(source))
            _list_local(names[-1], files, unreadable, links, follow_links=follow_links)
    if names and {place for place, _ in unreadable} >= set(names):
        raise VsearchError(f"{unreadable[0][0]}: {unreadable[0][1]}", "name a source that can be read")
    tars = [of_tar(files.tars[path], files.tags[path]) for path in sorted(files.tars)]
    photos = (files.photos[path] for path in sorted(files.photos))
    return Listing(names, [*tars, *cut(photos, files.tags)], unreadable, links)


def _list_remote(source: str, files: _Files) -> str:
    """List a prefix or one tar in S3; return the source as the store keeps it."""
    bucket, key = s3.split(source)
    exact = key.endswith(_TAR)
    name = source if exact else f"{s3.SCHEME}{bucket}/{key.rstrip('/') + '/' if key else ''}"
    for found in s3.listed(name):
        hidden = any(part.startswith(".") for part in found.url[len(name) :].split("/"))
        if not hidden and (found.url == name or not exact):
            files.add(Found(found.url, found.size, found.mtime_ns), found.tag)
    if exact and name not in files.tars:
        raise VsearchError(f"there is no object {name}", "name one that is there")
    return name


def _list_local(
    folder: str, files: _Files, unreadable: list[tuple[str, str]], links: list[str], *, follow_links: bool
) -> None:
    """List a folder, or one tar."""
    if folder.endswith(_TAR) and os.path.isfile(folder):
        status = os.stat(folder)
        files.add(Found(folder, status.st_size, status.st_mtime_ns))
        return
    walk = scan([folder], follow_links=follow_links, suffixes=SUFFIXES | {_TAR})
    for found in walk:
        files.add(found)
    unreadable += walk.unreadable
    links += walk.links


# ---- reading

Read = Callable[[], Loaded | Skipped | Found]  # Found: a file of this machine, which the decoder opens itself


def photos(shard: Shard, wanted: Callable[[Found], bool]) -> Iterator[Read]:
    """Yield a call for each photo of a shard that is `wanted`, which reads it; the calls may be made by threads.

    Raises ShardError where a tar is not there or damaged, PassingError where S3 does not answer.
    """
    if shard.tar is None:
        for photo in shard.photos:
            if wanted(photo):
                yield _reader(photo)
        return
    for member in _members(shard.tar.path):
        yield lambda member=member: member  # type: ignore[misc]


def _members(tar: str) -> Iterator[Loaded | Skipped]:
    if is_remote(tar):
        with s3.opened(tar) as body:
            yield from members(body, tar)
        return
    try:
        with open(tar, "rb") as file:
            yield from members(file, tar)
    except FileNotFoundError:
        raise ShardError("vanished") from None
    except OSError as error:
        raise ShardError((error.strerror or "cannot be read").lower()) from None


def _reader(photo: Found) -> Read:
    if not is_remote(photo.path):
        return lambda: photo
    return lambda: _fetch(photo)


def _fetch(photo: Found) -> Loaded | Skipped:
    """Read an object. One that vanished is skipped until the next build; what else fails is raised."""
    if reason := too_long(photo) or too_large(photo):
        return Skipped(photo.path, reason)
    try:
        with s3.opened(photo.path) as body:
            data = body.read(photo.size + 1)
    except ShardError as error:
        return Skipped(photo.path, f"{error} while it was read", lasting=False)
    if len(data) != photo.size:
        return Skipped(photo.path, "changed while it was read", lasting=False)
    return Loaded(photo, data)
