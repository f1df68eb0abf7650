"""The shell completes commands, members of groups, and options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "line, completed",
    [
        ("vsearch dup", {"duplicates"}),
        ("vsearch e", {"export", "export-onnx", "evaluate"}),
        ("vsearch prepare ca", {"captions"}),
        ("vsearch search --cap", {"--caption-weight"}),
    ],
)
def test_bash_completes(line: str, completed: set[str]) -> None:
    asked = {"_VSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    command = [sys.executable, str(ROOT / "cli.py")]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) == completed
