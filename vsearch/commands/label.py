"""`vsearch label`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.commands.group import expanded
from vsearch.commands.options import (
    DeviceOption,
    JsonOption,
    ModelOption,
    PhotosArgument,
    model_folder,
)
from vsearch.commands.photos import Row, print_each
from vsearch.commands.stdin import Stdin
from vsearch.console import out, remark, shown, shown_path
from vsearch.errors import PictureError

if TYPE_CHECKING:
    from vsearch.model import Label

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def label(
    photos: PhotosArgument = None,
    *,
    stdin: Stdin,
    nouns: Annotated[
        str, typer.Option(metavar="NAME", help="imagenet, wordnet, or a file with a noun a line.")
    ] = "imagenet",
    count: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many nouns.")] = 5,
    as_json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Name what photos show: the nouns nearest to each, trained on or not, with their cosines.

    imagenet has 1,000 nouns, wordnet 82,115; WordNet itself is not part of vsearch. A file has one noun a line, or a
    WordNet number, a tab and lemmas with commas between; .gz or plain.

    \b
    Example:
      vsearch label dog.jpg
      vsearch label dog.jpg --nouns wordnet -k 10
      vsearch label *.jpg --nouns nouns.txt --json
      vsearch search dog --paths | vsearch label --stdin
    """
    named = [Path(name) for name in stdin.names(photos)]
    from vsearch.model import Model

    loaded = Model(model_folder(model), device)
    left_out = loaded.nouns(nouns).left_out
    if left_out:
        remark(f"{left_out} lemmas left out: none of their words is in the dictionary")

    def describe(photo: Path) -> Row:
        return label_row(photo, loaded.label(photo, nouns, count))

    print_each(named, describe, print_labels, as_json=as_json, faults=PictureError)


def print_labels(photo: Path, row: Row) -> None:
    """Print a photo and the nouns nearest to it."""
    out(shown_path(photo))
    for one in row["labels"]:
        out(f"{one['score']:6.3f}  {shown(', '.join(one['lemmas']))}")


def label_row(photo: Path, nearest: Sequence[Label]) -> Row:
    """Return a photo and the nouns nearest to it as an object of JSON."""
    labels = [{"lemmas": one.lemmas, "wnid": one.wnid, "score": round(one.score, 4)} for one in nearest]
    return {"path": os.fspath(photo), "labels": labels}
