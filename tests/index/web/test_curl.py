"""The examples of docs/how-to/serve.md run as they are written, by curl against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import blocks
from tests.support.site import KEY, build, make_service, running
from tests.support.tiny_model import ROOT

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
LINES = [
    line
    for block in blocks((ROOT / "docs/how-to/serve.md").read_text("utf-8"))
    for line in block.splitlines()
    if line.startswith("curl ")
]


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    photos = build(tmp_path, 4)
    shutil.copy(photos[2], tmp_path / "dog.jpg")
    answers: list[Any] = []
    assert len(LINES) >= 5
    with running(make_service(tmp_path)) as server:
        for line in LINES:
            done = subprocess.run(
                ["bash", "-c", line.replace("127.0.0.1:8765", f"127.0.0.1:{server.port}")],
                env={"KEY": KEY, "PATH": "/usr/bin:/bin"},
                cwd=tmp_path,
                capture_output=True,
                check=True,
                timeout=60,
            )
            answers.append(json.loads(done.stdout) if done.stdout else None)
    words, sent, similar, where, thumbnail = answers
    assert len(words["hits"]) == 4 and words["terms"][1] == {"word": "sail", "kind": "word", "weight": -1.0}
    assert len(sent["hits"]) == 4 and [term["kind"] for term in sent["terms"]] == ["word", "picture"]
    assert len(similar["hits"]) == 3
    assert sum(where["cells"]) == pytest.approx(where["sum"], abs=1e-5)
    assert thumbnail is None and (tmp_path / "thumbnail.jpg").read_bytes()[:2] == b"\xff\xd8"
