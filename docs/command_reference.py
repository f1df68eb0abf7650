"""The command reference from `--help`, for the cog block in docs/reference/commands.md.

`make docs` writes it; a test checks that it is current. The text does not depend on the terminal: its width is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from cli import app

WIDTH = 90  # columns of a help text


def names() -> Iterator[str]:
    """Yield the full name of every command, groups before their members: "search", "prepare", "prepare words"."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    yield from _below(group, "")


def _below(group: TyperGroup, before: str) -> Iterator[str]:
    context = group.make_context("vsearch", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield before + name
        if isinstance(command, TyperGroup):
            yield from _below(command, f"{before}{name} ")


def help_of(name: str) -> str:
    """Return what `vsearch NAME --help` prints; the name "" is the whole program."""
    sized: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    result = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="vsearch", **sized)
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def markdown() -> str:
    """Return a section for each command, its help in it as it is printed."""
    sections = [_block(help_of(""))]
    sections += [f"## vsearch {name}\n\n{_block(help_of(name))}" for name in names()]
    return "\n\n".join(sections)


def _block(text: str) -> str:
    return f"```text\n{text}\n```"
