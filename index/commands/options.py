"""Options that several commands about the library have, and what they stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsearch.commands.options import DeviceOption, ModelOption
from vsearch.console import remark, shown, shown_path
from vsearch.errors import VsearchError
from vsearch.settings import ENVIRONMENT

if TYPE_CHECKING:
    from index.library import Library
    from vsearch.model import Model

LibraryOption = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="PATH",
        envvar=ENVIRONMENT["library"],
        help="Library of pictures; default: in your data directory.",
    ),
]
SourcesArgument = Annotated[
    list[str] | None,  # not Path: that makes s3:/bucket of s3://bucket
    typer.Argument(
        metavar="FOLDER...", help="Folders of photos; with --store also tars and s3:// prefixes.", show_default=False
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Store in place of a library: milvus://HOST:PORT/NAME, or a path."),
]
WithinOption = Annotated[Path | None, typer.Option("--in", metavar="FOLDER", help="Only pictures below it.")]


@dataclass(frozen=True)
class Place:
    """Which library, and which model on which device."""

    library: LibraryOption = None
    model: ModelOption = None
    device: DeviceOption = "auto"


@dataclass(frozen=True)
class StorePlace(Place):
    """The same, or which store in place of a library."""

    store: StoreOption = None


def opened_library(library: Path | None, store: str | None, model: Model | None = None, **how: Any) -> Library:
    """Open a library, or the store that a URL names. Raises VsearchError if both are named."""
    from index.library import Library
    from index.paths import is_url

    if library is not None and store is not None:
        raise VsearchError("pictures are looked for in one place", "name either --library or --store")
    if store is None or not is_url(store):
        return Library.open(library if store is None else Path(store), model, **how)
    from index.remote import RemoteLibrary

    return RemoteLibrary.open(store, model, **how)


@contextmanager
def opened_with_model(place: Place, **how: Any) -> Iterator[tuple[Library, Model]]:
    """Open a library with the model; an error because another model made it names the command that re-indexes."""
    from index.database.database import OtherModelError
    from vsearch.commands.terms import Typed, shell, typed
    from vsearch.model import load

    model = load(place.model, place.device)
    try:
        with opened_library(place.library, getattr(place, "store", None), model, **how) as library:
            if library.read_only:
                _ = library.identity  # nothing is asked of the model before there is a library
            yield library, model
    except OtherModelError as error:
        if place.model is not None:
            error.hint = Typed(f"{typed(error.hint)} --model {shell(os.fspath(place.model))}")
        raise


def shown_library(library: Library, given: Path | None) -> str:
    """Return the path of a library for people, as it was given."""
    from index.remote import RemoteLibrary

    if isinstance(library, RemoteLibrary):
        return shown(library.store.url)
    return shown_path(library.path if given is None else given)


def check_folder(within: Path | None, *, found: bool) -> None:
    """Raise VsearchError if nothing was found because the folder to look in is not there."""
    from index.paths import as_url, is_url

    if within is not None and not found and not is_url(as_url(within)) and not within.exists():
        raise VsearchError(f"no folder {shown_path(within)}", "name one that was indexed: `vsearch info` shows them")


def remark_none(library: Library, within: Path | None) -> None:
    """Say on stderr why nothing was found."""
    if not library.count():
        remark("the library is empty: `vsearch build-index FOLDER` fills it")
    elif within is not None and not library.count(within):
        remark(f"no picture of the library lies below {shown_path(within)}: `vsearch info` shows its folders")
    else:
        remark("no picture fits")
