"""What a search by words imports in a new process: nothing that is slow, so that it answers at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.filled import draw, fill
from tests.support.tiny_model import int8_folder
from vsearch.storage.modelfolder import bundled, read_config

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"torch", "torchvision", "pydantic", "rich", "jinja2", "matplotlib", "h5py", "nltk", "safetensors", "PIL"}
SLOW |= {"fastapi", "starlette", "uvicorn", "onnxruntime"}


def imported(*arguments: str | os.PathLike[str]) -> tuple[set[str], str]:
    """Run `python cli.py` in a new process; return the modules it imported, by full name, and its stdout."""
    command = [sys.executable, "-X", "importtime", ROOT / "cli.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}, done.stdout


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the bundled model with ten rows."""
    place = tmp_path_factory.mktemp("cold") / "library"
    config = read_config(bundled())
    assert config.devise is not None
    dim = config.devise.dim
    fill(place, draw(10, dim, clusters=2, noise=1.0, spread=dim), config.identity, dim)
    return place


def test_a_search_imports_nothing_slow(library: Path) -> None:
    modules, out = imported("search", "dog", "--library", library)
    assert out.count("\n") >= 10
    assert {"numpy", "typer", "fasttext", "sqlite3", "index", "vsearch"} <= tops(modules)
    assert not tops(modules) & SLOW


def test_a_page_of_results_needs_no_torch(library: Path, tmp_path: Path) -> None:
    modules, _ = imported("search", "dog", "--library", library, "--why", "--html", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert not tops(modules) & (SLOW - {"jinja2", "PIL"})


@pytest.mark.parametrize("command", ["search", "build-index", "serve", "caption", "train", "prepare"])
def test_help_imports_nothing_slow(command: str) -> None:
    modules, out = imported(command, "--help")
    assert "Example:" in out
    assert not tops(modules) & SLOW


def test_the_scanner_sees_an_import(tmp_path: Path) -> None:
    modules, _ = imported("info", "--library", tmp_path / "none")
    assert "onnxruntime" in tops(modules)


def test_a_model_in_python_embeds_without_torch() -> None:
    code = (
        "import sys, numpy, vsearch; model = vsearch.load(sys.argv[1], 'cpu');"
        "vectors = model.embed_images([numpy.zeros((9, 9, 3), numpy.uint8)] * 2);"
        "print(vectors.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, int8_folder()], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 12) False\n"
