"""Small pictures on a terminal: a real one (a pty) that answers as kitty, one with sixels, and an old one do."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("textual_image", reason="the extra [preview] is not installed")

from tests.support.commands import call
from tests.support.site import build
from tests.support.tiny_model import model_folder

ROOT = Path(__file__).resolve().parents[2]
SIXELS = {b"\x1b[c": b"\x1b[?62;4;22c"}
KITTY = {b"\x1b[c": b"\x1b[?62;22c", b"\x1b_G": b"\x1b_Gi=1;OK\x1b\\"}
OLD: dict[bytes, bytes] = {}  # says nothing
SMALL, KITTYS, HALF = b"\x1bP", "\U0010eeee".encode(), "▀".encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("preview")
    build(place, 3)
    return place


def options(place: Path) -> list[str]:
    return ["--library", str(place / "library"), "--model", str(model_folder()), "--device", "cpu"]


def on_terminal(answers: Mapping[bytes, bytes], *arguments: str, **environment: str) -> bytes:
    """What a command writes to a terminal that gives these answers to these questions, each once."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 1000, 480))  # rows, columns, pixels
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "TERM")}
    opened = 'exec "$@" <"$0" >"$0" 2>&1'  # the terminal that the leader of a session opens is its own
    with subprocess.Popen(
        ["sh", "-c", opened, os.ttyname(theirs), sys.executable, str(ROOT / "cli.py"), *arguments],
        stdin=subprocess.DEVNULL, start_new_session=True,
        env={**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "100", **environment},
    ) as process:  # fmt: skip
        seen, left, end = b"", dict(answers), time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.05)[0]:
                seen += os.read(ours, 65536)
                for question in [one for one in left if one in seen]:
                    os.write(ours, left.pop(question))
            elif process.poll() is not None:
                break
        assert process.wait(20) == 0, seen
    os.close(ours)
    os.close(theirs)
    return seen


def plain(seen: bytes) -> str:
    """The text among what was written: colours, pictures and moves left out."""
    text = re.sub(r"\x1b_.*?\x1b\\|\x1bP.*?\x1b\\|\x1b\[[0-9;?]*[A-Za-z]|\x1b[78]", "", seen.decode(), flags=re.DOTALL)
    return text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("answers", "shown"), [(SIXELS, SMALL), (KITTY, KITTYS), (OLD, HALF)], ids=["sixels", "kitty", "old"]
)
def test_search_shows_pictures_as_the_terminal_can(place: Path, answers: dict[bytes, bytes], shown: bytes) -> None:
    seen = on_terminal(answers, "search", "dog", "-k", "2", *options(place))
    assert shown in seen
    assert not [other for other in {SMALL, KITTYS, HALF} - {shown} if other in seen]
    lines = [line for line in plain(seen).splitlines() if re.match(r" *-?\d\.\d{3}  ", line)]
    assert lines == [
        line for line in call("search", "dog", "-k", "2", *options(place)).stdout.splitlines() if ".jpg" in line
    ]


def test_caption_and_similar_show_them_too(place: Path) -> None:
    photo = str(place / "photos" / "001.jpg")
    assert HALF in on_terminal(OLD, "caption", photo, "--model", str(model_folder()), "--device", "cpu")
    assert HALF in on_terminal(OLD, "similar", photo, *options(place))


@pytest.mark.parametrize(
    ("more", "environment"),
    [(["--no-preview"], {}), (["--json"], {}), ([], {"NO_COLOR": "1"})],
    ids=["no-preview", "json", "no colour"],
)
def test_nothing_is_asked_and_nothing_shown(place: Path, more: list[str], environment: dict[str, str]) -> None:
    seen = on_terminal(SIXELS, "search", "dog", "-k", "1", *more, *options(place), **environment)
    assert b"\x1b" not in seen and HALF not in seen and b".jpg" in seen


def test_a_photo_that_cannot_be_read_is_no_failure(place: Path, tmp_path: Path) -> None:
    """Gone, damaged, a pipe nobody writes into: no picture, and the hits as ever."""
    shutil.copytree(place, tmp_path / "copy")
    build(tmp_path / "own", 3)
    photos = sorted((tmp_path / "own" / "photos").iterdir())
    photos[0].unlink()
    photos[1].write_bytes(b"\xff\xd8\xff\xe0" + bytes(50))
    photos[2].unlink()
    os.mkfifo(photos[2])
    seen = on_terminal(OLD, "search", "dog", *options(tmp_path / "own"))
    assert HALF not in seen and all(photo.name.encode() in seen for photo in photos)


def test_off_a_terminal_nothing_is_imported(place: Path) -> None:
    code = "import sys, cli; sys.argv[0] = 'vsearch'\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += (
        "print([name for name in sys.modules if 'textual_image' in name or name == 'rich.console'], file=sys.stderr)"
    )
    arguments = ["search", "dog", *options(place)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.endswith("[]\n") and ".jpg" in done.stdout and "\x1b" not in done.stdout
