"""What is installed under which name: the distribution, its extras, and the hints that name them."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import vsearch
from vsearch import distribution

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])
TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".css", ".j2", ".txt", ".rst", ".cfg", ""}


def texts() -> list[tuple[Path, str]]:
    """Return path and content of each text file of the project."""
    never = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", "__pycache__"}
    made = {"build", "dist", "demo", "runs", "work"}
    kept = []
    for path in ROOT.rglob("*"):
        names = path.relative_to(ROOT).parts
        ours = not never & set(names) and names[0] not in made and names[:2] != ("docs", "_build")
        if ours and path.suffix in TEXTS and path.is_file() and path != Path(__file__):
            kept.append(path)
    return [(p, p.read_text("utf-8", errors="replace")) for p in kept]


def test_the_name_is_that_of_the_project_file() -> None:
    assert distribution.NAME == PROJECT["name"] == "vsearch-photos"


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_hint_installs_the_extra_of_our_distribution(extra: str) -> None:
    assert distribution.install_hint(extra) == f"pip install 'vsearch-photos[{extra}]'"


def test_no_file_advises_to_install_the_program_of_other_people() -> None:
    wrong = re.compile(r"\binstall\b[^\n]{0,60}?[\s'\"=]vsearch(\[|['\"]?$|==|>=)", re.MULTILINE)
    assert wrong.search("run pip install 'vsearch[plots]'") and wrong.search("pipx install vsearch")
    assert not wrong.search("pip install 'vsearch-photos[plots]'")
    found = texts()
    assert {"README.md", "pyproject.toml", "Makefile"} <= {p.name for p, _ in found}
    assert [p for p, text in found if wrong.search(text)] == []


def test_every_extra_named_anywhere_is_there() -> None:
    named = {extra for _, text in texts() for extra in re.findall(r"vsearch-photos\[(\w+)\]", text)}
    assert "plots" in named
    assert named <= set(EXTRAS)


def test_every_hint_of_the_code_names_an_extra_that_is_there() -> None:
    calls = [(p, e) for p, text in texts() if p.suffix == ".py" for e in re.findall(r"install_hint\(['\"](\w+)", text)]
    assert {"plots", "parquet", "bpe"} <= {extra for _, extra in calls}
    assert [call for call in calls if call[1] not in EXTRAS] == []


def test_hints_are_written_in_one_place() -> None:
    code = [p for p, text in texts() if "vsearch-photos" in text and p.suffix == ".py" and "tests" not in p.parts]
    assert [p.relative_to(ROOT).as_posix() for p in code] == ["vsearch/distribution.py"]


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"vsearch-photos": "7.8.9"}.__getitem__)
    assert distribution.version() == "7.8.9"


def test_without_a_distribution_the_version_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert distribution.version() == vsearch.__version__


def test_typer_stays_below_the_release_that_requires_pydantic() -> None:
    (typer,) = [d for d in PROJECT["dependencies"] if d.startswith("typer")]
    assert typer == "typer>=0.26.2,<0.29"
