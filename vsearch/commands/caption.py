"""`vsearch caption`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.options import (
    BeamOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelOption,
    PhotosArgument,
    TranslatorOption,
    check_drawing,
    model_folder,
)
from vsearch.commands.photos import Row, print_each
from vsearch.commands.translate import load_translator
from vsearch.console import out, shown_path

if TYPE_CHECKING:
    from vsearch.model import Caption
    from vsearch.translation.translator import Translator

app = typer.Typer(rich_markup_mode=None)


@app.command()
def caption(
    photos: PhotosArgument,
    beam: BeamOption = None,
    block_repeats: Annotated[
        bool, typer.Option("--block-repeats", help="No word right after itself, no pair of words twice.")
    ] = False,
    as_json: JsonOption = False,
    heatmap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw where the model looked at each word (one photo).")
    ] = None,
    force: ForceOption = False,
    target: Annotated[
        str | None, typer.Option("--to", metavar="LANGUAGE", help="Translate the captions into it: de or fr.")
    ] = None,
    translator: TranslatorOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Describe photos in a sentence each.

    --heatmap replaces an earlier drawing of vsearch, but no other file unless --force.
    With --json also the log-probability, the captions that came next and, where the model's attention has a sentinel,
    its share of each word.

    \b
    Example:
      vsearch caption dog.jpg
      vsearch caption dog.jpg --beam 10 --json
      vsearch caption dog.jpg --heatmap attention.png
      vsearch caption dog.jpg --to fr
    """
    check_options(photos, heatmap, translator, target, force=force)
    from vsearch.model import Model

    own = None if target is None else load_translator("en", target, translator, device)
    loaded = Model(model_folder(model), device)
    _ = loaded.network  # what is wrong with the model is no fault of a photo

    def describe(photo: Path) -> Row:
        found = loaded.caption(photo, beam=beam, block_repeats=block_repeats or None)
        if heatmap is not None:
            draw_heatmap(photo, found, heatmap)
        return caption_row(photo, found, own)

    print_each(photos, describe, print_caption, as_json=as_json)


def check_options(
    photos: list[Path], heatmap: Path | None, translator: Path | None, target: str | None, *, force: bool
) -> None:
    """Raise BadParameter or VsearchError if options do not go together."""
    if heatmap is not None and len(photos) > 1:
        raise typer.BadParameter("--heatmap draws one photo at a time")
    if heatmap is not None:
        check_drawing(heatmap, inputs=photos, force=force)
    if translator is not None and target is None:
        raise typer.BadParameter("--translator needs --to LANGUAGE")


def print_caption(photo: Path, row: Row) -> None:
    """Print a photo and its caption."""
    out(f"{shown_path(photo)}: {row['caption']}")


def draw_heatmap(photo: Path, found: Caption, file: Path) -> None:
    """Draw where the model looked at each word of a caption."""
    from vsearch.drawing import heatmap
    from vsearch.drawing.mark import exif
    from vsearch.errors import ModelError
    from vsearch.image.decode import decode

    if found.attention is None:
        raise ModelError("this model has no attention to draw", "use a model with a soft or adaptive decoder")
    heatmap.draw(decode(photo), found.words, found.attention, found.sentinel).save(file, exif=exif())


def caption_row(photo: Path, found: Caption, translator: Translator | None = None) -> Row:
    """Return a photo and its captions as an object of JSON; with a translator, the best one in both languages."""
    best, *others = [
        {"caption": one.text, "log_probability": round(one.log_probability, 4)} for one in (found, *found.runner_ups)
    ]
    sentinel = {} if found.sentinel is None else {"sentinel": [round(float(b), 4) for b in found.sentinel]}
    row = {"path": os.fspath(photo), **best, **sentinel, "runner_ups": others}
    if translator is not None:
        row |= {"english": found.text, "caption": translator.translate([found.text])[0].text}
    return row
