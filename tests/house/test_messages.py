"""What messages say to type: a walk through every text of the program that holds a command of ours or of the shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from tests.house.test_docs import COMMANDS, check_call, ours
from tests.house.test_terms import strings
from tests.support.examples import shell_calls

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(rf"`(vsearch [^`]+)`|\b(vsearch (?:{'|'.join(cli.Vsearch.table)})\b[^`;\n]*)")
SHELLS = re.compile(r"`((?:rm|mv|cp|dd|chmod|chown|sudo|sqlite3|find|sh|bash|curl|wget|apt-get|pip)\b[^`]*)`")


def texts() -> Iterator[tuple[str, str]]:
    """The string literals of the whole program, but for docstrings, with the file of each."""
    files = [path for room in ("vsearch", "index", "training") for path in (ROOT / room).rglob("*.py")]
    for path in [*files, ROOT / "cli.py"]:
        for text in strings(path.read_text("utf-8")):
            yield str(path.relative_to(ROOT)), text


def check(said: str) -> None:
    """A command that a message names is there, with the options that it names; arguments may be left to the reader."""
    if said in COMMANDS or said.removeprefix("vsearch ") in {name.split()[0] for name in COMMANDS}:
        return
    for words in ours(shell_calls([said.replace("{}", "X")])):
        try:
            check_call(words)
        except AssertionError as error:
            if "Missing parameter" not in str(error) and not said.startswith("vsearch prepare pairs, train"):
                raise


def test_every_command_in_a_message_is_there() -> None:
    found = 0
    for file, text in texts():
        for match in OURS.finditer(text):
            found += 1
            try:
                check(match[1] or match[2].strip())
            except AssertionError as error:
                pytest.fail(f"{file}: {text!r}: {error}")
    assert found >= 25


def test_no_message_tells_to_run_another_program() -> None:
    """What deletes, moves or installs is written in one place each, where it is quoted: terms.py, distribution.py."""
    found = {match[1] for _, text in texts() for match in SHELLS.finditer(text)}
    assert found == set()


@pytest.mark.parametrize(
    "wrong", ["vsearch verify", "vsearch search --exactly dog", "vsearch build-index X --reindexed"]
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check(wrong)
