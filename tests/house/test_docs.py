"""Every command has help with an example, and README and commands say the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from cli import app, subtracted_last

ROOT = Path(__file__).resolve().parents[2]
README = re.sub("<!--.*?-->", "", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
GIVEN = {
    "build-index", "reindex", "forget", "search", "similar", "duplicates", "check", "export",
    "caption", "label", "train", "find-lr", "plots", "prepare", "assemble", "evaluate", "info",
    "translate", "assemble-translator",
}  # fmt: skip


def leaves(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Every command below `group` by its full name, as in "prepare words"."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, f"{before}{name} ")
        elif isinstance(command, TyperCommand):
            yield before + name, command


GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = dict(leaves(GROUP))


def options(command: TyperCommand) -> set[str]:
    named = {o for p in command.params if p.param_type_name == "option" for o in [*p.opts, *p.secondary_opts]}
    return named | {"-h", "--help"}


def shell_lines(text: str) -> list[list[str]]:
    """The words after `vsearch` or `python cli.py` in every line of `text` that calls it."""
    lines = re.findall(r"^[ \t]+(?:\$ )?(?:vsearch|python cli\.py) (.+)$", text, re.MULTILINE)
    return [shlex.split(re.split(r" [|>#] ", line)[0]) for line in lines]


def name_of(words: list[str]) -> str:
    """The command that a line calls."""
    return next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), "")


def check_line(words: list[str]) -> None:
    """The command exists and has every option of the line."""
    name = name_of(words)
    assert name, f"there is no command vsearch {shlex.join(words)}"
    command = COMMANDS[name]
    valued = {o for p in command.params if not getattr(p, "is_flag", True) for o in p.opts}
    rest = words[len(name.split()) :]
    if name == "search":
        rest = subtracted_last(rest, valued)
    if "--" in rest:
        rest = rest[: rest.index("--")]
    used = {w.split("=")[0] for n, w in enumerate(rest) if w.startswith("-") and (n == 0 or rest[n - 1] not in valued)}
    assert used <= options(command), f"vsearch {shlex.join(words)}"


def test_all_commands_are_there() -> None:
    assert {name.split()[0] for name in COMMANDS} == GIVEN


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_is_right(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    _, _, example = result.output.partition("Example:")
    calls = [words for words in shell_lines(example) if name_of(words) == name]
    assert calls, f"{name} --help shows no example"
    for words in calls:
        check_line(words)


@pytest.mark.parametrize("group", ["prepare", "evaluate"])
def test_the_group_has_help_with_an_example(group: str) -> None:
    result = CliRunner().invoke(app, [group, "--help"])
    calls = shell_lines(result.output.partition("Example:")[2])
    assert calls
    for words in calls:
        check_line(words)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_parameter_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_stands_in_readme(name: str) -> None:
    assert any(name_of(words) == name for words in shell_lines(README)), f"README does not show {name}"


def test_readme_shows_no_command_or_option_that_is_not_there() -> None:
    lines = shell_lines(README)
    assert len(lines) >= len(GIVEN)
    for words in lines:
        check_line(words)


def test_every_option_stands_in_readme() -> None:
    for name, command in COMMANDS.items():
        for option in options(command) - {"-h", "--help"}:
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", README), (
                f"README does not name {option} of {name}"
            )


def test_readme_shows_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("make demo", "make test"):
        assert target in README
        assert re.search(rf"^{target.split()[1]}:", makefile, re.MULTILINE)


def test_ci_runs_make_test_alone() -> None:
    lines = [n for n in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if n and not n.startswith("#")]
    assert len(lines) == 1
    assert "make test" in lines[0]


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith(("http://", "https://")):
            assert (ROOT / target).exists(), target
