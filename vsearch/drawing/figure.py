"""Figures by matplotlib, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vsearch.distribution import install_hint
from vsearch.drawing.mark import exif
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def require() -> None:
    """Raise VsearchError if there is nothing to draw with."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise VsearchError("drawing needs matplotlib", install_hint("plots")) from None


def literal(word: str) -> str:
    """Return a word without the signs that matplotlib takes for formulas."""
    return word.replace("$", r"\$")


def plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty sheet of so many inches, drawn without a screen."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, output: Path) -> None:
    """Write a sheet as a picture with our mark in it, of the kind that the ending of `output` says."""
    figure.savefig(output, pil_kwargs={"exif": exif()})
