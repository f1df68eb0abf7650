"""`vsearch assemble` and `vsearch assemble-translator`: what was trained becomes a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import Encoder, check_encoder, preprocess_of
from vsearch.commands.group import expanded
from vsearch.console import out, shown_path

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def assemble(
    base: Annotated[Path, typer.Argument(metavar="MODEL", help="The model to build on.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Output folders of `vsearch train`.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="The model folder to write.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The prepared file the parts were trained on.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Words it was made with; default: the model's.")
    ] = None,
    *,
    other: Encoder,
) -> None:
    """Make a model folder of a model and parts that were trained for it: head, decoder, encoder, words.

    With --encoder, what the model had for its own encoder is left out: head and decoder are those of the trainings.

    \b
    Example:
      vsearch assemble vsearch/bundled runs/devise --output my-model --data captions.h5
      vsearch assemble vsearch/bundled runs/soft --output my-model --data captions.h5 --encoder resnet101
    """
    import training.assemble.model
    from vsearch.storage import pretrained

    check_encoder(other)
    network = None
    if other.encoder is not None:
        network = (pretrained.encoder(other.encoder, other.weights), preprocess_of(other))
    config = training.assemble.model.assemble(base, runs, output, data, words, network)
    out(f"{shown_path(output)}, identity {config.identity[:12]}")


@app.command("assemble-translator")
def assemble_translator(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of `vsearch train translate`.")],
    data: Annotated[Path, typer.Option(metavar="FILE", help="The prepared pairs it was trained on.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="The translator's folder to write.")],
    eight_bits: Annotated[
        bool, typer.Option("--eight-bits", help="Round the weights to 8-bit codes: half the bytes.")
    ] = False,
) -> None:
    """Make a translator's folder of what was trained.

    \b
    Example:
      vsearch assemble-translator runs/fr-en --data pairs.h5 --output my-translator
    """
    import training.assemble.translator

    config = training.assemble.translator.assemble_translator(run, data, output, eight_bits=eight_bits)
    languages = f"{config.source_language} to {config.target_language}"
    out(f"{shown_path(output)}: {languages}, identity {config.identity[:12]}")
