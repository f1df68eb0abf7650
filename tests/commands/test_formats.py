"""Videos on the command line: built, found, named, captioned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import tiny_model
from tests.support.commands import call
from tests.support.media import clip, dng
from vsearch.image.kinds import OPTIONAL, Kind

pytestmark = pytest.mark.skipif(
    not all(kind.readable() for kind in OPTIONAL), reason="needs the extras raw, jxl and video"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of 90 seconds and a raw photo, and next to it the library of it."""
    top = tmp_path_factory.mktemp("formats")
    (top / "photos").mkdir()
    clip(top / "photos" / "clip.mp4", 90, rate=2, gop=4)
    dng(top / "photos" / "a.dng")
    plain = call("build-index", top / "photos", *where(top))
    assert "left out 1 video: --video-every 10 takes a frame every ten seconds\n" in plain.stderr
    done = call("build-index", top / "photos", "--video-every", "40", *where(top))
    assert done.stdout.startswith("3 added, 1 unchanged in ") and not done.stderr
    return top


def where(top: Path) -> list[str]:
    return ["--library", str(top / "library"), "--model", str(tiny_model.model_folder())]


def test_hits_tell_when(built: Path) -> None:
    found = call("search", "dog", *where(built)).stdout
    shown = [line.split("photos/")[1] for line in found.splitlines() if "photos/" in line]
    assert sorted(shown) == ["a.dng", "clip.mp4 at 0:00", "clip.mp4 at 0:40", "clip.mp4 at 1:20"]
    rows = json.loads(call("search", "dog", "--json", *where(built)).stdout)
    assert {Path(row["path"]).name for row in rows} >= {"clip.mp4#t=0", "clip.mp4#t=40", "clip.mp4#t=80"}
    within = json.loads(call("search", "dog", "--json", "--in", built / "photos" / "clip.mp4", *where(built)).stdout)
    assert len(within) == 3


def test_paths_are_those_of_files_each_once(built: Path) -> None:
    files = sorted(str(built / "photos" / name) for name in ("a.dng", "clip.mp4"))
    assert sorted(call("search", "dog", "--paths", *where(built)).stdout.split()) == files
    assert sorted(call("search", "dog", "-0", *where(built)).stdout.rstrip("\0").split("\0")) == files


def test_a_moment_is_a_photo_for_every_command(built: Path, tmp_path: Path) -> None:
    moment = f"{built / 'photos' / 'clip.mp4'}#t=40"
    similar = json.loads(call("similar", moment, "--json", *where(built)).stdout)
    assert len(similar) == 3 and moment not in {row["path"] for row in similar}
    assert call("similar", f"{moment}.5", "--json", *where(built)).exit_code == 0
    assert call("caption", moment, *where(built)[2:]).exit_code == 0
    assert call("search", "--image", moment, *where(built)).exit_code == 0
    page = tmp_path / "page.html"
    assert call("search", "dog", "--html", page, *where(built)).exit_code == 0
    assert "clip.mp4#t=40" in page.read_text() and "clip.mp4 at 0:40" in page.read_text()
    late = call("caption", moment.replace("=40", "=400"), *where(built)[2:])
    assert late.exit_code == 1 and "no frame there" in late.stderr


def test_without_the_extras_a_line_says_what_to_install(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model.draw_pictures(tmp_path / "photos")
    place = where(tmp_path)
    for name in ("a.mp4", "b.MOV", "c.nef", "d.jxl"):
        (tmp_path / "photos" / name).touch()
    monkeypatch.setattr(Kind, "readable", lambda kind: False)
    told = call("build-index", tmp_path / "photos", *place).stderr.splitlines()
    assert told == [
        "left out 2 videos: pip install 'vsearch-photos[video]', then --video-every 10 takes a frame every ten seconds",
        "left out 1 raw photo: pip install 'vsearch-photos[raw]'",
        "left out 1 JPEG XL picture: pip install 'vsearch-photos[jxl]'",
    ]
    told = call("build-index", tmp_path / "photos", "--video-every", "0", *place).stderr.splitlines()
    assert len(told) == 2 and "video" not in " ".join(told)


@pytest.mark.parametrize("wrong", ["-1", "0.01", "nan"])
def test_wrong_intervals(tmp_path: Path, wrong: str) -> None:
    done = call("build-index", tmp_path, "--video-every", wrong, "--library", tmp_path / "library")
    assert done.exit_code in (1, 2) and "every" in done.stderr
