"""config.toml: what it may say, and what is said of what it may not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vsearch.errors import ConfigError
from vsearch.settings import KEYS, read_settings, settings_path

WHOLE: dict[str, tuple[str, Any]] = {
    "library": ('"photos.library"', "photos.library"),
    "model": ('"/models/my"', "/models/my"),
    "device": ('"cuda:1"', "cuda:1"),
    "count": ("20", 20),
    "min_score": ("0.25", 0.25),
    "batch": ("16", 16),
    "beam": ("3", 3),
    "captions": ("false", False),
    "follow_links": ("true", True),
    "video_every": ("0", 0),
    "exclude": ('["raw/", "*.tmp.jpg"]', ["raw/", "*.tmp.jpg"]),
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("VSEARCH_CONFIG", str(path))
    return path


def test_every_key(file: Path) -> None:
    file.write_text("".join(f"{key} = {text}\n" for key, (text, _) in WHOLE.items()))
    wanted = {key: value for key, (_, value) in WHOLE.items()}
    assert set(wanted) == set(KEYS)
    assert read_settings() == {**wanted, "library": str(file.parent / "photos.library")}


def test_the_users_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file.write_text('library = "~/x/photos.library"\n')
    assert read_settings() == {"library": "/home/me/x/photos.library"}


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VSEARCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = settings_path()
    assert path is not None and path.parts[-2:] == ("vsearch", "config.toml")
    if sys.platform == "linux":
        assert path == tmp_path / "vsearch" / "config.toml"
        assert read_settings() == {}  # no file is no error there
    monkeypatch.setenv("VSEARCH_CONFIG", "")
    assert settings_path() is None and read_settings() == {}


@pytest.mark.parametrize(
    "text, said, hint",
    [
        ('librry = "x"', "unknown key 'librry'", "did you mean library?"),
        ("follow-links = true", "unknown key 'follow-links'", "did you mean follow_links?"),
        ("zzz = 1", "unknown key 'zzz'", "the keys are library, model,"),
        ("[search]\ncount = 3", "unknown key 'search'", "the keys are"),
        ("library = 3", "library takes a path, not 3", "correct"),
        ('library = ""', "library takes a path, not ''", "correct"),
        ("count = 0", "count takes a whole number of at least 1, not 0", "correct"),
        ("count = true", "count takes a whole number of at least 1, not True", "correct"),
        ("beam = 1000", "beam takes a whole number from 1 to 100, not 1000", "correct"),
        ("min_score = nan", "min_score takes a number, not nan", "correct"),
        ('captions = "no"', "captions takes true or false, not 'no'", "correct"),
        ('exclude = "raw/"', "exclude takes a list of patterns, not 'raw/'", "correct"),
        ("exclude = [1]", "exclude takes a list of patterns, not [1]", "correct"),
        ("video_every = -1", "video_every takes a number of seconds, 0 for none, not -1", "correct"),
        ("device = 2024-05-01", "device takes the name of a device, not datetime.date", "correct"),
        ("library", "is no TOML", "write it as in"),
        ("x = " + "[" * 5000, "is no TOML", "write it as in"),
    ],
)
def test_what_it_may_not_say(file: Path, text: str, said: str, hint: str) -> None:
    file.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert str(file) in str(caught.value) and said in str(caught.value) and hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file") as caught:
        read_settings()  # it was named, so it should be there
    assert "VSEARCH_CONFIG" in caught.value.hint
    file.write_bytes(b"device = '\xff'")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_settings()
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        read_settings()
