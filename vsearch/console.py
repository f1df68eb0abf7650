"""The only printer: results go to stdout, remarks, errors and progress to stderr. Imports nothing slow.

Only this file and the commands (`*/commands/`) write to the terminal and end the process with an exit code.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from vsearch.errors import VsearchError

PATIENCE = 2.0  # seconds before a progress bar appears
UNREADABLE = 3  # exit code of a build that could not look into some folder
EMPTY = 4  # exit code of a search that found nothing, with --fail-if-empty
INTERRUPTED = 130  # exit code after Ctrl-C, as a shell gives it


def out(text: str) -> None:
    """Print a line for people to stdout, safe on a terminal whatever names and captions hold: see `shown`."""
    _write(shown(text) + "\n")


def out_path(path: str, end: str = "\n") -> None:
    """Print a bare path to stdout: for programs as the bytes that it is, on a terminal as people read it."""
    _write((shown(path) if sys.stdout.isatty() and end == "\n" else path) + end)


def out_json(value: Any) -> None:
    """Print a value as JSON to stdout; whatever is not ASCII is escaped, as JSON has it."""
    _write(json.dumps(value, indent=2) + "\n")


def _write(text: str) -> None:
    if sys.stdout is None:
        raise VsearchError("there is no stdout to print to", "send it to a file, or to /dev/null")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever read it has had enough
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more as it ends
        reason = (error.strerror or "error").lower()
        raise VsearchError(f"cannot print to stdout: {reason}", "send it where there is space") from None


def remark(text: str) -> None:
    """Print one line to stderr."""
    typer.echo(shown(text), err=True)


def complain(message: str, hint: str = "") -> None:
    """Print an error, and what to do about it, to stderr."""
    remark(f"error: {message}; {hint}" if hint else f"error: {message}")


def fail(message: str, hint: str = "") -> None:
    """Print an error and end the command with exit code 1."""
    complain(message, hint)
    raise typer.Exit(1) from None


def shown(text: str) -> str:
    """Return `text` in one line that is safe on a terminal: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_path(path: str | Path) -> str:
    """Return a path for people: relative if it is below the current folder."""
    text = os.fspath(path)
    try:
        here = os.getcwd() + os.sep
    except FileNotFoundError:  # it was deleted
        return shown(text)
    return shown(text.removeprefix(here))


def many(number: int, noun: str) -> str:
    """Return `1 picture`, `2 pictures`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Print a line for each file that was left out: its path and the reason."""
    for path, reason in skipped:
        out(f"  skipped {shown_path(path)}: {shown(reason)}")


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[..., None]]:
    """Yield a function `show(done, total, note=None)`; a bar appears on stderr once the work has lasted two seconds.

    Without a note, the rate and the time left are shown next to the bar. rich is imported when the bar appears.
    """
    bar = Bar(unit)
    try:
        yield bar.show
    finally:
        bar.stop()


class Bar:
    """A progress bar on stderr that waits for `PATIENCE` seconds before it appears."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._started = time.monotonic()
        self._update: Callable[[int, int | None, str], None] | None = None
        self._stop: Callable[[], None] = lambda: None

    def show(self, done: int, total: int | None, note: str | None = None) -> None:
        """Move the bar to `done` of `total`."""
        seconds = time.monotonic() - self._started
        if seconds < PATIENCE:
            return
        if self._update is None:
            self._update = self._start() if _terminal() else lambda *_: None
        self._update(done, total, note or rate_and_rest(done, total, seconds))

    def stop(self) -> None:
        """Take the bar away."""
        self._stop()

    def _start(self) -> Callable[[int, int | None, str], None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn(self._unit), TextColumn("{task.fields[note]}"))
        console = Console(stderr=True)
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        task = bar.add_task(self._unit, total=None, note="")

        def update(done: int, total: int | None, note: str) -> None:
            bar.update(task, completed=done, total=total, note=note)
            if not bar.live.is_started:
                bar.start()
                self._stop = bar.stop

        return update


def _terminal() -> bool:
    """Return whether stderr may be a terminal: rich decides, but is imported only if it could say yes."""
    return sys.stderr.isatty() or bool({"FORCE_COLOR", "TTY_COMPATIBLE"} & set(os.environ))


def rate_and_rest(done: int, total: int | None, seconds: float) -> str:
    """Return the rate and, where `total` is known, the time left: `12.5/s, 1:03 left`."""
    rate = f"{done / max(seconds, 1e-9):.1f}/s"
    return f"{rate}, {clock(seconds / done * (total - done))} left" if done and total else rate


def clock(seconds: float) -> str:
    """Return 3:05 or 1:03:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
