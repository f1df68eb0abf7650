"""Photos out of a tar that is read once, as a stream: WebDataset shards, on a disk or in S3.

A member's name is text that becomes part of a path in the store. Nothing is ever unpacked to a disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Self

from index.build.scan import Found
from index.shards.errors import ShardError
from index.shards.photo import Loaded, Skipped, is_photo, nanoseconds, too_large, too_long

_BUFFER = 1 << 20  # bytes read at once
_HEADER = 1 << 20  # bytes of a member's extended header at most: tarfile keeps it in memory
_EXTENDED = (b"L", b"K", b"x", b"g", b"X")  # types of member that only say more of the next one


class _Header(tarfile.TarInfo):
    """A member's header that is never taken for the end of the tar because it is damaged, nor trusted with memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header. Raises ShardError unless it is one, or the mark at the end of a tar."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:  # tarfile would end here as if the tar did
            raise ShardError(f"a damaged tar ({error})" if buf else "a tar that was cut off") from None
        if header.size < 0 or (header.type in _EXTENDED and header.size > _HEADER):
            raise ShardError("a damaged tar (a header of impossible size)")
        return header


def members(file: BinaryIO, path: str) -> Iterator[Loaded | Skipped]:
    """Yield the photos of a tar in their order, each in memory; `path` is the tar's own.

    What ends like a photo and cannot be one (too large, a name that came before) is yielded with the reason.
    Raises ShardError when the tar is damaged from some member on; what came before is good.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=file, mode="r|", bufsize=_BUFFER, tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
                if is_photo(member.name) and not member.isdir():
                    yield _member(tar, member, path, seen)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ShardError(f"a damaged tar ({error})") from None


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, seen: set[str]) -> Loaded | Skipped:
    found = Found(f"{path}#{member.name}", member.size, nanoseconds(member.mtime))
    reason = too_long(found) or too_large(found)
    if not member.isreg() or member.issparse():
        reason = "a link in a tar, or another thing that is no file"
    elif member.name in seen:
        reason = "a second one of this name in the tar"
    if reason:
        return Skipped(found.path, reason)
    seen.add(member.name)
    body = tar.extractfile(member)
    data = b"" if body is None else body.read()
    if len(data) != member.size:
        raise ShardError("a tar that was cut off")
    return Loaded(found, data)
