"""`vsearch export-onnx` on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
import training.assemble.onnx
from tests.support.tiny_model import model_folder
from training.assemble.onnx import Exported


def test_it_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, Path]] = []
    answers = iter([Exported(240, 0.99773, 0.98391, 0.97, None), Exported(1000, 0.998, 0.99, 0.96, (47.42, 47.31))])

    def fake(folder: Path, photos: Path) -> Exported:
        asked.append((folder, photos))
        return next(answers)

    monkeypatch.setattr(training.assemble.onnx, "export_onnx", fake)
    monkeypatch.chdir(tmp_path)
    for photos in ("photos", "captions.h5"):
        done = CliRunner().invoke(cli.app, ["export-onnx", "my-model", "--photos", photos])
        assert done.exit_code == 0
        last = done.stdout
        if photos == "photos":
            said = "0.9977 in the mean, 0.9839 for 99 %, 0.9700 at least, of 240 photos"
            assert last == f"my-model: cosines to the model's own vectors {said}\n"
    assert last.endswith("of 1000 photos, mean recall 47.3 (47.4 by torch)\n")
    assert asked == [(Path("my-model"), Path("photos")), (Path("my-model"), Path("captions.h5"))]


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["export-onnx", os.fspath(model_folder()), "--photos", os.fspath(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ") and "too few photos" in done.stderr and done.stderr.count("\n") == 1
