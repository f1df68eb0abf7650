"""What `vsearch caption` does with photos; the command itself, which also knows libraries, is in `index.commands`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.options import (
    BeamOption,
    ForceOption,
    JsonOption,
    TranslatorOption,
    check_drawing,
    model_folder,
)
from vsearch.commands.photos import Row, print_each
from vsearch.commands.preview import NoPreviewOption, Previews
from vsearch.commands.translate import load_translator
from vsearch.console import out, shown_path

if TYPE_CHECKING:
    from vsearch.model import Caption
    from vsearch.translation.translator import Translator

BlockRepeatsOption = Annotated[
    bool, typer.Option("--block-repeats", help="No word right after itself, no pair of words twice.")
]


@dataclass(frozen=True)
class Asked:
    """How captions are searched for, and printed."""

    beam: BeamOption = None
    block_repeats: BlockRepeatsOption = False
    as_json: JsonOption = False
    no_preview: NoPreviewOption = False


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


def describe_photos(
    photos: list[Path], asked: Asked, drawing: Drawing, language: Language, model: Path | None, device: str
) -> None:
    """Describe photos, print and draw what was asked for."""
    check_options(photos, drawing, language)
    from vsearch.drawing.heatmap import draw_caption
    from vsearch.model import Model

    translator = language.load(device)
    loaded = Model(model_folder(model), device)
    loaded.prepare()  # what is wrong with the model is no fault of a photo

    def describe(photo: Path) -> Row:
        found = loaded.caption(photo, beam=asked.beam, block_repeats=asked.block_repeats or None)
        if drawing.heatmap is not None:
            draw_caption(photo, found, drawing.heatmap)
        return caption_row(photo, found, translator)

    previews = Previews(wanted=not (asked.no_preview or asked.as_json))

    def show(photo: Path, row: Row) -> None:
        previews.show(photo)
        print_caption(photo, row)

    print_each(photos, describe, show, as_json=asked.as_json)


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
