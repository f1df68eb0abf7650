"""Justified rows without a script: each tile grows with the shape of its picture, so all of a row are equally high.

A tile has a class for the shape, and its width is in proportion to it (grid.css); the heights of a row then agree.
Classes rather than inline styles, because the pages' policies allow none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

NARROWEST, WIDEST = 40, 400  # percent: width over height; beyond, the picture is cropped
_UNKNOWN = 133


def shape(width: int, height: int) -> str:
    """Return the class of a picture's shape, `r150` for one of 3 to 2; that of 4 to 3 where the size is not known."""
    ratio = round(100 * width / height) if width > 0 and height > 0 else _UNKNOWN
    return f"r{min(WIDEST, max(NARROWEST, ratio))}"


def rules(shapes: Iterable[str] | None = None) -> str:
    """Return the style of these shapes, by default of all."""
    wanted = [f"r{ratio}" for ratio in range(NARROWEST, WIDEST + 1)] if shapes is None else sorted(set(shapes))
    rule = (Path(__file__).parent / "shape.css").read_text("utf-8").splitlines()[-1] + "\n"
    return "".join(rule.replace("rPERCENT", one).replace("SHARE", f"{int(one[1:]) / 100:g}") for one in wanted)
