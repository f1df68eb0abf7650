"""Names of photos from stdin, as `find` and `vsearch search --paths` print them: a line each, or a NUL after each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from vsearch.console import remark
from vsearch.errors import VsearchError


@dataclass(frozen=True)
class Stdin:
    """Whether the names of photos come from stdin, and how they are told from each other."""

    stdin: Annotated[bool, typer.Option("--stdin", help="Read names of photos from stdin, a line each; so does -.")] = (
        False
    )
    nul: Annotated[bool, typer.Option("-0", help="Names on stdin end with a NUL each, as of find -print0.")] = False

    def names(self, given: Sequence[str | os.PathLike[str]] | None) -> list[str]:
        """Return the names that were given, or those that come on stdin.

        Raises BadParameter if there are neither or both, VsearchError if NULs come where lines were expected.
        """
        names = [os.fspath(name) for name in given or ()]
        wanted = self.stdin or names == ["-"]
        if self.nul and not wanted:
            raise typer.BadParameter("-0 needs --stdin")
        if not wanted:
            if not names:
                raise typer.BadParameter("name photos, or read their names with --stdin")
            return names
        if names not in ([], ["-"]):
            raise typer.BadParameter("--stdin takes the place of names")
        found = self._read()
        if not found:
            remark("no name came on stdin")
        return found

    def _read(self) -> list[str]:
        data = b"" if sys.stdin is None else sys.stdin.buffer.read()
        if not self.nul and b"\0" in data:
            raise VsearchError("names on stdin have a NUL after each", "add -0")
        return [os.fsdecode(name) for name in data.split(b"\0" if self.nul else b"\n") if name]
