"""Options that several commands about training have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vsearch.config import PreprocessConfig

OutputArgument = Annotated[Path, typer.Argument(metavar="OUTPUT", help="The file to write.", show_default=False)]
WordsOption = Annotated[
    Path, typer.Option("--words", metavar="FOLDER", help="Word vectors made by `prepare words`, or a model folder.")
]
TextsOption = Annotated[
    list[Path] | None,
    typer.Option("--texts", metavar="FILE", help="Captions without photos, .jsonl or .jsonl.gz; may be repeated."),
]
SideOption = Annotated[
    int, typer.Option("--side", min=1, metavar="N", help="Pixels of a stored picture; small files stay as they are.")
]


@dataclass(frozen=True)
class Encoder:
    """A network of torchvision in the place of a model's own encoder."""

    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME", help="A torchvision network, as resnet101, in its place.")
    ] = None
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Its weights; default: torchvision's, downloaded.")
    ] = None
    side: Annotated[
        int, typer.Option("--encoder-side", min=32, metavar="N", help="Pixels of the square that --encoder sees.")
    ] = 224
    pixels: Annotated[
        str,
        typer.Option(
            "--encoder-pixels", metavar="NAME", help="How --encoder was given pixels: torchvision, tensorflow."
        ),
    ] = "torchvision"


def check_encoder(given: Encoder) -> None:
    """Raise BadParameter if there are weights and no network, and for unknown pixels."""
    from vsearch.image.pixels import NORMALISATIONS

    if given.weights is not None and given.encoder is None:
        raise typer.BadParameter("--weights are those of an --encoder")
    if given.pixels not in NORMALISATIONS:
        raise typer.BadParameter(f"--encoder-pixels {given.pixels}; known: {', '.join(NORMALISATIONS)}")


def preprocess_of(given: Encoder) -> PreprocessConfig:
    """Return how pictures are made ready for such a network."""
    from vsearch.config import PreprocessConfig
    from vsearch.image.pixels import NORMALISATIONS

    return PreprocessConfig(given.side, *NORMALISATIONS[given.pixels])
