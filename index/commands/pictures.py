"""Pictures that a search looks for, or away from: `--like` and `--unlike`, each with a weight if it has one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vsearch.console import shown
from vsearch.errors import VsearchError

_WEIGHTED = re.compile(r"(\d+(?:\.\d*)?|\.\d+):(.+)", re.ASCII | re.DOTALL)
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Pictures:
    """Pictures to look like, and not to look like."""

    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like", metavar="PHOTO", help="Look for pictures like this one; 2:PHOTO counts twice. Repeat it."
        ),
    ] = None
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", metavar="PHOTO", help="And not like this one; as --like.")
    ] = None

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.like or self.unlike)

    def wanted(self) -> list[tuple[Path, float]]:
        """Return the pictures to look like, and their weights."""
        return weighted(self.like or ())

    def unwanted(self) -> list[tuple[Path, float]]:
        """Return the pictures not to look like, and their weights."""
        return weighted(self.unlike or ())


def weighted(given: Sequence[str]) -> list[tuple[Path, float]]:
    """Return the photos and weights that PHOTO or N:PHOTO stand for; a file of that very name goes before a weight.

    Raises VsearchError for a URL, which is never fetched.
    """
    found = []
    for one in given:
        parts = None if Path(one).exists() else _WEIGHTED.fullmatch(one)
        name, weight = (one, 1.0) if parts is None else (parts[2], float(parts[1]))
        if _URL.match(name):
            raise VsearchError(
                f"{shown(name)} is a URL, and nothing is fetched", "save the picture, then name its file"
            )
        found.append((Path(name), weight))
    return found
