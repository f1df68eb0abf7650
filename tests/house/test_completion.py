"""Shell completion: commands and options are completed in bash, quickly, and installed for the user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the program as `vsearch`, with a home of its own."""
    program = tmp_path / "bin" / "vsearch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "HOME": str(tmp_path), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


def bash(script: str, environment: dict[str, str]) -> str:
    command = ["bash", "--norc", "--noprofile", "-c", f"{script}\n:"]  # with one command only, bash would become it
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complete(*words: str) -> str:
    """Return the lines of bash that print what Tab offers after `words`, the last of which is not finished."""
    typed = " ".join(f"'{word}'" for word in words)
    return f'COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _vsearch_completion vsearch; echo "${{COMPREPLY[*]}}"'


def test_bash_completes_commands_and_options(environment: dict[str, str]) -> None:
    asked = [
        ("vsearch", "s"),
        ("vsearch", "prepare", ""),
        ("vsearch", "search", "--min"),
        ("vsearch", "search", "dog", "--exp"),
        ("vsearch", "prepare", "captions", "--si"),
    ]
    script = 'eval "$(vsearch --show-completion)"\n' + "\n".join(complete(*words) for words in asked)
    assert [line.split() for line in bash(script, environment).replace("\n\n", "\n \n").splitlines()] == [
        ["search", "similar", "serve"],
        ["words", "captions", "pairs", "labels", "scenes", "classifier", "distil", "features"],
        ["--min-score"],
        [],
        ["--side"],
    ]


def test_completion_is_installed_for_the_user(environment: dict[str, str]) -> None:
    home = Path(environment["HOME"])
    bash("vsearch --install-completion", environment)
    script = home / ".bash_completions" / "vsearch.sh"
    assert "_VSEARCH_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (home / ".bashrc").read_text()


@pytest.mark.parametrize("words", ["vsearch ", "vsearch search --", "vsearch train --", "vsearch evaluate captions --"])
def test_completing_imports_nothing_slow(words: str) -> None:
    given = {"_VSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    command = [sys.executable, "-X", "importtime", str(ROOT / "cli.py")]
    done = subprocess.run(
        command, env={**os.environ, **given}, capture_output=True, text=True, check=False, timeout=120
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines[1:]}
    assert done.stdout.strip(), done.stderr
    assert "typer" in imported
    assert not imported & {"torch", "pydantic", "rich", "jinja2", "matplotlib", "numpy", "PIL", "h5py", "nltk"}
