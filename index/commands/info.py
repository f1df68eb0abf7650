"""`vsearch info`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from index.commands.options import Place, opened_with_model, shown_library
from vsearch.commands.group import expanded
from vsearch.commands.options import model_folder
from vsearch.console import many, out, shown, shown_path

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def info(place: Place) -> None:
    """Show library, model, device and versions.

    \b
    Example:
      vsearch info
      vsearch info --library /media/photos.library --device cuda
    """
    for name, value in [
        *library_facts(place),
        *model_facts(model_folder(place.model)),
        *device_facts(place.device),
        ("engine", engine(place)),
        *version_facts(),
    ]:
        out(f"{name:<12} {value}")


def library_facts(place: Place) -> Iterator[tuple[str, str]]:
    """Yield where the library is, its folders, and a warning if another model made it."""
    from index.database.database import OtherModelError
    from index.library import Library

    with Library.open(place.library, read_only=True) as library:
        name = shown_library(library, place.library)
        if not library.path.exists():
            yield "library", f"{name} (none yet: `vsearch build-index FOLDER` makes it, with the same --library)"
            return
        yield "library", f"{name}, {many(library.count(), 'picture')}"
        for folder in library.folders():
            yield "folder", shown_path(folder)
    try:
        with opened_with_model(place, read_only=True):
            pass
    except OtherModelError as error:
        from vsearch.commands.terms import typed

        yield "warning", shown(f"{error}; {typed(error.hint)}")


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


def device_facts(name: str) -> Iterator[tuple[str, str]]:
    """Yield the device that `name` stands for."""
    import torch

    from vsearch.device import fast_bf16, resolve

    device = resolve(name)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    yield "device", f"{device}, {kind}, {'bfloat16' if fast_bf16(device) else 'float32'}"


def engine(place: Place) -> str:
    """Return what runs the model on photos, and if that is torch, why."""
    from importlib.metadata import version

    from vsearch.model import load

    model = load(place.model, place.device)
    if model.torch_because:
        return f"torch ({model.torch_because})"
    return f"ONNX Runtime {version('onnxruntime')}, 8 bits{'; torch for captions' if model.torch_captions else ''}"


def version_facts() -> Iterator[tuple[str, str]]:
    """Yield the versions of vsearch and of the packages that its results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from vsearch import distribution

    yield "vsearch", distribution.version()
    yield "python", platform.python_version()
    for package in ("torch", "torchvision", "fasttext-wheel", "nmslib", "numpy", "pillow"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"
