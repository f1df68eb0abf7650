"""Shell completion: commands, options, their values and files, in bash, zsh and fish, quickly, and installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELLS = {  # the file that --install-completion writes for each
    "bash": ".bash_completions/vsearch.sh",
    "zsh": ".zfunc/_vsearch",
    "fish": ".config/fish/completions/vsearch.fish",
}


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell}")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the program as `vsearch`, with a home of its own."""
    program = tmp_path / "bin" / "vsearch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "HOME": str(tmp_path), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


def run(shell: str, script: str, environment: dict[str, str], place: Path | None = None) -> str:
    options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = [shell, *options, "-c", f"{script}\n:"]  # with one command only, a shell would become it
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complete(*words: str) -> str:
    """Return the lines of bash that print what Tab offers after `words`, the last of which is not finished."""
    typed = " ".join(f"'{word}'" for word in words)
    return f'COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _vsearch_completion vsearch; echo "${{COMPREPLY[*]}}"'


@needs("bash")
def test_bash_completes_commands_and_options(environment: dict[str, str]) -> None:
    asked = [
        ("vsearch", "s"),
        ("vsearch", "prepare", ""),
        ("vsearch", "search", "--min"),
        ("vsearch", "search", "dog", "--exp"),
        ("vsearch", "prepare", "captions", "--si"),
        ("vsearch", "search", "--sort", "t"),
        ("vsearch", "search", "--library", "pho"),
    ]
    script = 'eval "$(vsearch --show-completion)"\n' + "\n".join(complete(*words) for words in asked)
    told = run("bash", f"{script}\ncomplete -p vsearch", environment)
    *lines, how = told.replace("\n\n", "\n \n").replace("\n\n", "\n \n").splitlines()
    assert "-o default" in how  # where nothing is offered, bash completes files
    assert [line.split() for line in lines] == [
        ["search", "similar", "serve"],
        ["words", "captions", "pairs", "labels", "scenes", "classifier", "distil", "features"],
        ["--min-score"],
        [],
        ["--side"],
        ["taken"],
        [],
    ]


@needs("fish")
def test_fish_completes_commands_options_values_and_files(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "photos.library").touch()
    asked = ["vsearch dupl", "vsearch search --min", "vsearch search --sort t", "vsearch search --library pho"]
    script = "vsearch --show-completion | source\n" + "\n".join(f"complete -C '{line}'" for line in asked)
    told = run("fish", script, environment, tmp_path)
    offered = [line.partition("\t")[0] for line in told.splitlines()]
    assert offered == ["duplicates", "--min-score", "taken", "photos.library"]


@pytest.mark.parametrize(
    "line, said",
    [
        ("vsearch dupl", '"duplicates":"'),
        ("vsearch search --min", '"--min-score":"'),
        ("vsearch search --sort t", '"taken"'),
        ("vsearch search --library pho", "_files"),  # zsh itself completes files then
    ],
)
def test_zsh_is_told_what_it_asks_for(line: str, said: str, environment: dict[str, str]) -> None:
    """What its script evaluates; a test cannot press Tab there."""
    asked = {"_VSEARCH_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    command = [sys.executable, str(ROOT / "cli.py")]
    done = subprocess.run(
        command, env={**environment, **asked}, capture_output=True, text=True, check=True, timeout=120
    )
    assert said in done.stdout


@needs("zsh")
def test_zsh_takes_the_script(environment: dict[str, str]) -> None:
    script = 'autoload -Uz compinit; compinit -u -D\neval "$(vsearch --show-completion)"\nprint -r -- $_comps[vsearch]'
    assert run("zsh", script, environment) == "_vsearch_completion\n"


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in SHELLS])
def test_completion_is_installed_for_the_user(shell: str, environment: dict[str, str]) -> None:
    home = Path(environment["HOME"])
    run(shell, "vsearch --install-completion", environment)
    script = home / SHELLS[shell]
    assert f"_VSEARCH_COMPLETE=complete_{shell}" in script.read_text()
    if shell == "bash":
        assert str(script) in (home / ".bashrc").read_text()
    elif shell == "zsh":
        assert "fpath+=~/.zfunc" in (home / ".zshrc").read_text()


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
