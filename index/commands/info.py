"""`vsearch info`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from index.commands.options import StorePlace, opened_library, opened_with_model, shown_library
from vsearch.commands.group import expanded
from vsearch.commands.options import model_folder
from vsearch.console import many, out, shown, shown_path

if TYPE_CHECKING:
    from index.remote import RemoteLibrary

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def info(place: StorePlace) -> None:
    """Show library, model, device and versions.

    \b
    Example:
      vsearch info
      vsearch info --library /media/photos.library --device cuda
    """
    for name, value in [
        *library_facts(place),
        *model_facts(model_folder(place.model)),
        *engine_facts(place),
        *version_facts(),
    ]:
        out(f"{name:<12} {value}")


def library_facts(place: StorePlace) -> Iterator[tuple[str, str]]:
    """Yield where the library is, its folders, and a warning if another model made it."""
    from index.database.database import OtherModelError
    from index.remote import RemoteLibrary

    with opened_library(place.library, place.store, read_only=True) as library:
        name = shown_library(library, place.library)
        if isinstance(library, RemoteLibrary):
            yield from store_facts(library)
        elif not library.path.exists():
            yield "library", f"{name} (none yet: `vsearch build-index FOLDER` makes it, with the same --library)"
            return
        else:
            yield "library", f"{name}, {many(library.count(), 'picture')}"
        for folder in library.folders():
            yield "folder", shown_path(folder)
        for pattern in library.excludes():
            yield "left out", pattern
        if library.knows_details():
            dated, placed = library.dated_and_placed()
            yield "taken", f"{dated:,} with a date of their own, {placed:,} with a place"
        if library.taught():
            yield "taught", f"by {many(library.taught(), 'vote')}; `vsearch teach --undo` forgets it"
    try:
        with opened_with_model(place, read_only=True):
            pass
    except OtherModelError as error:
        from vsearch.commands.terms import typed

        yield "warning", shown(f"{error}; {typed(error.hint)}")


def store_facts(library: RemoteLibrary) -> Iterator[tuple[str, str]]:
    """Yield what a store says of itself."""
    facts = library.store.facts()
    if facts is None:
        yield "store", f"{shown(library.store.url)} (none yet: `vsearch build-index` makes it, with the same --store)"
        return
    yield "store", f"{shown(library.store.url)}, {many(library.count(), 'picture')}"
    yield "vectors", f"{facts.dim} numbers, captions count {facts.caption_weight:g} among words"
    yield "server", library.state()


def model_facts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what the config of a model says."""
    from vsearch.storage.modelfolder import read_config

    config = read_config(folder)
    yield "model", f"{shown_path(folder)}, identity {config.identity[:12]}"
    yield "encoder", f"{config.encoder.name}, pictures of {config.preprocess.side} x {config.preprocess.side}"
    if config.words is not None:
        yield "words", f"{config.words.file}, {config.words.dim} dimensions"
    if config.decoder is not None:
        yield "captions", f"{config.decoder.kind} decoder, beam {config.decoder.beam}"


def engine_facts(place: StorePlace) -> Iterator[tuple[str, str]]:
    """Yield the device that runs the model, and what runs it there; if that is torch, why."""
    from vsearch.device import installed, threads
    from vsearch.engine import INT8, TORCH
    from vsearch.model import load

    model = load(place.model, place.device)
    engine = model.engine
    if engine.kind != TORCH:
        import onnxruntime

        yield "device", "cuda" if engine.cuda else f"cpu, {many(threads(), 'thread')}"
        bits = "8 bits" if engine.kind == INT8 else f"float32 ({engine.because})"
        yield (
            "engine",
            f"ONNX Runtime {onnxruntime.__version__}, {bits}{'; torch for captions' if model.torch_captions else ''}",
        )
    elif installed("torch"):
        yield "device", torch_device(place.device)
        yield "engine", f"torch ({engine.because})"
    else:
        from vsearch.distribution import install_hint

        yield "engine", f"torch, which is not installed: {install_hint('train')} ({engine.because})"


def torch_device(name: str) -> str:
    """Return what torch says of the device that `name` stands for."""
    import torch

    from vsearch.device import fast_bf16, resolve

    device = resolve(name)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else many(torch.get_num_threads(), "thread")
    return f"{device}, {kind}, {'bfloat16' if fast_bf16(device) else 'float32'}"


def version_facts() -> Iterator[tuple[str, str]]:
    """Yield the versions of vsearch and of the packages that its results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from vsearch import distribution

    yield "vsearch", distribution.version()
    yield "python", platform.python_version()
    for package in ("onnxruntime", "torch", "torchvision", "fasttext-wheel", "nmslib", "numpy", "pillow"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"
