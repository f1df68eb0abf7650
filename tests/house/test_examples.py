"""The examples of the documents run as they are written, by the bundled model, on a few pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from tests.support.examples import blocks, python_blocks, shell_calls
from tests.support.pictures import draw, draw_folder

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")
PYTHON = ("README.md", "docs/explanation/design.md", "docs/how-to/config.md", "docs/how-to/formats.md",
          "docs/how-to/libraries.md", "docs/how-to/python.md")  # fmt: skip
ENDLESS = {"docs/how-to/watch.md"}  # its loop ends with the program; tests/index/build/test_watch.py runs such a one
RUN = ("README.md", "docs/tutorial/first-library.md", "docs/how-to/similar-and-duplicates.md", "docs/how-to/cron.md")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in and a home, with the pictures that examples name."""
    home = tmp_path / "home"
    draw_folder(home / "Pictures" / "2024", 2)
    draw_folder(home / "Pictures", 2, first=2)
    draw_folder(home / "Videos", 1)
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


@pytest.mark.parametrize("page", PYTHON)
def test_python_of_the_page_runs_as_written(page: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks of a page, one after the other; those of libraries.md read what its last commands have exported."""
    programs = python_blocks((ROOT / page).read_text("utf-8"))
    assert programs
    if page.endswith(("libraries.md", "config.md")):
        for call in (["build-index", "demo/photos", "--no-captions"], ["export", "vectors.npy"]):
            assert CliRunner().invoke(app, call).exit_code == 0
    names: dict[str, object] = {"__name__": "__main__"}
    for program in programs:
        exec(compile(program, page, "exec"), names)
    assert capsys.readouterr().out.strip()


def test_the_program_of_readme_prints_hits(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [program] = python_blocks((ROOT / "README.md").read_text("utf-8"))
    exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    caption, *hits = capsys.readouterr().out.splitlines()
    assert caption == caption.lower() and len(caption.split()) > 2
    found = [hit.split(" ", 1) for hit in hits]
    assert {path for _, path in found} == {str(path) for path in (place.parent / "home/Pictures/2024").iterdir()}
    assert all(0 <= float(score) <= 1 for score, _ in found)


def test_every_page_with_python_is_run() -> None:
    pages = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]
    found = [page for page in pages if python_blocks((ROOT / page).read_text("utf-8"))]
    assert [page for page in found if page not in ENDLESS] == list(PYTHON)
    assert set(found) >= ENDLESS
