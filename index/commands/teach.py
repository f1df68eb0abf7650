"""`vsearch vote`, `vsearch votes` and `vsearch teach`: what a library learns from its user."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from index.commands.options import LibraryOption, Place, opened_with_model
from vsearch.commands.group import expanded
from vsearch.commands.options import PlainJsonOption
from vsearch.console import many, out, out_json, remark, shown, shown_path

if TYPE_CHECKING:
    from index.teach.teach import Lesson

app = typer.Typer(rich_markup_mode=None)


@app.command()
@expanded
def vote(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The words of a search.", show_default=False)],
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos.", show_default=False)],
    bad: Annotated[bool, typer.Option("--bad", help="They do not fit the query.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take votes on them back.")] = False,
    *,
    place: Place,
) -> None:
    """Say that photos of the library fit a query, or do not, for `vsearch teach` to learn from.

    The votes of the page of `vsearch serve` are the same. A vote takes the place of an earlier one; weights of words do
    not matter. The exit code is 1 if a photo is not in the library.

    \b
    Example:
      vsearch vote "dog snow" dog.jpg ~/Pictures/2024/sled.jpg
      vsearch vote "dog snow" cat.jpg --bad
      vsearch vote "dog snow" cat.jpg --withdraw
    """
    if bad and withdraw:
        raise typer.BadParameter("--bad and --withdraw exclude each other")
    with opened_with_model(place) as (library, _):
        count, unknown = library.vote(query, photos, good=None if withdraw else not bad)
    out(f"{many(count, 'vote')} {'withdrawn' if withdraw else 'kept'}")
    for photo in unknown:
        remark(f"skipped {shown_path(photo)}: not in the library")
    if unknown:
        raise typer.Exit(1)


@app.command()
def votes(library: LibraryOption = None, as_json: PlainJsonOption = False) -> None:
    """List the votes on pictures, those of the page, too.

    \b
    Example:
      vsearch votes
      vsearch votes --json
    """
    from index.library import Library

    with Library.open(library, read_only=True) as opened:
        found = opened.votes()
    if as_json:
        out_json([asdict(one) for one in found])
        return
    for one in found:
        photo = "(no longer in the library)" if one.path is None else shown_path(Path(one.path))
        out(f"{'+' if one.good else '-'} {shown(one.query)}: {photo}")
    out(many(len(found), "vote"))


@app.command()
@expanded
def teach(
    undo: Annotated[bool, typer.Option("--undo", help="Forget what was learned; votes stay.")] = False,
    *,
    place: Place,
) -> None:
    """Learn from the votes: searches by words are corrected for queries like those that were voted on.

    It is tried on votes that were held out, and kept only if more of them are in order than before. At least 10 votes
    are needed, and a query with votes of both kinds. `search --no-taught` searches without it.

    \b
    Example:
      vsearch teach
      vsearch teach --undo
    """
    with opened_with_model(place) as (library, _):
        if undo:
            out("forgot what was learned from votes" if library.unteach() else "nothing was learned")
            return
        lesson = library.teach()
    out(lesson_line(lesson))
    if not lesson.kept:
        raise typer.Exit(1)


def lesson_line(lesson: Lesson) -> str:
    """Return what was learned, in one line."""
    text = f"{many(lesson.votes, 'vote')} on {lesson.queries} quer{'y' if lesson.queries == 1 else 'ies'}"
    if lesson.before is not None and lesson.after is not None:
        text += f"; of pairs held out {lesson.before:.1%} were in order, now {lesson.after:.1%}"
    return f"{text}: kept" if lesson.kept else f"{text}: nothing learned, {lesson.reason}"
