"""What to do about a library, in Python's terms: code in backticks, which can be run as it stands.

The commands say the same in the shell's terms, see `vsearch.commands.terms`.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from index.paths import SQLITE, beside, default_path

FOLDER = "[folder]"  # still to be named


def build(path: str | os.PathLike[str], folders: str | None = None, *, reindex: bool = False) -> str:
    """Return the code that builds the library at `path` out of `folders`, code as well; None: of those it knows.

    With `reindex` all pictures are embedded again, by the `model` that it is opened with.
    """
    known = os.path.abspath(path) == os.path.abspath(default_path())
    opened = ["model=model"] if known else [literal(path), "model"]
    again = ["reindex=True"] if reindex else []
    built = [] if folders is None else [folders]
    return f"`Library.open({', '.join(opened + again)}).build({', '.join(built + again)})`"


def remove(path: str | os.PathLike[str]) -> str:
    """Return the code that deletes a file."""
    return f"`os.remove({literal(path)})`"


def move_aside(path: str | os.PathLike[str]) -> str:
    """Return the code that moves a library and its logs aside, each named exactly, to names that are free."""
    place = Path(path)
    files = [place, *(file for ending in SQLITE if (file := beside(place, ending)).exists())]
    taken = (n for n in itertools.count() if not any(os.path.lexists(f"{file}.aside{n or ''}") for file in files))
    names = ", ".join(map(literal, files))
    return f"`[os.rename(file, file + '.aside{next(taken) or ''}') for file in [{names}]]`"


def literal(path: str | os.PathLike[str]) -> str:
    """Return a path as a literal of Python that holds no backtick."""
    return repr(os.fspath(path)).replace("`", r"\x60")
