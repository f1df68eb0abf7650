"""`vsearch duplicates`, `vsearch check` and `vsearch export`: what reads a whole library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index.commands.options import LibraryOption, StoreOption, WithinOption, check_folder, opened_library
from index.paths import titled
from vsearch.commands.options import ForceOption, PlainJsonOption
from vsearch.console import many, out, out_json, progress_bar, remark, shown_path

if TYPE_CHECKING:
    from index.duplicates import Group

app = typer.Typer(rich_markup_mode=None)


@app.command()
def duplicates(
    threshold: Annotated[
        float | None, typer.Option(min=-1, metavar="X", help="From this cosine on pictures are one; 2: equal files.")
    ] = None,
    within: WithinOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per group.")] = False,
    library: LibraryOption = None,
) -> None:
    """List groups of near-identical pictures: copies, and those resized, compressed again or slightly cropped.

    The largest file of a group comes first; above each group, the bytes of the others. Nothing is deleted.

    \b
    Example:
      vsearch duplicates
      vsearch duplicates --in ~/Pictures/2024 --threshold 0.99 --json
    """
    from index.library import Library

    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("--threshold takes a number")
    with Library.open(library, read_only=True) as opened, progress_bar("pictures") as show:
        groups = opened.duplicates(threshold, within=within, progress=show)
        check_folder(within, found=bool(groups))
    if as_json:
        out_json([group_row(group) for group in groups])
    else:
        print_groups(groups)


def group_row(group: Group) -> dict[str, Any]:
    """Return a group as an object of JSON."""
    rows = [{"path": picture.path, "size": picture.size} for picture in group.pictures]
    return {"exact": group.exact, "freed": group.freed, "pictures": rows}


def print_groups(groups: Sequence[Group]) -> None:
    """Print each group, its largest file first, and how much is to spare in all."""
    for group in groups:
        kind = "equal files" if group.exact else "pictures"
        out(f"{len(group.pictures)} {kind}, {group.freed:,} bytes but for the first")
        for picture in group.pictures:
            out(f"{picture.size:>12,}  {shown_path(titled(picture.path))}")
    spare = sum(len(group.pictures) - 1 for group in groups)
    freed = sum(group.freed for group in groups)
    out(f"{many(len(groups), 'group')}; to spare: {many(spare, 'picture')}, {freed:,} bytes")


@app.command()
def check(library: LibraryOption = None, as_json: PlainJsonOption = False, store: StoreOption = None) -> None:
    """Verify the library: database, vectors, caches, recall of the graph, missing files.

    A line for each finding, with its remedy. The exit code is 0 if all is well, else 1. Caches that are damaged are
    deleted. Of a store on Milvus, counts and a sample of its rows are looked at, but no photo.

    \b
    Example:
      vsearch check
      vsearch check --library my.library --json
    """
    from vsearch.commands.terms import typed

    with opened_library(library, store, read_only=True) as opened:
        seen = opened.check()
    seen = replace(seen, findings=tuple(replace(one, remedy=typed(one.remedy)) for one in seen.findings))
    if as_json:
        out_json(asdict(seen))
    else:
        for finding in seen.findings:
            out(f"{finding.message}; {finding.remedy}")
        verdict = "all is well" if not seen.findings else many(len(seen.findings), "finding")
        graph = "no graph" if seen.recall is None else f"recall@10 of the graph {seen.recall:.3f}"
        out(f"{verdict}: {many(seen.pictures, 'picture')}, {graph}")
    for path, reason in seen.unseen:
        remark(f"could not look into {path}: {reason}")
    if seen.findings:
        raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .npy, .jsonl or .parquet.", show_default=False)],
    force: ForceOption = False,
    library: LibraryOption = None,
    store: StoreOption = None,
) -> None:
    """Write the vectors of all pictures, with paths and captions, for other programs.

    .npy holds only vectors; the pictures are next to it in NAME.rows.jsonl, in the same order. An earlier export is
    replaced, but no other file unless --force.

    \b
    Example:
      vsearch export vectors.npy
      vsearch export pictures.jsonl --library my.library
    """
    with opened_library(library, store, read_only=True) as opened:
        done = opened.export(file, force=force)
    out(f"{' and '.join(shown_path(one) for one in done.files)}: {done.count} vectors of {done.dim} numbers")
