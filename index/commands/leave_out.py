"""Options by which builds leave out files and folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.console import remark

if TYPE_CHECKING:
    from index.build.report import Report


@dataclass(frozen=True)
class LeaveOut:
    """What is left out, by this build and later ones."""

    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Leave out files or folders, as in gitignore files. Repeat it.", show_default=False
        ),
    ] = None
    no_exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out no longer what an earlier --exclude named.", show_default=False),
    ] = None

    def patterns(self) -> dict[str, list[str]]:
        """Return what `Library.build` takes."""
        return {"exclude": self.exclude or [], "no_exclude": self.no_exclude or []}


def remark_excluded(report: Report) -> None:
    """Tell how many pictures left the library though their files are still there."""
    if report.excluded:
        was = "1 removed picture is" if report.excluded == 1 else f"{report.excluded:,} removed pictures are"
        remark(f"{was} still on disk, but left out now (--exclude, .nomedia, .vsearchignore or the name of a folder)")
