"""`vsearch caption`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.group import expanded
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

BlockRepeatsOption = Annotated[
    bool, typer.Option("--block-repeats", help="No word right after itself, no pair of words twice.")
]

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True)
class Drawing:
    """Where attention is drawn."""

    heatmap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw where the model looked at each word (one photo).")
    ] = None
    force: ForceOption = False


@dataclass(frozen=True)
class Language:
    """Into which language captions are translated, and by what."""

    target: Annotated[
        str | None, typer.Option("--to", metavar="LANGUAGE", help="Translate the captions into it: de or fr.")
    ] = None
    translator: TranslatorOption = None

    def load(self, device: str) -> Translator | None:
        """Load the translator; None if captions stay English."""
        return None if self.target is None else load_translator("en", self.target, self.translator, device)


@app.command()
@expanded
def caption(
    photos: PhotosArgument,
    beam: BeamOption = None,
    block_repeats: BlockRepeatsOption = False,
    as_json: JsonOption = False,
    *,
    drawing: Drawing,
    language: Language,
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
    check_options(photos, drawing, language)
    from vsearch.drawing.heatmap import draw_caption
    from vsearch.model import Model

    translator = language.load(device)
    loaded = Model(model_folder(model), device)
    loaded.prepare()  # what is wrong with the model is no fault of a photo

    def describe(photo: Path) -> Row:
        found = loaded.caption(photo, beam=beam, block_repeats=block_repeats or None)
        if drawing.heatmap is not None:
            draw_caption(photo, found, drawing.heatmap)
        return caption_row(photo, found, translator)

    print_each(photos, describe, print_caption, as_json=as_json)


def check_options(photos: list[Path], drawing: Drawing, language: Language) -> None:
    """Raise BadParameter or VsearchError if options do not go together."""
    if drawing.heatmap is not None and len(photos) > 1:
        raise typer.BadParameter("--heatmap draws one photo at a time")
    if drawing.heatmap is not None:
        check_drawing(drawing.heatmap, inputs=photos, force=drawing.force)
    if language.translator is not None and language.target is None:
        raise typer.BadParameter("--translator needs --to LANGUAGE")


def print_caption(photo: Path, row: Row) -> None:
    """Print a photo and its caption."""
    out(f"{shown_path(photo)}: {row['caption']}")


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
