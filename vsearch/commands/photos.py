"""What commands about single photos share: a bar, a line on stderr for each photo that fails, rows as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from vsearch.commands.terms import typed
from vsearch.console import complain, out_json, progress_bar, shown_path
from vsearch.errors import VsearchError

Row = dict[str, Any]


def print_each(
    photos: Sequence[Path],
    describe: Callable[[Path], Row],
    show: Callable[[Path, Row], None],
    *,
    as_json: bool,
    faults: type[VsearchError] = VsearchError,
) -> None:
    """Describe each photo and show its row, or all rows as JSON at the end.

    A photo for which `describe` raises one of `faults` is named on stderr; the exit code is then 1.
    """
    failed, rows = 0, []
    with progress_bar("photos") as progress:
        for done, photo in enumerate(photos):
            progress(done, len(photos))
            try:
                row = describe(photo)
            except faults as error:
                failed += 1
                hint = error.hint or "name a picture that can be read"
                complain(f"{shown_path(photo)}: {typed(str(error))}", typed(hint))
                continue
            rows.append(row)
            if not as_json:
                show(photo, row)
    if as_json:
        out_json(rows)
    if failed:
        raise typer.Exit(1)
