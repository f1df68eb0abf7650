"""`vsearch prepare captions`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import OutputArgument, SideOption, TextsOption, WordsOption
from vsearch.commands.group import expanded
from vsearch.commands.options import load_words
from vsearch.console import out, print_skipped, progress_bar, remark, shown_path

GuessedOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="More photos to train on, captioned by a model: `vsearch caption --json`."),
]


@dataclass(frozen=True)
class CaptionParts:
    """Where the photos of a caption set are, and its other splits."""

    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the photos are; default: next to the captions.")
    ] = None
    dev: Annotated[Path | None, typer.Option(metavar="FILE", help="The dev split of COCO.")] = None
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="The test split of COCO.")] = None


@dataclass(frozen=True)
class CaptionsStored:
    """What is stored of captions and their photos."""

    captions_per_image: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Draw so many of each photo; default: all, as they are.")
    ] = None
    raw: Annotated[bool, typer.Option("--raw", help="Store pixels in place of encoded pictures.")] = False
    side: SideOption = 256
    min_word_freq: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words become unknown.")] = 5
    max_len: Annotated[int, typer.Option(min=1, metavar="N", help="Longer captions are cut.")] = 50


@expanded
def prepare_captions(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="Folder of Flickr8k, a Karpathy JSON, or COCO's of its train split, or JSON lines."
        ),
    ],
    output: OutputArgument,
    words: WordsOption,
    *,
    parts: CaptionParts,
    stored: CaptionsStored,
    texts: TextsOption = None,
    guessed: GuessedOption = None,
) -> None:
    """Prepare photos with captions: pictures, token ids, phrase vectors.

    A run that was stopped continues when it is started again in the same way.

    \b
    Example:
      vsearch prepare captions data/flickr8k captions.h5 --words my-words
      vsearch prepare captions dataset_flickr30k.json captions.h5 --words my-words --images flickr30k-images
    """
    from training.data import captions
    from training.data.sources.captions import read_captions
    from training.data.sources.guessed import read_guessed
    from training.data.sources.jsonl import read_texts

    photos, space = read_captions(source, parts.images, parts.dev, parts.test), load_words(words)
    photos += [] if guessed is None else read_guessed(guessed)
    told = [row for path in texts or [] for row in read_texts(path)]
    with progress_bar("photos") as show:
        done = captions.prepare_captions(photos, output, space, progress=show, texts=told, **asdict(stored))
    if done.resumed:
        remark(f"{done.resumed} photos were ready from a run before")
    out(f"{shown_path(output)}: {done.pictures} photos, {done.captions} captions, {done.vocabulary} words")
    if told:
        out(f"and {done.texts} captions without photos")
    print_skipped(done.skipped)
