"""`vsearch build-index` and `vsearch info`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cli
from tests.support import tiny_model
from vsearch.storage.modelfolder import read_config

RUNNER = CliRunner()


def call(*arguments: str | os.PathLike[str]) -> Result:
    return RUNNER.invoke(cli.app, [os.fspath(a) for a in arguments])


def build(photos: Path, place: Path, *more: str) -> Result:
    return call("build-index", photos, "--library", place, "--model", tiny_model.model_folder(), *more)


def counts(result: Result) -> dict[str, int]:
    """{"added": 4, ...} of the summary line."""
    assert result.exit_code == 0, result.stderr
    return {
        name: int(n) for n, name in re.findall(r"(\d+) ([a-z]+)", result.stdout.splitlines()[0].partition(" in ")[0])
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny_model.draw_pictures(tmp_path / "photos")


def test_a_second_run_does_only_what_changed(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    assert counts(build(photos, place)) == {"added": 4}
    assert counts(build(photos, place)) == {"unchanged": 4}
    (photos / "red.png").unlink()
    (photos / "green.jpg").rename(photos / "lawn.jpg")
    Image.new("RGB", (40, 40), (9, 9, 9)).save(photos / "blue.webp")
    Image.new("RGB", (40, 40), (99, 9, 9)).save(photos / "new.png")
    changed = {"added": 1, "updated": 1, "moved": 1, "unchanged": 1, "removed": 1}
    assert counts(build(photos, place)) == changed
    assert counts(build(photos, place)) == {"unchanged": 4}


def test_a_run_with_nothing_to_do_does_not_load_the_network(photos: Path, tmp_path: Path) -> None:
    place, model = tmp_path / "library", tiny_model.model_folder()
    assert build(photos, place).exit_code == 0
    script = "import sys, cli\ntry: cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", script, "build-index", str(photos), "--library", str(place), "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tiny_model.ROOT, timeout=120)
    assert done.stdout.startswith("nothing changed, 4 unchanged in ")
    assert "index.build.build" in done.stderr.split()
    assert "torch" not in done.stderr.split()


def test_bad_files_are_listed_with_the_reason(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("no picture")
    (photos / "notes.txt").write_text("not looked at")
    whole = (photos / "green.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    done = build(photos, tmp_path / "library")
    assert counts(done)["skipped"] == 3
    assert counts(done)["added"] == 4
    assert len(done.stdout.splitlines()) == 1
    listed = dict(re.findall(r"^skipped (.+?): (.+)$", done.stderr, re.MULTILINE))
    assert {Path(p).name for p in listed} == {"empty.jpg", "text.png", "cut.jpg"}
    assert all(listed.values())
    assert str(photos) in done.stderr.splitlines()[0]


def test_no_captions(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    model = tiny_model.model_folder()
    assert counts(build(photos, place, "--no-captions"))["added"] == 4
    found = call("search", "dog", "--json", "--library", place, "--model", model)
    assert found.stdout.count('"caption": null') == 4
    assert counts(build(photos, place)) == {"captioned": 4}


def test_a_folder_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    done = build(tmp_path / "nowhere", tmp_path / "library")
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(r"error: .*nowhere.*; .+\n", done.stderr)


def test_results_go_to_stdout_and_progress_to_stderr(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = build(photos, tmp_path / "quick")
    assert quick.stderr == ""
    monkeypatch.setattr("vsearch.console.PATIENCE", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    slow = build(photos, tmp_path / "slow")
    assert "pictures" in slow.stderr
    assert "/s" in slow.stderr
    assert len(slow.stdout.splitlines()) == 1


def test_reindex_embeds_all_again(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    build(photos, place)
    assert counts(build(photos, place))["unchanged"] == 4
    assert counts(build(photos, place, "--reindex")) == {"added": 4}
    assert counts(build(photos, place))["unchanged"] == 4


def test_reindex_needs_no_folder_and_takes_another_model(photos: Path, tmp_path: Path) -> None:
    place, other = tmp_path / "library", tiny_model.model_folder(1)
    build(photos, place)
    refused = call("build-index", photos, "--library", place, "--model", other)
    assert refused.exit_code == 1
    command = refused.stderr.partition("re-index it: ")[2].split()
    assert command == ["vsearch", "reindex", "--library", str(place), "--model", str(other)]
    done = call(*command[1:], "--no-captions")
    assert counts(done) == {"added": 4}
    found = call("search", "dog", "--json", "--library", place, "--model", other)
    assert found.stdout.count('"caption": null') == 4


def test_reindex_of_nothing(tmp_path: Path) -> None:
    done = call("reindex", "--library", tmp_path / "library", "--model", tiny_model.model_folder())
    assert (done.exit_code, done.stdout) == (1, "")
    assert "vsearch build-index FOLDER" in done.stderr
    assert not (tmp_path / "library").exists()


def test_the_line_and_the_exit_code_tell_what_happened(photos: Path, tmp_path: Path) -> None:
    place, line = tmp_path / "library", r" in \d+\.\d s; {} pictures in " + re.escape(str(tmp_path / "library")) + "\n"
    (photos / "bad.jpg").write_text("no picture")
    assert re.fullmatch("4 added, 1 skipped" + line.format(4), build(photos, place).stdout)
    again = build(photos, place)
    assert again.exit_code == 0
    assert re.fullmatch("nothing changed, 4 unchanged, 1 skipped" + line.format(4), again.stdout)
    (photos / "red.png").unlink()
    partly = build(photos, place, str(tmp_path / "gone"))
    assert partly.exit_code == 3
    assert re.fullmatch("1 removed, 3 unchanged, 1 skipped, 1 unreadable" + line.format(3), partly.stdout)
    assert partly.stderr.splitlines()[1:] == [f"could not look into {tmp_path / 'gone'}: no such folder"]
    nothing = build(tmp_path / "gone", place)
    assert (nothing.exit_code, nothing.stdout) == (1, "")


@pytest.mark.parametrize("wrong", [[], ["x", "--batch", "0"], ["x", "--beam", "0"]])
def test_wrong_calls_exit_with_2(wrong: list[str]) -> None:
    done = call("build-index", *wrong)
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_device_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    done = build(photos, tmp_path / "library", "--device", "cuda:99")
    assert done.exit_code == 1
    assert "--device" in done.stderr


def test_what_is_left_out_is_remembered_shown_and_taken_back(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "library"
    assert counts(build(photos, place)) == {"added": 4}
    done = build(photos, place, "--exclude", "red.*", "--exclude", "*.webp")
    assert counts(done) == {"removed": 2, "unchanged": 2}
    assert done.stderr.startswith("2 removed pictures are still on disk, but left out now (--exclude, .nomedia, ")
    told = call("info", "--library", place, "--model", tiny_model.model_folder()).stdout
    assert re.findall(r"^left out +(.*)$", told, re.MULTILINE) == ["*.webp", "red.*"]
    assert counts(build(photos, place, "--no-exclude", "red.*")) == {"added": 1, "unchanged": 2}
    wrong = build(photos, place, "--no-exclude", "red.*")
    assert wrong.exit_code == 1
    assert wrong.stderr == "error: the library does not leave out red.*; what it leaves out: *.webp\n"
    assert build(photos, place, "--exclude", "!x").exit_code == 1
    far = call("build-index", photos, "--exclude", "x", "--store", tmp_path / "store")
    assert far.exit_code == 2 and "a store remembers no patterns" in far.stderr


def test_info_tells_library_model_device_and_versions(photos: Path, tmp_path: Path) -> None:
    place, model = tmp_path / "library", tiny_model.model_folder()
    empty = call("info", "--library", place, "--model", model, "--device", "cpu")
    assert empty.exit_code == 0
    assert "vsearch build-index" in empty.stdout
    build(photos, place)
    facts = dict(
        line.split(maxsplit=1) for line in call("info", "--library", place, "--model", model).stdout.splitlines()
    )
    assert "4 pictures" in facts["library"]
    assert read_config(model).identity[:12] in facts["model"]
    assert {"encoder", "words", "captions", "device", "vsearch", "python", "torch", "nmslib"} <= set(facts)


def test_info_tells_when_the_library_is_of_another_model(photos: Path, tmp_path: Path) -> None:
    place, other = tmp_path / "library", tiny_model.model_folder(1)
    build(photos, place)
    told = call("info", "--library", place, "--model", other)
    assert told.exit_code == 0, told.stderr
    (warning,) = re.findall(r"^warning .*", told.stdout, re.MULTILINE)
    assert "made by another model" in warning
    assert "vsearch reindex" in warning and f"--model {other}" in warning
    assert "warning" not in call("info", "--library", place, "--model", tiny_model.model_folder()).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("given", "expected"),
    [("~", "{home}"), ("~/my  photos", "{home}/my  photos"), ("it's  ~/x", "it's  ~/x"), ("demo/~", "demo/~")],
)
def test_the_demo_takes_any_folder_name(given: str, expected: str, tmp_path: Path) -> None:
    script = "include Makefile\nshow:\n\t@printf '%s' $(QUOTED)\n"
    command = ["make", "-s", "-f", "-", "show", f"PHOTOS={given}"]
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        command, input=script, capture_output=True, text=True, cwd=tiny_model.ROOT, env=env, timeout=60
    )
    assert (done.stdout, done.stderr) == (expected.format(home=tmp_path), "")


def test_text_in_pictures_is_read_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def read(self, photo: str) -> str:
            return f"hotel {Path(photo).stem}"

    photos = tiny_model.draw_pictures(tmp_path / "photos")
    at: list[str | os.PathLike[str]] = ["--library", tmp_path / "library", "--model", tiny_model.model_folder()]
    build = [*at, "--no-captions"]
    monkeypatch.setattr("vsearch.image.ocr.installed", lambda: False)
    refused = call("build-index", photos, "--ocr", *build)
    assert refused.exit_code == 1 and "[ocr]" in refused.stderr and not (tmp_path / "library").exists()
    monkeypatch.setattr("vsearch.image.ocr.installed", lambda: True)
    monkeypatch.setattr("vsearch.image.ocr.TextReader", Reader)
    done = call("build-index", photos, "--ocr", *build)
    assert "text read in 4 pictures in" in done.stdout and done.exit_code == 0, done.output
    found = call("search", "--text", "hotel red", *at)
    assert "in the picture: hotel red" in found.stdout
    (photos / "red.png").rename(photos / "moved.png")
    tiny_model.draw_pictures(tmp_path / "more")
    (tmp_path / "more" / "red.png").write_bytes((photos / "grey.bmp").read_bytes() + b"more")
    monkeypatch.setattr("vsearch.image.ocr.installed", lambda: False)
    again = call("build-index", photos, tmp_path / "more", *build)
    assert "text was not read in 1 picture: pip install" in again.stderr and again.exit_code == 0
    assert "not read" not in call("build-index", photos, "--no-ocr", *build).stderr
