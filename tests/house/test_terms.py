"""Packages speak in Python's terms: no options, no commands; and each term has its translation for the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from vsearch.commands.terms import CALLS, TERMS

ROOT = Path(__file__).parents[2]
SHELL = re.compile(rf"(?<![\w-])--(?:[a-z][a-z-]*|\{{)|\bvsearch (?:{'|'.join(cli.Vsearch.table)})\b")
NMSLIB = "pip install --no-binary"  # what it prints
# what stands in backticks and is meant so
NO_TERMS = {"wnid TAB lemma, lemma", "python -m nltk.downloader wordnet", "child parent", "gram"}


def packages() -> list[Path]:
    files = [file for package in ("vsearch", "index", "training") for file in (ROOT / package).rglob("*.py")]
    return [file for file in files if "commands" not in file.parts and file != ROOT / "vsearch" / "console.py"]


def strings(source: str) -> Iterator[str]:
    """The string literals of a module, but for docstrings; of an f-string its parts, {} for what is filled in."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | docstrings:
            yield node.value


def spelled(source: str) -> list[str]:
    """What a module spells as one types it in a shell."""
    return [found.group() for text in strings(source) for found in SHELL.finditer(text.replace(NMSLIB, ""))]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('f("use --library")', ["--library"]),
        ('f(f"name it by --{name} instead")', ["--{"]),
        ('f(f"make one: vsearch build-index {folder}")', ["vsearch build-index"]),
        ('f("--force")', ["--force"]),
        ('f("this vsearch reads format 2 - or none")', []),
        ('def f():\n    """Do as `vsearch check --json`."""', []),
    ],
)
def test_the_scan_finds_what_it_looks_for(line: str, found: list[str]) -> None:
    assert spelled(line) == found


def test_packages_spell_no_options_and_no_commands() -> None:
    found = {str(file.relative_to(ROOT)): spelled(file.read_text("utf-8")) for file in packages()}
    assert {file: words for file, words in found.items() if words} == {}


def test_every_term_in_backticks_is_translated() -> None:
    terms = {
        term
        for file in packages()
        for text in strings(file.read_text("utf-8"))
        for term in re.findall("`([^`]+)`", text)
    }
    assert "library.check()" in terms
    unknown = {term for term in terms if term not in TERMS and not any(re.fullmatch(call, term) for call in CALLS)}
    assert {term for term in unknown if "{}" not in term} <= NO_TERMS
