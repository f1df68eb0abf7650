"""`vsearch build-index --watch`: a build that goes on as files change."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from index.commands.options import Place, opened_with_model
from vsearch.commands.terms import typed
from vsearch.console import many, progress_bar, remark, shown, shown_path

if TYPE_CHECKING:
    from index.build.report import Report


@dataclass(frozen=True)
class Watching:
    """Whether a build goes on, and how it learns of changes."""

    watch: Annotated[
        bool, typer.Option("--watch", help="Go on as files change, until Ctrl-C; no FOLDER: those of the library.")
    ] = False
    poll: Annotated[
        float | None,
        typer.Option("--poll", metavar="SECONDS", help="With --watch: look at all files so often, for network disks."),
    ] = None

    def check(self, *, folders: bool, reindex: bool) -> None:
        """Raise BadParameter if options do not go together."""
        if not folders and not self.watch:
            raise typer.BadParameter("name at least one FOLDER")
        if reindex and self.watch:
            raise typer.BadParameter("--reindex does not go with --watch: re-index first")
        if self.poll is not None and not self.watch:
            raise typer.BadParameter("--poll needs --watch")
        if self.poll is not None and not (math.isfinite(self.poll) and self.poll > 0):
            raise typer.BadParameter("--poll takes a number of seconds")


def run_watch(place: Place, folders: Sequence[Path], watching: Watching, **how: Any) -> Iterator[Report]:
    """Yield the report of the first build, and then print a line for each round that changed something."""
    with opened_with_model(place) as (library, _), ending_on_request():
        with progress_bar("pictures") as progress:
            rounds = library.watch(
                folders, poll=watching.poll, progress=progress, say=lambda line: remark(typed(line)), **how
            )
            first = next(rounds)
        yield first
        remark(f"watching {many(len(folders) or len(library.folders()), 'folder')}; Ctrl-C ends it")
        for report in rounds:
            remark(round_line(report))


@contextmanager
def ending_on_request() -> Iterator[None]:
    """End the process with exit code 0 when it is told to end, as services are."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def round_line(report: Report) -> str:
    """Return what a round did, in one line."""
    changes = {"added": report.added, "updated": report.updated, "moved": report.moved}
    changes |= {"captioned": report.captioned, "removed": report.removed}
    told = [f"{number} {name}" for name, number in changes.items() if number]
    told += [f"skipped {shown_path(path)}: {shown(reason)}" for path, reason in report.skipped[:1]]
    told += [f"and {len(report.skipped) - 1} more"] if len(report.skipped) > 1 else []
    told += [f"could not look into {shown_path(path)}: {shown(reason)}" for path, reason in report.unreadable[:1]]
    return f"{', '.join(told)} in {report.seconds:.1f} s; {many(report.total, 'picture')}"
