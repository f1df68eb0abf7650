"""How the commands are joined: nothing is imported before it is called, and every line of help is true."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import cli
from tests.support import tiny_model
from vsearch.commands.group import expanded, load

MODULES = sorted({module for module, _ in cli.Vsearch.table.values()})


def run_python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tiny_model.ROOT, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("name", cli.Vsearch.table)
def test_the_line_of_the_table_is_the_first_of_the_help(name: str) -> None:
    module, line = cli.Vsearch.table[name]
    command = load(module, name)
    assert command.name == name
    assert command.help.partition("\n")[0] == line


@pytest.mark.parametrize("module", MODULES)
def test_every_command_of_a_module_is_in_the_table(module: str) -> None:
    app = importlib.import_module(module).app
    group = typer.main.get_group(app)
    listed = {name for name, (home, _) in cli.Vsearch.table.items() if home == module}
    assert listed in ({group.name}, set(group.commands))


def test_the_help_imports_no_command() -> None:
    script = "import sys, cli\ntry: cli.app(['--help'], prog_name='vsearch')\nexcept SystemExit: print(*sys.modules)"
    loaded = run_python(script).splitlines()[-1].split()
    assert "vsearch.commands.group" in loaded
    assert not set(MODULES) & set(loaded)


def test_a_command_imports_no_other_module() -> None:
    script = (
        "import sys, cli\ntry: cli.app(['forget', '-h'], prog_name='vsearch')\nexcept SystemExit: print(*sys.modules)"
    )
    loaded = run_python(script).splitlines()[-1].split()
    assert set(MODULES) & set(loaded) == {"index.commands.build"}


def test_a_name_that_is_not_there_gets_a_suggestion() -> None:
    result = CliRunner().invoke(cli.app, ["duplicate"])
    assert result.exit_code == 2
    assert "No such command 'duplicate'. Did you mean 'duplicates'?" in result.stderr


@dataclass(frozen=True)
class Size:
    """Two options that commands share."""

    width: Annotated[int, typer.Option("--width", help="How wide.")]
    height: Annotated[int, typer.Option("-h", "--height", help="How high.")] = 2


@dataclass(frozen=True)
class Other:
    """Options of one field."""

    depth: int = 1


def test_the_fields_of_a_dataclass_are_options_in_their_place() -> None:
    app, told = typer.Typer(rich_markup_mode=None, add_completion=False), []

    @app.command()
    @expanded
    def draw(name: str, size: Size, colour: str = "red", *, other: Other) -> None:
        """Draw."""
        told.append((name, size, colour, other))

    command = typer.main.get_command(app)
    assert [one.name for one in command.params] == ["name", "width", "height", "colour", "depth"]
    assert (command.name, command.help) == ("draw", "Draw.")
    result = CliRunner().invoke(app, ["dog", "--width", "5", "--depth", "3"])
    assert result.exit_code == 0, result.output
    assert told == [("dog", Size(5, 2), "red", Other(3))]
    assert "Missing option '--width'" in CliRunner().invoke(app, ["dog"]).stderr
