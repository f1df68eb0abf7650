"""What may be written over: never a file that is read, and only by force one that the same command did not make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from vsearch.errors import VsearchError


def check_output(
    file: Path,
    *,
    made: Callable[[Path], bool],
    inputs: Iterable[str | os.PathLike[str]] = (),
    force: bool = False,
) -> None:
    """Raise VsearchError if writing `file` would destroy one of the `inputs`, or what nobody asked to replace.

    `made` tells of a file that is there whether the same command made it; then it is replaced. Any other stays, unless
    `force`. A file without content, a pipe and a device hold nothing that could be lost. Links are followed.
    """
    if any(_same(file, one) for one in inputs):
        raise VsearchError(f"{file} is read by this command, which would replace it", "name another file")
    target = Path(os.path.realpath(file))
    if force or not target.is_file() or not target.stat().st_size:
        return
    if not made(target):
        remedy = "name another file, or replace it with `force=True`"
        raise VsearchError(f"{file} is there, and was not made by this command", remedy)


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Tell whether two paths lead to one file, be it there or not."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
