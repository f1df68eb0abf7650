"""What errors say in Python, as it is typed in a shell: existing commands, and paths that come out whole."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cli
from index import remedies
from training.recipe import Inputs
from vsearch.commands.group import load
from vsearch.commands.terms import OPTIONS, TERMS, shell, typed

ODD = [
    "plain",
    "two words",
    "it's",
    'a "b"',
    "new\nline",
    os.fsdecode(b"\xff'\\"),
    "ü",
    "`library.check()`",
    "$(x)",
    "a*[b]?",
    "\\",
]


def in_bash(command: str) -> list[str]:
    """The words that bash makes of a command."""
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    return [os.fsdecode(word) for word in said.split(b"\0")[:-1]]


@pytest.mark.parametrize("word", [*ODD, "-x", ""])
def test_shell_quoting(word: str) -> None:
    assert in_bash(shell(word)) == [word]
    if word.isprintable():
        assert shell(word) == shlex.quote(word)


class Recorded:
    """Stands for `Library`: notes how it is opened and built."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def open(self, *given: Any, **named: Any) -> Recorded:
        self.calls.append((given, named))
        return self

    build = open


@pytest.mark.parametrize("name", ODD)
def test_a_library_is_built_by_the_code_and_by_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = f"/libraries/{name}", f"/photos/{name}"
    code, library = remedies.build(path, f"[{remedies.literal(folder)}]"), Recorded()
    eval(code.strip("`"), {"Library": library, "model": "m"})  # noqa: S307 - our own code
    assert library.calls == [((path, "m"), {}), (([folder],), {})]
    assert in_bash(typed(code)) == ["vsearch", "build-index", "--library", path, folder]
    again = remedies.build(path, reindex=True)
    eval(again.strip("`"), {"Library": library, "model": "m"})  # noqa: S307 - our own code
    assert library.calls[2:] == [((path, "m"), {"reindex": True}), ((), {"reindex": True})]
    assert in_bash(typed(again)) == ["vsearch", "reindex", "--library", path]
    named = remedies.build(path, remedies.FOLDER, reindex=True)
    assert in_bash(typed(named)) == ["vsearch", "build-index", "FOLDER", "--reindex", "--library", path]
    monkeypatch.setattr(remedies, "default_path", lambda: Path(path))
    assert typed(remedies.build(path, remedies.FOLDER)) == "vsearch build-index FOLDER"
    assert typed(remedies.build(path, reindex=True)) == "vsearch reindex"


@pytest.mark.parametrize("name", ODD)
def test_a_library_is_moved_aside_by_the_code_and_by_the_command(name: str, tmp_path: Path) -> None:
    """It and its logs only: not what a glob would take with them, and over nothing that is there."""
    neighbours = [f"{name}-notes.txt", f"{name}2", f"{name}.graph"]
    for form in ("code", "command"):
        for file in (name, f"{name}-wal", *neighbours):
            (tmp_path / file).write_text(form)
        code = remedies.move_aside(tmp_path / name)
        if form == "code":
            eval(code.strip("`"), {"os": os})  # noqa: S307 - our own code
        else:
            subprocess.run(["bash", "-c", typed(code)], check=True)
        assert not (tmp_path / name).exists() and not (tmp_path / f"{name}-wal").exists()
        assert all((tmp_path / file).read_text() == form for file in neighbours)
    assert (tmp_path / f"{name}.aside").read_text() == (tmp_path / f"{name}-wal.aside").read_text() == "code"
    assert (tmp_path / f"{name}.aside1").read_text() == (tmp_path / f"{name}-wal.aside1").read_text() == "command"
    assert in_bash(typed(remedies.remove(tmp_path / name))) == ["rm", str(tmp_path / name)]


def test_no_message_deletes_by_a_pattern() -> None:
    """What a message says to delete or move is named exactly: no star, no other pattern, no whole folder."""
    for room in ("index", "vsearch", "training"):
        for path in (Path(__file__).resolve().parents[2] / room).rglob("*.py"):
            text = path.read_text("utf-8")
            assert not re.search(r"glob\.glob\(\{|rmtree\(\{|rm -r|rm \{[^}]*\}\*", text), path


def test_what_is_no_term_stays_and_what_is_typed_is_not_typed_again() -> None:
    text = "give `lemmas=file` (`wnid TAB lemma` a line), or `Library.open(1, model).build()`"
    assert typed(text) == "give --lemmas FILE (`wnid TAB lemma` a line), or `Library.open(1, model).build()`"
    once = typed("`force=True` of '/photos/`features`'")
    assert typed(once) is once


def commands(group: Any, name: str = "") -> list[tuple[str, Any]]:
    """All commands below a group, by their full names."""
    found = [(name, group)]
    for own in getattr(group, "commands", {}):
        inner = load(cli.Vsearch.table[own][0], own) if not name else group.commands[own]
        found += commands(inner, f"{name} {own}".strip())
    return found


def test_every_term_is_an_option_or_a_command_that_there_is() -> None:
    known = dict(commands(typer.main.get_command(cli.app)))
    options = {flag for command in known.values() for parameter in command.params for flag in parameter.opts}
    for said in TERMS.values():
        assert set(re.findall(r"--[a-z-]+", said)) <= options, said
        if line := said.strip("`").partition("vsearch ")[2]:
            verbs = re.sub(r" (--|FOLDER|PHOTOS|devise|translate$).*", "", line.replace("train translate", "train"))
            assert set(verbs.split(", ")) <= set(known), said
    assert {field.name for field in dataclasses.fields(Inputs)} <= set(OPTIONS)
