"""The unit of systemd in the documents is one that systemd takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tiny_model import ROOT


def unit() -> str:
    """The unit as it is written, but for a program that is there."""
    (text,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs/how-to/watch.md").read_text("utf-8"), re.DOTALL)
    assert "ExecStart=%h/.local/bin/vsearch build-index %h/Pictures --watch\n" in text
    return str(text).replace("%h/.local/bin/vsearch", "/bin/true")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize(("more", "complaint"), [("", ""), ("Nicer=10\n", "Nicer")])
def test_systemd_takes_the_unit(tmp_path: Path, more: str, complaint: str) -> None:
    """And a line that it does not know is noticed."""
    path = tmp_path / "vsearch.service"
    path.write_text(unit().replace("[Service]\n", f"[Service]\n{more}"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", path],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert bool(said) == bool(complaint) and complaint in " ".join(said), done.stderr
    if not complaint:
        assert done.returncode == 0, done.stderr
