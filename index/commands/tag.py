"""`vsearch tag`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index.commands.options import Place, WithinOption, check_folder, opened_with_model, remark_none
from index.commands.search import MinScoreOption, SearchCommand
from vsearch.commands.group import expanded
from vsearch.commands.options import JsonOption
from vsearch.commands.stdin import Stdin
from vsearch.console import many, out, out_json, progress_bar, remark, shown, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.library import Library
    from index.metadata.files import Tagging
    from index.metadata.tag import Tagged

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True)
class Which:
    """Which photos are tagged."""

    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTO...|WORDS", help="Photos, folders, or a query; - is --stdin.", show_default=False),
    ] = None
    count: Annotated[int | None, typer.Option("-k", min=1, metavar="N", help="Of a query: how many pictures.")] = None
    min_score: MinScoreOption = None
    within: WithinOption = None

    @property
    def names(self) -> list[str]:
        """What was named: photos and folders, or words."""
        return self.what or []


@dataclass(frozen=True)
class How:
    """What is written, and where."""

    xmp: Annotated[bool, typer.Option("--xmp", help="Into an XMP file next to each photo; the default.")] = False
    in_file: Annotated[bool, typer.Option("--in-file", help="Into the photos: JPEG, PNG and WebP.")] = False
    caption: Annotated[bool, typer.Option("--caption", help="Write the caption; the default without --nouns.")] = False
    nouns: Annotated[int, typer.Option("--nouns", min=0, metavar="N", help="Write up to N nouns as keywords.")] = 0
    names: Annotated[
        str, typer.Option(metavar="NAME", help="Nouns from: imagenet, wordnet, or a file with a noun a line.")
    ] = "imagenet"
    undo: Annotated[bool, typer.Option("--undo", help="Take out what vsearch wrote, and nothing else.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False
    as_json: JsonOption = False


@app.command(cls=SearchCommand)
@expanded
def tag(which: Which, stdin: Stdin, how: How, place: Place) -> None:
    """Write captions and keywords into XMP files next to photos, or into the photos, for other photo programs.

    The photos are those named, those below folders that are named, or, where no name is that of a file, the hits of a
    query, with -k or --min-score. They must be in the library. A caption or keyword of a person's is never replaced;
    what vsearch writes is marked as its own, and --undo takes exactly that out again. A keyword is written if its score
    is at least 0.5. The exit code is 1 if a photo could not be tagged.

    \b
    Example:
      vsearch tag ~/Pictures/2024 --dry-run
      vsearch tag ~/Pictures/2024 --caption --nouns 3
      vsearch tag "dog snow" --min-score 0.6 --nouns 2
      vsearch tag ~/Pictures/2024 --undo
      vsearch search beach --paths -k 100 | vsearch tag --stdin --nouns 3
    """
    which = read_names(which, stdin)
    if not which.names:
        return
    check_options(which, how)
    with opened_with_model(place) as (library, _):
        photos = photos_of(which, library)
        with progress_bar("pictures") as show:
            report = library.tag(
                photos,
                caption=how.caption or not how.nouns,
                nouns=how.nouns,
                names=how.names,
                in_file=how.in_file,
                undo=how.undo,
                dry_run=how.dry_run,
                progress=show,
            )
    print_report(report, how)
    if report.skipped:
        raise typer.Exit(1)


def read_names(which: Which, stdin: Stdin) -> Which:
    """Return what is tagged, with the names that come on stdin in it: those are of files, never a query."""
    names = stdin.names(which.what)
    return replace(which, what=names if names == which.names else [os.path.abspath(name) for name in names])


def check_options(which: Which, how: How) -> None:
    """Raise BadParameter if options do not go together."""
    if how.xmp and how.in_file:
        raise typer.BadParameter("--xmp and --in-file exclude each other")
    if which.min_score is not None and not math.isfinite(which.min_score):
        raise typer.BadParameter("--min-score takes a number")
    narrowed = which.count is not None or which.min_score is not None
    if any(map(is_file, which.names)):
        if narrowed or which.within is not None:
            raise typer.BadParameter("-k, --min-score and --in are for queries; these are files")
        missing = next((name for name in which.names if not os.path.lexists(name)), None)
        if missing is not None:
            raise VsearchError(f"no photo {shown(missing)}", "name files, or only words")
    elif not narrowed:
        raise typer.BadParameter("a query needs -k N or --min-score X: how many photos are tagged")


def is_file(name: str) -> bool:
    """Tell whether an argument names a file: one that is there, or could only be one."""
    from vsearch.image.decode import SUFFIXES

    return os.path.lexists(name) or (os.sep in name) or os.path.splitext(name)[1].lower() in SUFFIXES


def photos_of(which: Which, library: Library) -> Sequence[Any]:
    """Return the photos that are named, or found."""
    if any(map(is_file, which.names)):
        return which.names
    k = which.count or max(1, library.count())
    hits = library.search(" ".join(which.names), k=k, within=which.within, min_score=which.min_score)
    check_folder(which.within, found=bool(hits))
    if not hits:
        remark_none(library, which.within)
    return hits


def print_report(report: Tagged, how: How) -> None:
    """Print each file and what it has now, and how many there were."""
    if how.as_json:
        out_json([tagging_row(one, how) for one in report.changed])
    else:
        for one in report.changed:
            out(shown_path(one.file))
            said = [*([] if one.caption is None else [one.caption]), ", ".join(one.keywords)]
            sign = "-" if how.undo else "+"
            for line in filter(None, said):
                out(f"  {sign} {shown(line)}")
        done = "would be changed" if how.dry_run else "changed"
        out(f"{many(len(report.changed), 'file')} {done}, {report.unchanged} as they were")
    for path, reason in report.skipped:
        remark(f"skipped {shown_path(path)}: {reason}")


def tagging_row(one: Tagging, how: How) -> dict[str, Any]:
    """Return what was done to a file as an object of JSON."""
    return {"file": os.fspath(one.file), "undone": how.undo, "caption": one.caption, "keywords": list(one.keywords)}
