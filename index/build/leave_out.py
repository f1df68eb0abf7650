"""What a walk leaves out: by patterns of the library, by files that say so in the folders, and by name.

Patterns are those of gitignore: without a slash they hold for a name anywhere, else for a path from the folder where
they are at home; one that ends in a slash holds for folders only. What lies below a folder that is left out is left
out, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from index.paths import absolute, inside
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NOMEDIA = ".nomedia"  # leaves out the folder that it lies in, as on Android
IGNORE = ".vsearchignore"  # holds a pattern a line
MARKS = frozenset((NOMEDIA, IGNORE))
# Folders of thumbnails, deleted files and snapshots, by their names: Synology, QNAP, Windows, Linux. Names that begin
# with a dot (.@__thumb, .thumbnails, .Trash-1000) are hidden anyway.
BY_NAME = frozenset(
    ("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot")
    + ("$RECYCLE.BIN", "System Volume Information", "lost+found")
)
_LONGEST = 1 << 20  # bytes of a file of patterns


class Rules:
    """The patterns that hold in a folder: its own, then those of the folders above; the last one that fits decides."""

    def __init__(self, folder: str, patterns: Iterable[str], above: Rules | None = None) -> None:
        """Take the patterns of a folder. Raises ValueError, naming it, for a pattern that is none."""
        self._from = len(folder.rstrip(os.sep)) + 1
        self._spec = _compiled(patterns)
        self._above = above

    def leaves_out(self, path: str, *, folder: bool) -> bool:
        """Tell whether these rules leave out a path below their folder."""
        found = self._spec.check_file(path[self._from :] + os.sep * folder).include
        if found is None and self._above is not None:
            return self._above.leaves_out(path, folder=folder)
        return bool(found)


def _compiled(patterns: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # 30 ms, and few need it

    listed = list(patterns)
    try:
        return GitIgnoreSpec.from_lines(listed)
    except ValueError:
        for pattern in listed:  # one by one, to name it
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError:
                raise ValueError(f"{pattern!r} is no pattern") from None
        raise


def as_patterns(given: Iterable[str]) -> list[str]:
    """Return what a user wants left out as the library keeps it: a name that leads to a place becomes absolute.

    Raises VsearchError for what is no pattern, and for one that takes another back.
    """
    found = []
    for pattern in given:
        text = absolute(os.path.expanduser(pattern)) if pattern.startswith(("./", "../", "~")) else pattern
        if not text.strip() or text.startswith("!"):
            raise VsearchError(
                f"{pattern!r} cannot be left out", "give a name or a pattern, as in '*.tmp.jpg' or 'raw/'"
            )
        try:
            _compiled([_literal(text)])
        except ValueError as error:
            raise VsearchError(str(error), "give a name or a pattern, as in '*.tmp.jpg' or 'raw/'") from None
        found.append(text)
    return list(dict.fromkeys(found))


def changed(known: Iterable[str], exclude: Iterable[str], no_exclude: Iterable[str]) -> list[str]:
    """Return the patterns of a library when some come and others go, sorted.

    Raises VsearchError for what is no pattern, and for one to go that the library does not have.
    """
    wanted, unwanted = {*known, *as_patterns(exclude)}, as_patterns(no_exclude)
    for pattern in unwanted:
        if pattern not in wanted:
            listed = ", ".join(sorted(wanted)) or "nothing"
            raise VsearchError(f"the library does not leave out {pattern}", f"what it leaves out: {listed}")
    return sorted(wanted.difference(unwanted))


def rules_for(folder: str, patterns: Iterable[str]) -> Rules | None:
    """Return the rules that hold in an indexed folder: None where there are no patterns."""
    own = [_below(folder, pattern) for pattern in patterns]
    return Rules(folder, [_literal(pattern) for pattern in own]) if own else None


def _below(folder: str, pattern: str) -> str:
    """Return an absolute path as a path from the folder where it lies below it, as all where the folder lies below it;
    anything else as it is.
    """
    path, top = pattern.rstrip(os.sep), folder.rstrip(os.sep)
    if not path.startswith(os.sep) or not inside(path, top):
        return "*" if path.startswith(os.sep) and inside(folder, path) else pattern
    return "*" if path == top else pattern[len(top) :]


def _literal(pattern: str) -> str:
    """Return a pattern of which a # at the beginning is no comment."""
    return "\\" + pattern if pattern.startswith("#") else pattern


def read_rules(folder: str, above: Rules | None) -> Rules:
    """Return the rules of a folder that has a `.vsearchignore`.

    Raises ValueError with a reason if it cannot be understood, OSError if it cannot be read.
    """
    path = Path(folder) / IGNORE
    if not path.is_file():
        raise ValueError("is no file")
    with path.open("rb") as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST:,} bytes")
    return Rules(folder, os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines(), above)
