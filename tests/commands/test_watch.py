"""`vsearch build-index --watch`, in a process of its own, for it is ended by signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tiny_model
from tests.support.commands import call, interruptible
from tests.support.pictures import draw

Process = subprocess.Popen[str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny_model.draw_pictures(tmp_path / "photos")


def where(photos: Path) -> list[str]:
    return ["--library", str(photos.parent / "library"), "--model", str(tiny_model.model_folder())]


@pytest.fixture
def watching(photos: Path) -> Iterator[Process]:
    """A watch of the photos whose first build is done."""
    pytest.importorskip("watchfiles", reason="needs the extra watch")
    command = [sys.executable, str(tiny_model.ROOT / "cli.py"), "build-index", str(photos), "--watch", *where(photos)]
    with interruptible(command) as process:
        assert process.stdout is not None and process.stderr is not None
        assert re.match(r"4 added in .* 4 pictures in ", process.stdout.readline())
        assert process.stderr.readline() == "watching 1 folder; Ctrl-C ends it\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "code", "last"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "interrupted\n")])
def test_a_new_photo_is_found_and_the_process_ends(
    watching: Process, photos: Path, number: int, code: int, last: str
) -> None:
    draw(7).save(photos / "new.png")
    assert watching.stderr is not None
    assert re.fullmatch(r"1 added in \d+\.\d s; 5 pictures\n", watching.stderr.readline())
    found = call("search", "dog", "--json", *where(photos))
    assert os.fspath(photos / "new.png") in {row["path"] for row in json.loads(found.stdout)}
    watching.send_signal(number)
    assert watching.wait(timeout=20) == code
    assert watching.stderr.read() == last


def test_options_that_do_not_go_together(photos: Path) -> None:
    for wrong in (
        [],
        [str(photos), "--poll", "5"],
        ["--watch", "--poll", "0"],
        ["--watch", "--poll", "nan"],
        ["--watch", "--reindex"],
        ["--watch", str(photos), "--store", "x"],
    ):
        assert call("build-index", *wrong).exit_code == 2, wrong


def test_without_the_extra_an_error_says_what_to_install(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    done = call("build-index", photos, "--watch", *where(photos))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: watching folders needs watchfiles; ")
    assert "pip install 'vsearch-photos[watch]'" in done.stderr and "--poll" in done.stderr


def test_no_folder_means_those_of_the_library(photos: Path) -> None:
    done = call("build-index", "--watch", "--poll", "1", *where(photos))
    assert done.exit_code == 1 and "no library" in done.stderr
