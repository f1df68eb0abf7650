"""Small pictures next to results, on a terminal that can show them; anywhere else nothing, and nothing is imported.

kitty and terminals with sixels (iTerm2, WezTerm, foot, ...) show pictures, others two coloured half blocks a cell. The
package textual-image (extra `preview`) asks the terminal what it can, and waits a tenth of a second for the answer.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 8  # of the terminal, for a picture
_SIDE = 320  # pixels on the longer side

NoPreviewOption = Annotated[
    bool, typer.Option("--no-preview", help="No small pictures on the terminal (the extra preview shows them).")
]


class Previews:
    """Shows small pictures on stdout if it is a terminal, the extra is installed, and nobody said no."""

    def __init__(self, *, wanted: bool = True) -> None:
        """Find out what can be shown; `wanted` False shows nothing."""
        self._image: Any = None
        self._console: Console | None = None
        if wanted and _able():
            self._start()

    @property
    def on(self) -> bool:
        """Whether pictures are shown."""
        return self._image is not None

    def show(self, photo: str | os.PathLike[str]) -> None:
        """Show a photo; one that cannot be read is left out without a word."""
        if self._image is None or self._console is None:
            return
        picture = _small(os.fspath(photo))
        if picture is None:
            return
        try:
            self._console.print(self._image(picture, height=ROWS, width="auto"))
        except BrokenPipeError:
            raise
        except Exception:  # a terminal that answers nonsense takes no result away
            self._image = None

    def _start(self) -> None:
        try:
            from rich.console import Console

            kinds = _kinds()
        except Exception:  # not installed, or the terminal could not be asked
            return
        console = Console(file=sys.stdout)
        if console.is_terminal and not console.is_dumb_terminal and console.color_system is not None:
            self._image, self._console = kinds, console


def _able() -> bool:
    """Tell whether stdout is a terminal that takes colours, without importing anything."""
    plain = os.environ.get("TERM", "dumb") == "dumb" or os.environ.get("NO_COLOR")
    return sys.stdout is not None and sys.stdout.isatty() and not plain


def _kinds() -> Any:
    """Return the class that shows a picture on this terminal; raises ImportError if the extra is not installed."""
    logging.getLogger("textual_image").addHandler(logging.NullHandler())  # else what it cannot ask would be told
    if _may_ask():
        from textual_image._terminal import get_cell_size
        from textual_image.renderable import Image

        get_cell_size()
        return Image
    asked, sys.__stdin__ = sys.__stdin__, None  # type: ignore[misc]  # an answer would come where names do
    try:
        from textual_image._terminal import get_cell_size
        from textual_image.renderable import HalfcellImage

        get_cell_size()  # kept from now on
    finally:
        sys.__stdin__ = asked  # type: ignore[misc]
    return HalfcellImage


def _may_ask() -> bool:
    """Tell whether the terminal's answers can be read: stdin is the terminal, and this job is in its foreground."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def _small(path: str) -> Any:
    """Return a small copy of the picture in a file; None if it cannot be read."""
    from vsearch.errors import PictureError
    from vsearch.image.decode import decode
    from vsearch.image.kinds import parse_moment

    try:
        if not stat.S_ISREG(os.stat(parse_moment(path)[0]).st_mode):  # a pipe would be waited for
            return None
        picture = decode(path, at_least=_SIDE)
    except (PictureError, OSError, ValueError):
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return picture
