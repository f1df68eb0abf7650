"""The command reference from `--help`, for the cog block in docs/reference/commands.md.

`make docs` writes it; a test checks that it is current. The text does not depend on the terminal: its width is fixed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from cli import app

WIDTH = 90  # columns of a help text


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, groups before their members: "search", "prepare", "prepare words"."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    yield from _below(group, "")


def _below(group: TyperGroup, before: str) -> Iterator[tuple[str, Any]]:
    context = group.make_context("vsearch", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.resolve_command(context, [name])[1]  # a command is imported only here
        yield before + name, command
        if isinstance(command, TyperGroup):
            yield from _below(command, f"{before}{name} ")


def help_of(name: str) -> str:
    """Return what `vsearch NAME --help` prints; the name "" is the whole program."""
    sized: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    result = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="vsearch", **sized)
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def markdown() -> str:
    """Return a table of all commands and a section for each, its help in it as it is printed."""
    rows, sections = ["| command | what it does |", "|---|---|"], []
    for name, command in commands():
        rows.append(f"| [{name}](#vsearch-{name.replace(' ', '-')}) | {_summary(command.help)} |")
        sections.append(f"## vsearch {name}\n\n{_block(help_of(name))}")
    return "\n\n".join(["\n".join(rows), _block(help_of("")), *sections])


def _summary(text: str) -> str:
    """Return the first paragraph of a help text, in one line."""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _block(text: str) -> str:
    return f"```text\n{text}\n```"
