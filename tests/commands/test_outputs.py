"""No output replaces an input, the library, or a file that the same command did not make; `--force` allows the last."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import tiny_model
from tests.support.commands import call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("made")
    tiny_model.draw_pictures(top / "photos")
    model = tiny_model.model_folder()
    assert call("build-index", top / "photos", "--library", top / "lib.npy", "--model", model).exit_code == 0
    return top


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """Photos and a library of them, whose name is also that of an export."""
    shutil.copytree(made / "photos", tmp_path / "photos")
    for file in made.glob("lib.npy*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


WRITERS = {
    "heatmap": lambda home, file: ["caption", home / "photos" / "red.png", "--heatmap", file, *MODEL()],
    "page": lambda home, file: ["search", "dog", "--html", file, "--library", home / "lib.npy", *MODEL()],
    "page of a picture": lambda home, file: [
        "search", "--image", home / "photos" / "red.png", "--html", file, "--library", home / "lib.npy", *MODEL(),
    ],
    "similar": lambda home, file: [
        "similar", home / "photos" / "red.png", "--html", file, "--library", home / "lib.npy", *MODEL(),
    ],
    "array": lambda home, file: ["export", file, "--library", home / "lib.npy"],
    "lines": lambda home, file: ["export", file, "--library", home / "lib.npy"],
    "parquet": lambda home, file: ["export", file, "--library", home / "lib.npy"],
    "curves": lambda home, file: ["plots", log(home), "--output", file],
}  # fmt: skip
PYARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="the extra `parquet` is not installed")
KINDS = [pytest.param(kind, marks=PYARROW) if kind == "parquet" else kind for kind in WRITERS]
NAMES = {"heatmap": "map.png", "array": "new.npy", "lines": "new.jsonl", "parquet": "new.parquet", "curves": "c.png"}


def MODEL() -> list[str]:
    return ["--model", os.fspath(tiny_model.model_folder()), "--device", "cpu"]


def log(home: Path) -> Path:
    run = home / "run"
    run.mkdir(exist_ok=True)
    lines = [{"epoch": n, "train_loss": 1.0 / (n + 1)} for n in range(3)]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_somebody_else_stays_unless_forced(home: Path, kind: str) -> None:
    file = home / NAMES.get(kind, "page.html")
    write = WRITERS[kind](home, file)
    file.write_bytes(b"my diary")
    refused = call(*write)
    assert refused.exit_code == 1 and "was not made by this command" in refused.stderr, refused.stderr
    assert "--force" in refused.stderr and file.read_bytes() == b"my diary"
    assert call(*write, "--force").exit_code == 0
    assert file.read_bytes() != b"my diary"
    again = call(*write)  # what it made it may replace
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_and_a_new_one_are_written(home: Path, kind: str) -> None:
    file = home / NAMES.get(kind, "page.html")
    file.touch()
    assert call(*WRITERS[kind](home, file)).exit_code == 0
    assert file.stat().st_size


def test_photos_of_others_are_no_drawings(home: Path) -> None:
    photo = home / "photos" / "green.jpg"
    before = photo.read_bytes()
    refused = call("caption", home / "photos" / "red.png", "--heatmap", photo, *MODEL())
    assert refused.exit_code == 1 and photo.read_bytes() == before


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("kind", ["heatmap", "page of a picture", "similar"])
def test_never_the_photo_that_is_read(home: Path, kind: str, force: list[str]) -> None:
    photo, link = home / "photos" / "red.png", home / "link.png"
    link.symlink_to(photo)
    hard = home / "hard.png"
    os.link(photo, hard)
    before = photo.read_bytes()
    for file in (photo, link, hard):
        refused = call(*WRITERS[kind](home, file), *force)
        assert refused.exit_code == 1 and "would replace" in refused.stderr, refused.stderr
        assert photo.read_bytes() == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_never_the_library_nor_what_belongs_to_it(home: Path, force: list[str]) -> None:
    library = home / "lib.npy"
    before = {file.name: file.read_bytes() for file in home.glob("lib.npy*")}
    assert "lib.npy.vectors" in before
    for name in ("lib.npy", "lib.npy.vectors", "lib.npy-wal", "lib.npy.graph"):
        refused = call(*WRITERS["page"](home, home / name), *force)
        assert refused.exit_code == 1 and "would replace" in refused.stderr, refused.stderr
    refused = call("export", library, "--library", library, *force)
    assert refused.exit_code == 1 and "would replace" in refused.stderr
    assert {name: (home / name).read_bytes() for name in before} == before


def test_never_a_picture_on_the_page(home: Path, made: Path) -> None:
    hit = made / "photos" / "blue.webp"
    before = hit.read_bytes()
    refused = call(*WRITERS["page"](home, hit), "--force")
    assert refused.exit_code == 1 and hit.read_bytes() == before


def test_rows_next_to_an_array_are_looked_at_too(home: Path) -> None:
    rows = home / "new.rows.jsonl"
    rows.write_text('{"mine": 1}\n')
    refused = call(*WRITERS["array"](home, home / "new.npy"))
    assert refused.exit_code == 1 and "new.rows.jsonl" in refused.stderr
    assert rows.read_text() == '{"mine": 1}\n' and not (home / "new.npy").exists()


def test_an_alignment_is_a_drawing(tmp_path: Path) -> None:
    import numpy as np

    from vsearch.drawing.alignment import draw_alignment
    from vsearch.drawing.mark import is_drawing

    for ending in ("png", "jpg", "webp"):
        file = tmp_path / f"alignment.{ending}"
        draw_alignment(["un", "chien"], ["a", "dog"], np.eye(2, dtype=np.float32), file)
        assert is_drawing(file)
    assert not is_drawing(tiny_model.draw_pictures(tmp_path) / "red.png")


def test_a_page_into_a_pipe(home: Path) -> None:
    """A pipe that somebody reads from takes the page; one without a reader is an error, at once."""
    pipe = home / "pipe"
    os.mkfifo(pipe)
    refused = tiny_model.run(*WRITERS["page"](home, pipe))
    assert refused.returncode == 1 and b"cannot write the page" in refused.stderr
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert tiny_model.run(*WRITERS["page"](home, pipe)).returncode == 0
        assert reader.stdout is not None and b"</html>" in reader.stdout.read()
