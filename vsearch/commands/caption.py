"""`vsearch caption`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsearch.commands.options import (
    BeamOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PhotosArgument,
    TranslatorOption,
    check_drawing,
    model_folder,
)
from vsearch.commands.translate import load_translator
from vsearch.console import complain, out, progress_bar, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from vsearch.model import Caption

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
    target: Annotated[
        str | None, typer.Option("--to", metavar="LANGUAGE", help="Translate the captions into it: de or fr.")
    ] = None,
    translator: TranslatorOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Describe photos in a sentence each.

    With --json also the log-probability, the captions that came next and, where the model's attention has a sentinel,
    its share of each word.

    \b
    Example:
      vsearch caption dog.jpg
      vsearch caption dog.jpg --beam 10 --json
      vsearch caption dog.jpg --heatmap attention.png
      vsearch caption dog.jpg --to fr
    """
    if heatmap is not None and len(photos) > 1:
        raise typer.BadParameter("--heatmap draws one photo at a time")
    if heatmap is not None:
        check_drawing(heatmap)
    if translator is not None and target is None:
        raise typer.BadParameter("--translator needs --to LANGUAGE")
    from vsearch.model import Model

    own = None if target is None else load_translator("en", target, translator, device)
    loaded = Model(model_folder(model), device)
    _ = loaded.network  # what is wrong with the model is no fault of a photo
    failed, rows = 0, []
    with progress_bar("photos") as progress:
        for done, photo in enumerate(photos):
            progress(done, len(photos))
            try:
                found = loaded.caption(photo, beam=beam, block_repeats=block_repeats or None)
                if heatmap is not None:
                    draw_heatmap(photo, found, heatmap)
                row = caption_row(photo, found)
                if own is not None:
                    row |= {"english": row["caption"], "caption": own.translate([row["caption"]])[0].text}
            except VsearchError as error:
                failed += 1
                complain(f"{shown_path(photo)}: {error}", error.hint or "name a picture that can be read")
                continue
            rows.append(row)
            if not as_json:
                out(f"{shown_path(photo)}: {row['caption']}")
    if as_json:
        out(json.dumps(rows, indent=2))
    if failed:
        raise typer.Exit(1)


def draw_heatmap(photo: Path, found: Caption, file: Path) -> None:
    """Draw where the model looked at each word of a caption."""
    from vsearch.drawing import heatmap
    from vsearch.errors import ModelError
    from vsearch.image.decode import decode

    if found.attention is None:
        raise ModelError("this model has no attention to draw", "use a model with a soft or adaptive decoder")
    heatmap.draw(decode(photo), found.words, found.attention, found.sentinel).save(file)


def caption_row(photo: Path, found: Caption) -> dict[str, Any]:
    """Return a photo and its captions as an object of JSON."""
    best, *others = [
        {"caption": one.text, "log_probability": round(one.log_probability, 4)} for one in (found, *found.runner_ups)
    ]
    sentinel = {} if found.sentinel is None else {"sentinel": [round(float(b), 4) for b in found.sentinel]}
    return {"path": os.fspath(photo), **best, **sentinel, "runner_ups": others}
