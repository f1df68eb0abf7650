"""Options that commands of several packages have, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.config import WIDEST_BEAM
from vsearch.console import shown_path
from vsearch.errors import VsearchError
from vsearch.settings import ENVIRONMENT

if TYPE_CHECKING:
    from vsearch.text.phrase import PhraseSpace

DRAWABLE = (".png", ".jpg", ".jpeg", ".webp")

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FOLDER",
        envvar=ENVIRONMENT["model"],
        help="Model; default: the bundled one.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
BeamOption = Annotated[
    int | None,
    typer.Option(
        "--beam", min=1, max=WIDEST_BEAM, metavar="N", help="Beams per caption; default: the model's own number."
    ),
]
TranslatorOption = Annotated[
    Path | None, typer.Option("--translator", metavar="FOLDER", help="Translator; default: a bundled one.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that this command did not make, too.")]
PhotosArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="PHOTO...", help="Photos; - is --stdin.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per picture.")]
PlainJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def model_folder(given: Path | None) -> Path:
    """Return the folder that --model names, or that of the bundled model."""
    from vsearch.storage.modelfolder import bundled

    return given if given is not None else bundled()


def load_words(folder: Path) -> PhraseSpace:
    """Load the words of the model in `folder`."""
    from vsearch.text.phrase import PhraseSpace

    return PhraseSpace.load(folder)


def check_drawing(file: Path, *, inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Raise VsearchError if no picture can be drawn into `file`, before any work is done.

    `inputs` are the files that are read; `force`: see `check_output`.
    """
    from vsearch.drawing.mark import is_drawing
    from vsearch.outputs import check_output

    if file.suffix.lower() not in DRAWABLE:
        raise VsearchError(f"cannot draw into {shown_path(file)}", f"name it as one of {', '.join(DRAWABLE)}")
    if not file.absolute().parent.is_dir():
        raise VsearchError(f"no folder {shown_path(file.absolute().parent)} to draw into", "make it first")
    check_output(file, made=is_drawing, inputs=inputs, force=force)
