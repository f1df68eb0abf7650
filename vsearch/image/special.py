"""Pictures that optional packages decode, in a process of their own: moments of videos, raw photos, JPEG XL."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from vsearch.errors import PictureError
from vsearch.image.apart import WORKER, check
from vsearch.image.kinds import BY_SUFFIX, JPEG_XLS, RAWS, VIDEOS, Kind, split_moment, suffix

_JPEG_XL_HEADS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a")
_FLIPS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class Preview(NamedTuple):
    """The JPEG in a raw photo; how the sensor's picture is turned upright, and whether it is `wide` before that."""

    jpeg: io.BytesIO
    flip: int
    wide: bool

    def turn(self, size: tuple[int, int], own: Image.Transpose | None) -> Image.Transpose | None:
        """Return how to turn the preview of this size upright: as its `own` EXIF data say, else as the sensor's.

        Cameras that turn it themselves do not always say so, but then it is high where the sensor is wide.
        """
        turn = _FLIPS.get(self.flip) if own is None else own
        quarter = turn not in (None, Image.Transpose.ROTATE_180)
        return None if quarter and (size[0] >= size[1]) != self.wide else turn


class VideoHead(NamedTuple):
    """What the head of a video says: its length in seconds, width and height upright, when and by what it was taken.

    `taken` is when it began, in UTC or with the zone that it names.
    """

    length: float
    width: int
    height: int
    taken: datetime | None
    camera: str | None


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """Return what kind of file a path leads to, None if it needs no optional package."""
    return BY_SUFFIX.get(suffix(split_moment(path)[0]))


def is_jpeg_xl(head: bytes) -> bool:
    """Tell by the first 12 bytes whether a file is JPEG XL."""
    return head.startswith(_JPEG_XL_HEADS)


def video_frame(path: str | os.PathLike[str], max_pixels: int) -> Image.Image:
    """Return the picture at a moment of a video, upright, RGB; of one without a moment the first."""
    check(VIDEOS)
    file, seconds = split_moment(path)
    facts, data = WORKER.ask("video", file, seconds=seconds or 0.0, max_pixels=max_pixels)
    return _picture(facts, data)


def read_video_head(path: str | os.PathLike[str]) -> VideoHead:
    """Return what the head of a video says. Raises PictureError if it is none."""
    check(VIDEOS)
    facts, _ = WORKER.ask("video head", split_moment(path)[0])
    length = float(facts["length"])
    if not 0 <= length < 1e9:
        raise PictureError("damaged (its length makes no sense)")
    maker, model = (" ".join(str(facts[key]).split())[:200] for key in ("maker", "model"))
    size = int(facts["width"]), int(facts["height"])
    return VideoHead(length, *size, _moment(str(facts["taken"])), f"{maker} {model}".strip() or None)


def raw_picture(path: str | os.PathLike[str], at_least: int | None, max_pixels: int) -> Image.Image | Preview:
    """Return the preview in a raw photo, if both its sides reach `at_least` (None: half the sensor's), else the
    sensor's picture."""
    check(RAWS)
    facts, data = WORKER.ask("raw", path, at_least=at_least, max_pixels=max_pixels)
    if facts["kind"] == "jpeg":
        return Preview(io.BytesIO(data), int(facts["flip"]), bool(facts["wide"]))
    return _picture(facts, data)


def raw_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return width and height of a raw photo, upright."""
    check(RAWS)
    facts, _ = WORKER.ask("raw head", path)
    return int(facts["width"]), int(facts["height"])


def jpeg_xl_picture(file: BinaryIO | str | os.PathLike[str], max_pixels: int) -> Image.Image:
    """Return the picture in a JPEG XL, RGB and upright."""
    check(JPEG_XLS)
    with _on_disk(file) as path:
        return _picture(*WORKER.ask("jpeg xl", path, max_pixels=max_pixels))


def jpeg_xl_head(path: str | os.PathLike[str]) -> tuple[int, int, bytes, bool]:
    """Return width and height, upright, and the EXIF data, or the JPEG (True) that holds them."""
    check(JPEG_XLS)
    facts, data = WORKER.ask("jpeg xl head", path)
    return int(facts["width"]), int(facts["height"]), data, facts["kind"] == "jpeg"


def _picture(facts: dict[str, Any], data: bytes) -> Image.Image:
    picture = Image.frombytes("RGB", (int(facts["width"]), int(facts["height"])), data)
    turn = _TURNS.get(round(facts["turn"]) % 360)
    return picture if turn is None else picture.transpose(turn)


@contextlib.contextmanager
def _on_disk(file: BinaryIO | str | os.PathLike[str]) -> Iterator[str]:
    """Yield the path of a file; what is only in memory is written to a temporary one."""
    if isinstance(file, str | os.PathLike):
        yield os.fspath(file)
        return
    with tempfile.NamedTemporaryFile(prefix="vsearch-") as copy:
        file.seek(0)
        while part := file.read(1 << 20):
            copy.write(part)
        copy.flush()
        yield copy.name


def _moment(text: str) -> datetime | None:
    """Return a date of a video; without a zone it is UTC, as the formats want it."""
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if found.year > 1904 and found <= datetime.now(UTC) + timedelta(days=1):  # 1904 is QuickTime's zero
            return found
    return None
