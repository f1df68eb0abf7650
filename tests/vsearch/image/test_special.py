"""Videos, raw photos and JPEG XL: the right picture, upright, and nothing worse than a PictureError."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.media import clip, dng
from vsearch.errors import PictureError
from vsearch.image import apart
from vsearch.image.apart import WORKER, Worker
from vsearch.image.decode import decode, decode_bytes
from vsearch.image.header import read_header
from vsearch.image.kinds import LONGEST, clock, moment_path, moments, split_moment
from vsearch.image.special import read_video_head

CORNERS = {"above on the left": (2, 2), "above on the right": (-3, 2), "below on the left": (2, -3)}


def corner(picture: Image.Image) -> str:
    """Which corner is red, the others being blue."""
    pixels = np.asarray(picture).astype(int)
    red = [name for name, (x, y) in CORNERS.items() if pixels[y, x, 0] > pixels[y, x, 2] + 100]
    return " ".join(red) or "below on the right"


def array(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture)


def preview(size: tuple[int, int] = (160, 120)) -> Image.Image:
    picture = Image.new("RGB", size, (10, 20, 200))
    picture.paste((250, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    return picture


# ---- names


def test_a_moment_is_a_path_and_back(tmp_path: Path) -> None:
    for seconds, name in [
        (0, "a.mp4#t=0"),
        (12.5, "a.mp4#t=12.5"),
        (10800.125, "a.mp4#t=10800.125"),
        (70, "a.mp4#t=70"),
    ]:
        assert moment_path("a.mp4", seconds) == name
        assert split_moment(name) == ("a.mp4", seconds)
    for name in ("a.jpg#t=1", "a.mp4", "a.mp4#t=", "a.mp4#t=1x", "a.mp4#t=-1", "#t=1", ".mp4#t=1", "a.mp4#t=1.2345"):
        assert split_moment(name) == (name, None)
    real = tmp_path / "a.MOV#t=3"
    assert split_moment(real) == (str(tmp_path / "a.MOV"), 3)
    real.touch()
    assert split_moment(real) == (str(real), None)
    assert [clock(seconds) for seconds in (0, 12.9, 75, 3723)] == ["0:00", "0:12", "1:15", "1:02:03"]


def test_a_long_video_gives_a_bounded_number_of_frames() -> None:
    assert list(moments(25, 10)) == [0, 10, 20]
    assert list(moments(20, 10)) == [0, 10]
    assert list(moments(0, 10)) == [0]
    three_hours = list(moments(3 * 3600, 10))
    assert (len(three_hours), three_hours[-1]) == (1080, 10790)
    for length in (1e5, 1e9):
        found = list(moments(length, 0.5))
        assert LONGEST / 2 <= len(found) <= LONGEST
        assert found[-1] < length <= found[-1] + 2 * (found[1] - found[0])


# ---- videos


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="needs the extra video")
    return clip(tmp_path_factory.mktemp("video") / "clip.mp4", creation_time="2024-05-06T07:08:09Z")


@pytest.mark.parametrize("seconds", [0, 1.3, 4, 5.9])
def test_the_frame_of_a_moment(video: Path, seconds: float) -> None:
    picture = decode(moment_path(str(video), seconds))
    assert picture.size == (96, 64)
    red, green, _ = np.asarray(picture)[5, 5].tolist()
    assert red == pytest.approx(250 * seconds / 6, abs=14)
    assert green > 150 > np.asarray(picture)[-5, 5, 1]


def test_the_head_of_a_video(video: Path) -> None:
    head = read_video_head(video)
    assert head.length == pytest.approx(6, abs=0.2)
    assert head.taken is not None and head.taken.year == 2024
    assert np.array_equal(array(decode(video)), array(decode(moment_path(str(video), 0))))


@pytest.mark.parametrize(("turn", "size"), [(90, (64, 96)), (-90, (64, 96)), (180, (96, 64))])
def test_a_video_is_turned_upright(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    picture = decode(clip(tmp_path / "a.mp4", 1, turn=turn))
    assert picture.size == size
    green = {90: (2, 50), -90: (-3, 50), 180: (50, -3)}[turn]
    assert np.asarray(picture)[green[1], green[0], 1] > 150


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mpg", "a.mts", os.fsdecode(b"\xff.mp4")])
def test_other_containers_and_names(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    codec = "mpeg2video" if name.endswith(("mpg", "mts")) else "mpeg4"
    try:
        made = clip(tmp_path / f"a{Path(name).suffix.replace('.mts', '.ts')}", codec=codec, rate=25)
    except ValueError:
        pytest.skip("this PyAV writes no such file")
    made.rename(tmp_path / name)
    red = int(array(decode(moment_path(str(tmp_path / name), 4)))[5, 5, 0])
    assert red == pytest.approx(250 * 4 / 6, abs=45)


def test_what_is_no_video_is_refused(tmp_path: Path, video: Path) -> None:
    whole = video.read_bytes()
    playlist = f"#EXTM3U\n#EXTINF:1,\n{video}\n"
    for name, data in {
        "text": b"no video",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "list": playlist.encode(),
    }.items():
        (tmp_path / f"{name}.mp4").write_bytes(data)
        with pytest.raises(PictureError):
            decode(moment_path(str(tmp_path / f"{name}.mp4"), 0))
    for path in (tmp_path / "none.mp4", moment_path(str(video), 30)):
        with pytest.raises(PictureError, match="no such file|no frame there"):
            decode(path)
    with pytest.raises(PictureError, match="too large"):
        decode(video, max_pixels=1000)


# ---- raw photos


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("orientation", "expected"), [(1, "above on the left"), (6, "above on the right"), (3, "")])
def test_the_preview_of_a_raw_photo_is_turned_once(
    tmp_path: Path, orientation: int, expected: str, turned: bool
) -> None:
    pytest.importorskip("rawpy", reason="needs the extra raw")
    shown = preview()
    if turned and orientation == 6:  # by the camera, before it wrote it
        shown = shown.transpose(Image.Transpose.ROTATE_270)
    picture = decode(dng(tmp_path / "a.dng", preview=shown, orientation=orientation), at_least=90)
    assert picture.size == ((120, 160) if orientation == 6 else (160, 120))
    assert corner(picture) == (expected or "below on the right")


def test_a_preview_that_is_too_small_is_not_taken(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra raw")
    path = dng(tmp_path / "a.dng", preview=preview((80, 60)))
    assert decode(path, at_least=60).size == (80, 60)
    assert decode(path, at_least=90).size == (128, 96)  # half the sensor's
    assert decode(path, at_least=150).size == (256, 192)
    assert decode(path).size == (128, 96)
    turned = decode(dng(tmp_path / "b.dng", orientation=6))
    assert turned.size == (96, 128)
    assert np.asarray(turned)[3, -3].min() == 255  # the white corner
    assert np.asarray(turned)[3, 3].min() < 100


def test_a_damaged_raw_photo_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra raw")
    whole = dng(tmp_path / "a.dng", preview=preview()).read_bytes()
    for data in (b"", b"no raw photo", whole[:200], whole[:40] + b"\xff" * 200 + whole[240:]):
        (tmp_path / "b.nef").write_bytes(data)
        with pytest.raises(PictureError):
            decode(tmp_path / "b.nef", at_least=90)
    with pytest.raises(PictureError, match="too large"):
        decode(tmp_path / "a.dng", max_pixels=1000)


# ---- JPEG XL


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.asarray(preview((60, 40)))


def test_jpeg_xl(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    codec = pytest.importorskip("imagecodecs", reason="needs the extra jxl")
    for container in (False, True):
        data = codec.jpegxl_encode(pixels, lossless=True, usecontainer=container)
        (tmp_path / "a.jxl").write_bytes(data)
        assert np.array_equal(array(decode(tmp_path / "a.jxl")), pixels)
        assert np.array_equal(array(decode_bytes(data)), pixels)
        with pytest.raises(PictureError, match=r"too large \(60 x 40"):
            decode_bytes(data, max_pixels=1000)
        with pytest.raises(PictureError):
            decode_bytes(data[: len(data) // 2])
    grey = codec.jpegxl_encode(pixels[..., 0].astype(np.uint16) * 257, lossless=True)
    assert np.array_equal(array(decode_bytes(grey)), np.repeat(pixels[..., :1], 3, 2))
    glass = np.dstack([pixels, np.full((40, 60), 0, np.uint8)])
    assert np.asarray(decode_bytes(codec.jpegxl_encode(glass, lossless=True))).min() == 255


def test_jpeg_xl_made_of_a_jpeg_is_turned_once(pixels: NDArray[np.uint8]) -> None:
    codec = pytest.importorskip("imagecodecs", reason="needs the extra jxl")
    exif, jpeg = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(jpeg, "JPEG", exif=exif, quality=95)
    picture = decode_bytes(codec.jpegxl_encode_jpeg(jpeg.getvalue()))
    assert (picture.size, corner(picture)) == ((40, 60), "above on the right")


# ---- the process that decodes


def test_a_crash_costs_one_file(tmp_path: Path) -> None:
    script = "import os, sys; line = sys.stdin.readline(); {}"
    crash = Worker((sys.executable, "-c", script.format("os.kill(os.getpid(), 11)")))
    with pytest.raises(PictureError, match="crashed: SIGSEGV"):
        crash.ask("raw", tmp_path / "a.dng")
    quiet = Worker((sys.executable, "-c", "import sys; sys.exit(3)"))
    with pytest.raises(PictureError, match="crashed: exit code 3"):
        quiet.ask("raw", tmp_path / "a.dng")


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE", 0.2)
    endless = Worker((sys.executable, "-c", "import time; time.sleep(60)"))
    begun = time.monotonic()
    with pytest.raises(PictureError, match="too long"):
        endless.ask("raw", tmp_path / "a.dng")
    assert time.monotonic() - begun < 10
    assert endless._process is None


def test_the_worker_is_started_again(video: Path) -> None:
    first = array(decode(video))
    WORKER.close()
    assert np.array_equal(array(decode(video)), first)
    process = WORKER._process
    assert process is not None
    decode(moment_path(str(video), 2))
    assert WORKER._process is process


def test_without_the_extra_an_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, extra in {"a.mp4": "video", "a.mp4#t=1": "video", "a.nef": "raw", "a.jxl": "jxl"}.items():
        (tmp_path / name.partition("#")[0]).write_bytes(b"\xff\x0a" + bytes(20))
        with pytest.raises(PictureError, match=rf"pip install 'vsearch-photos\[{extra}\]'"):
            decode(tmp_path / name)


# ---- heads


def test_the_head_of_a_moment(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    path = clip(tmp_path / "a.mp4", 2, turn=90, creation_time="2024-05-06T07:08:09Z")
    head = read_header(moment_path(str(path), 1.5))
    assert (head.width, head.height, head.facts["format"]) == (64, 96, "MP4")
    assert head.taken == datetime(2024, 5, 6, 7, 8, 10, 500_000, UTC)
    for wrong in ("1904-01-01T00:00:00Z", "2035-01-01T00:00:00Z"):
        assert read_header(clip(tmp_path / "b.mp4", 1, creation_time=wrong)).taken is None


def test_the_head_of_a_raw_photo(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra raw")
    head = read_header(dng(tmp_path / "a.dng", orientation=6))
    assert (head.width, head.height, head.camera) == (192, 256, "Maker Model X")
    assert head.taken == datetime(2024, 5, 6, 7, 8, 9)
    (tmp_path / "b.nef").write_bytes(b"no raw photo")
    with pytest.raises(PictureError):
        read_header(tmp_path / "b.nef")


def test_the_head_of_a_jpeg_xl(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    codec = pytest.importorskip("imagecodecs", reason="needs the extra jxl")
    exif, jpeg, path = Image.Exif(), io.BytesIO(), tmp_path / "a.jxl"
    exif[0x0112], exif[0x0110], exif[0x0132] = 6, "Model X", "2024:05:06 07:08:09"
    Image.fromarray(pixels).save(jpeg, "JPEG", exif=exif, quality=95)
    path.write_bytes(codec.jpegxl_encode_jpeg(jpeg.getvalue()))
    head = read_header(path)
    assert (head.width, head.height, head.camera) == (40, 60, "Model X")
    tags = exif.tobytes().removeprefix(b"Exif\0\0")
    box = struct.pack(">I", len(tags) + 12) + b"Exif" + bytes(4) + tags
    whole = codec.jpegxl_encode(pixels, lossless=True, usecontainer=True)
    path.write_bytes(whole + box)
    assert read_header(path).taken == datetime(2024, 5, 6, 7, 8, 9)
    path.write_bytes(whole + box[:30] + b"\xff" * 40)
    assert read_header(path)[:3] == (60, 40, None)
