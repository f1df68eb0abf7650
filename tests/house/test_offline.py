"""What a user does opens no socket, and what it keeps is for its owner only."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import call
from tests.support.tiny_model import draw_pictures, model_folder


class Refused(Exception):
    """A socket was asked for."""


class OnlyUnix(socket.socket):
    """A socket that reaches nobody but a process of this machine, by a file."""

    def __init__(self, family: int = -1, *args: Any, **named: Any) -> None:
        if family != socket.AF_UNIX and named.get("fileno") is None:
            raise Refused(f"a socket of the family {family}")
        super().__init__(family, *args, **named)


def refuse(*args: Any, **_: Any) -> Any:
    raise Refused(f"a name was looked up: {args}")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", OnlyUnix)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home, where others may read what is made unless the program says no."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("VSEARCH_CONFIG")
    old = os.umask(0o022)
    yield home
    os.umask(old)


def test_the_guard_refuses(offline: None) -> None:
    with pytest.raises(Refused):
        socket.socket()
    with pytest.raises(Refused):
        socket.create_connection(("localhost", 1))
    socket.socket(socket.AF_UNIX).close()


def test_no_command_opens_a_socket_and_what_is_kept_is_private(offline: None, home: Path, tmp_path: Path) -> None:
    photos = draw_pictures(tmp_path / "photos")
    model, dog, page = ("--model", str(model_folder())), str(photos / "red.png"), str(tmp_path / "page.html")
    said = [
        call("build-index", photos, *model),
        call("search", "dog", *model, "--why", "--html", page),
        call("search", "--image", dog, *model, "--json"),
        call("search", "--text", "red", *model),
        call("similar", dog, *model),
        call("caption", dog, *model, "--heatmap", tmp_path / "heat.png"),
        call("caption", dog, *model, "--set", "a red barn"),
        call("label", dog, *model),
        call("translate", "hund", "--from", "de"),
        call("tag", dog, *model),
        call("duplicates"),
        call("check"),
        call("export", tmp_path / "v.npy"),
        call("info", *model),
        call("config"),
        call("reindex", *model),
        call("forget", photos),
    ]
    assert [(done.exit_code, done.output) for done in said if done.exit_code] == []
    made = {str(path.relative_to(home)): path.stat() for path in home.rglob("*")}
    assert ".local/share/vsearch/library.sqlite3" in made
    assert {name: oct(one.st_mode) for name, one in made.items() if stat.S_IMODE(one.st_mode) & 0o077} == {}
