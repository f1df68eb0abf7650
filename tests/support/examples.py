"""The examples of documents: shell commands as a shell takes them apart, and Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

Calls = list[list[str]]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# With no program on its path, bash hands every command to this function, which writes its words down: in one write,
# for the two sides of a pipe run at the same time.
RECORD = r"""
command_not_found_handle() { local record; printf -v record '%s\037' "$@"; printf '%s\036' "$record" >> "$CALLS"; }
PATH=/nonexistent
"""


def blocks(text: str) -> list[str]:
    """The shell commands in the fenced blocks of a page, a text for each block: `sh`, and `console` after its `$`."""
    found = []
    for language, body in FENCE.findall(text):
        if language == "sh":
            found.append(body)
        elif language == "console":
            found.append("\n".join(line[2:] for line in body.splitlines() if line.startswith("$ ")))
    return found


def python_blocks(text: str) -> list[str]:
    """The Python in the fenced blocks of a page."""
    return [body for language, body in FENCE.findall(text) if language == "python"]


def shell_calls(scripts: Iterable[str], home: Path | None = None) -> Calls:
    """The programs that scripts would call, each as its words: quotes, variables and pipes are bash's business.

    No program runs. `home` is what `~` stands for.
    """
    bash = shutil.which("bash")
    assert bash, "these tests need bash"
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        calls.touch()
        script = RECORD + "\n".join(scripts)
        environment = {"CALLS": str(calls), "HOME": str(home or folder)}
        done = subprocess.run(
            [bash, "--norc", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert "syntax error" not in done.stderr and "unexpected EOF" not in done.stderr, done.stderr
        records = calls.read_text("utf-8").split("\036")[:-1]
    return [record.split("\037")[:-1] for record in records]
