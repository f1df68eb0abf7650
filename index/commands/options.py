"""Options that several commands about the library have, and what they stand for."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.options import DeviceOption, ModelOption, model_folder
from vsearch.console import shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.library import Library

LibraryOption = Annotated[
    Path | None, typer.Option("--library", metavar="PATH", help="Library of pictures; default: in your data directory.")
]
FoldersArgument = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="Folders of photos.", show_default=False)
]
WithinOption = Annotated[Path | None, typer.Option("--in", metavar="FOLDER", help="Only pictures below it.")]


@dataclass(frozen=True)
class Place:
    """Which library, and which model on which device."""

    library: LibraryOption = None
    model: ModelOption = None
    device: DeviceOption = "auto"


def library_path(given: Path | None) -> Path:
    """Return the path that --library names, or that of the default library."""
    from index.library import default_path

    return given if given is not None else default_path()


def check_model(library: Library, given: Path | None) -> None:
    """LibraryError, with the command that re-indexes, where the library was made by another model."""
    from vsearch.errors import LibraryError

    try:
        library.check_identity(identity_of(model_folder(given)))
    except LibraryError as error:
        model = "" if given is None else f" --model {shlex.quote(os.fspath(given))}"
        raise LibraryError(str(error), error.hint + model) from None


def identity_of(folder: Path) -> str:
    """Return the identity of the model in `folder`."""
    from vsearch.storage.modelfolder import read_config

    return read_config(folder).identity


def check_folder(within: Path | None, *, found: bool) -> None:
    """VsearchError where nothing was found because the folder to look in is not there."""
    if within is not None and not found and not within.exists():
        raise VsearchError(f"no folder {shown_path(within)}", "name one that was indexed: `vsearch info` shows them")
