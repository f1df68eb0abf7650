"""What to do about a library, in Python's terms: code in backticks, which can be run as it stands.

The commands say the same in the shell's terms, see `vsearch.commands.terms`.
"""

from __future__ import annotations

import glob
import os

from index.paths import default_path

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


def remove_all(path: str | os.PathLike[str]) -> str:
    """Return the code that deletes a file and those whose names begin with its name."""
    return f"`[os.remove(file) for file in glob.glob({literal(glob.escape(os.fspath(path)) + '*')})]`"


def literal(path: str | os.PathLike[str]) -> str:
    """Return a path as a literal of Python that holds no backtick."""
    return repr(os.fspath(path)).replace("`", r"\x60")
