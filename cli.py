"""The command line joins the commands, which are next to what they command. Console script: vsearch = "cli:main".

A module is imported when one of its commands is called; a test compares the lines here with the help of the commands.
"""

from __future__ import annotations

import contextlib
import os
import signal

with contextlib.suppress(ValueError):  # raised outside the main thread
    _interrupt = signal.getsignal(signal.SIGINT)
    if _interrupt != signal.SIG_IGN:  # as in a background job
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are imported just ends the process

from typing import ClassVar

import typer

from vsearch.commands.group import Commands

with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, _interrupt)


class Vsearch(Commands):
    """All commands, in the order of the help text: the module of each, and the first line of its help."""

    table: ClassVar = {
        "build-index": ("index.commands.build",
            "Embed and describe every picture below some folders, and keep them in the library."),
        "reindex": ("index.commands.build",
            "Embed and describe every picture of the library again, as another model needs."),
        "forget": ("index.commands.build",
            "Take folders and all pictures below them out of the library; no file is touched."),
        "search": ("index.commands.search", "Find the pictures nearest to words, to a picture, or to both."),
        "similar": ("index.commands.search", "Find other pictures like a photo."),
        "serve": ("index.commands.serve",
            "Open the library as a page in your browser, and answer its HTTP API."),
        "mcp": ("index.commands.mcp",
            "Let an assistant search the library: an MCP server over stdin and stdout, which only reads."),
        "duplicates": ("index.commands.library",
            "List groups of near-identical pictures: copies, and those resized, compressed again or slightly cropped."),
        "check": ("index.commands.library",
            "Verify the library: database, vectors, caches, recall of the graph, missing files."),
        "export": ("index.commands.library",
            "Write the vectors of all pictures, with paths and captions, for other programs."),
        "tag": ("index.commands.tag",
            "Write captions and keywords into XMP files next to photos, or into the photos, for other photo programs."),
        "move": ("index.commands.move",
            "Copy the pictures of a library into a store on Milvus, or back; nothing is embedded again."),
        "vote": ("index.commands.teach",
            "Say that photos of the library fit a query, or do not, for `vsearch teach` to learn from."),
        "votes": ("index.commands.teach", "List the votes on pictures, those of the page, too."),
        "teach": ("index.commands.teach",
            "Learn from the votes: searches by words are corrected for queries like those that were voted on."),
        "caption": ("index.commands.caption", "Describe photos in a sentence each."),
        "translate": ("vsearch.commands.translate", "Translate sentences."),
        "label": ("vsearch.commands.label",
            "Name what photos show: the nouns nearest to each, trained on or not, with their cosines."),
        "train": ("training.commands.train",
            "Train what a recipe says: a part of a model, or (a bundle) a whole model from the raw data."),
        "assemble": ("training.commands.assemble",
            "Make a model folder of a model and parts that were trained for it: head, decoder, encoder, words."),
        "assemble-translator": ("training.commands.assemble", "Make a translator's folder of what was trained."),
        "export-onnx": ("training.commands.export",
            "Have ONNX Runtime see photos in eight bits, about twice as fast as torch and without loading it."),
        "find-lr": ("training.commands.train",
            "Find a learning rate for a recipe: raise it from batch to batch and watch the loss."),
        "plots": ("training.commands.train",
            "Draw trainings against each other: a panel for each metric, a line for each run."),
        "info": ("index.commands.info", "Show library, model, device and versions."),
        "config": ("index.commands.config", "Show the settings in force, and where each comes from."),
        "prepare": ("training.commands.prepare", "Turn a raw data set into the one file that training reads."),
        "evaluate": ("training.commands.evaluate", "Measure what was trained on a prepared file."),
    }  # fmt: skip


app = typer.Typer(
    cls=Vsearch,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def vsearch() -> None:
    """Search a folder of photos by words, by pictures and by both, and have it described."""


def main() -> None:
    """Run the command that the process was called with."""
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the number that was closed, so that no file of ours does
    app(prog_name="vsearch")


if __name__ == "__main__":
    main()
