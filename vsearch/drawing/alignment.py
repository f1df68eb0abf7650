"""The alignment of a translation, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.drawing.figure import literal, new_figure, save
from vsearch.errors import ModelError

if TYPE_CHECKING:
    from vsearch.translation.translator import Translation


def draw_translation(found: Translation, output: Path) -> None:
    """Draw what each word of a translation looked at, into `output`.

    Raises ModelError if it is of a translator without attention, VsearchError without matplotlib.
    """
    if found.attention is None:
        raise ModelError("this translator has no attention to draw", "use one with a soft decoder")
    draw_alignment(found.source, found.target, found.attention, output)


def draw_alignment(source: Sequence[str], target: Sequence[str], weights: NDArray[np.float32], output: Path) -> None:
    """Draw what each of T target words looked at of N source words, `weights` (T, N) from 0 to 1, into `output`."""
    figure = new_figure(max(3.0, 0.42 * len(source) + 1.6), max(2.6, 0.32 * len(target) + 1.6))
    axes = figure.subplots()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    above, left = ([literal(word) for word in words] for words in (source, target))
    axes.set_xticks(range(len(above)), above, rotation=60, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(left)), left)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    save(figure, output)
