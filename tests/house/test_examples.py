"""The examples of the documents run as they are written, by the bundled model, on a few pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tests.support.examples import blocks, shell_calls
from tests.support.pictures import draw, draw_folder

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")
RUN = ("README.md", "docs/tutorial/first-library.md", "docs/how-to/similar-and-duplicates.md", "docs/how-to/cron.md")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in and a home, with the pictures that examples name."""
    home = tmp_path / "home"
    draw_folder(home / "Pictures" / "2024", 2)
    draw_folder(home / "Pictures", 2, first=2)
    work = tmp_path / "work"
    (work / "demo" / "photos").mkdir(parents=True)
    for number, name in enumerate(("dog.jpg", "snow.jpg", *(f"demo/photos/{sample}" for sample in SAMPLES))):
        draw(10 + number, (96, 72)).save(work / name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(work)
    yield work
    shutil.rmtree(work)


@pytest.mark.parametrize("page", RUN)
def test_commands_of_the_page_run_as_written(page: str, place: Path) -> None:
    home = place.parent / "home"
    calls = shell_calls(blocks((ROOT / page).read_text("utf-8")), home)
    words = [call[1:] for call in calls if call[0] == "vsearch"]
    assert len(words) >= (10 if page == "README.md" else 1)
    if not any(call[0] == "build-index" for call in words):
        words.insert(0, ["build-index", "demo/photos", str(home / "Pictures"), "--no-captions"])
    for call in words:
        result = CliRunner().invoke(app, call)
        assert result.exit_code == 0, f"vsearch {' '.join(call)}: {result.output}"
