"""`vsearch caption`: what the model says of photos, and, for photos of a library, what people say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from index.commands.options import LibraryOption, Place, opened_with_model
from vsearch.commands.caption import Asked, Drawing, Language, describe_photos, print_caption
from vsearch.commands.group import expanded
from vsearch.commands.options import DeviceOption, ModelOption, PhotosArgument
from vsearch.commands.photos import Row, print_each
from vsearch.commands.stdin import Stdin

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True)
class ByHand:
    """What the caption of a photo of a library shall be."""

    text: Annotated[
        str | None, typer.Option("--set", metavar="TEXT", help="Keep this caption in the library (one photo).")
    ] = None
    unset: Annotated[bool, typer.Option("--unset", help="Take a caption by hand back, for the model's.")] = False
    library: LibraryOption = None

    def __bool__(self) -> bool:
        """Tell whether a caption is to be changed."""
        return self.text is not None or self.unset


@app.command()
@expanded
def caption(
    photos: PhotosArgument = None,
    *,
    stdin: Stdin,
    asked: Asked,
    by_hand: ByHand,
    drawing: Drawing,
    language: Language,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Describe photos in a sentence each.

    --heatmap replaces an earlier drawing of vsearch, but no other file unless --force.
    With --json also the log-probability, the captions that came next and, where the model's attention has a sentinel,
    its share of each word.

    --set corrects the caption of a photo of the library: searches find it by the new words at once, and later builds
    keep them, with other models too.

    \b
    Example:
      vsearch caption dog.jpg
      vsearch caption dog.jpg --beam 10 --json
      vsearch caption dog.jpg --heatmap attention.png
      vsearch caption dog.jpg --to fr
      vsearch caption ~/Pictures/dog.jpg --set "Bello in the snow"
      find ~/Pictures -name "*.jpg" -print0 | vsearch caption --stdin -0 --json
    """
    named = [Path(name) for name in stdin.names(photos)]
    if not by_hand:
        if by_hand.library is not None:
            raise typer.BadParameter("--library needs --set TEXT or --unset")
        describe_photos(named, asked, drawing, language, model, device)
        return
    check_hand(named, by_hand, asked, drawing, language)
    with opened_with_model(Place(by_hand.library, model, device)) as (library, _):

        def write(photo: Path) -> Row:
            return {"path": os.fspath(photo), "caption": library.set_caption(photo, by_hand.text)}

        print_each(named, write, print_caption, as_json=asked.as_json)


def check_hand(photos: list[Path], by_hand: ByHand, asked: Asked, drawing: Drawing, language: Language) -> None:
    """Raise BadParameter if options do not go together with --set and --unset."""
    if by_hand.text is not None and by_hand.unset:
        raise typer.BadParameter("--set and --unset exclude each other")
    if by_hand.text is not None and len(photos) > 1:
        raise typer.BadParameter("--set takes one photo at a time")
    if asked.beam or asked.block_repeats or drawing.heatmap or language.target or language.translator:
        raise typer.BadParameter("with --set and --unset only --json, --library, --model and --device go")
