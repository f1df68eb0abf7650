"""What the head of a picture file says, without decoding its pixels: size, date, camera, settings, place."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image

from vsearch.errors import PictureError
from vsearch.image import special
from vsearch.image.decode import MAX_PIXELS, opened
from vsearch.image.kinds import RAWS, VIDEOS, clock, split_moment, suffix
from vsearch.image.written import Written, written

_TURNED = range(5, 9)  # orientations that exchange width and height
_DATE = "%Y:%m:%d %H:%M:%S"
_DATES = (  # tags of a date, of its fraction of a second and of its distance from UTC, the best first
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    (ExifTags.Base.DateTime, ExifTags.Base.SubsecTime, ExifTags.Base.OffsetTime),
)
_AHEAD = timedelta(days=1)  # a date beyond this is a clock that was never set; zones and clocks differ by less
_LONGEST = 200  # letters of a value that are kept


class Header(NamedTuple):
    """Width and height of the picture turned upright; when, by what and where it was taken, if its EXIF says so.

    `taken` has a time zone where the EXIF names one, else it is local time as the camera had it, to be taken for that
    of this machine. `place` is latitude and longitude in degrees, north and east above zero. `facts` holds what
    photographers look at, by name, ready to be shown; `written` is what people wrote into the file.
    """

    width: int
    height: int
    taken: datetime | None
    camera: str | None
    lens: str | None
    place: tuple[float, float] | None
    facts: dict[str, str]
    written: Written = Written()


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what the head of a file says. Raises PictureError if it is no picture, whatever is wrong with it.

    A moment of a video, `clip.mp4#t=12.5`, was taken so long after the video's beginning.
    """
    with _refused():
        kind = special.kind_of(path)
        if kind is VIDEOS:
            return _of_video(path)
        with Path(path).open("rb") as file:
            if kind is RAWS:
                return _header(special.raw_size(path), _exif_of_raw(path, file), _ending(path))
            if special.is_jpeg_xl(file.read(12)):
                return _of_jpeg_xl(path)
            file.seek(0)
            return _of_plain(file)


def _of_plain(file: BinaryIO, name: str | None = None) -> Header:
    with opened(file) as image:
        width, height = image.size
        exif = _exif(image)
        turned = exif.get(ExifTags.Base.Orientation) in _TURNED
        head = _header((height, width) if turned else (width, height), exif, name or image.format or "")
        return head._replace(written=written(image, exif))


def _header(size: tuple[int, int], exif: dict[int, object], kind: str) -> Header:
    camera, lens, place = _camera(exif), _text(exif.get(ExifTags.Base.LensModel)) or None, _place(exif)
    return Header(*size, _taken(exif), camera, lens, place, _facts(exif, camera, lens, place, kind))


def _of_video(path: str | os.PathLike[str]) -> Header:
    file, seconds = split_moment(path)
    head = special.read_video_head(file)
    taken = head.taken and head.taken + timedelta(seconds=seconds or 0)
    facts = {"format": _ending(file), "camera": head.camera or "", "length": clock(head.length)}
    facts = {name: _text(value) for name, value in facts.items() if value}
    return Header(head.width, head.height, taken, facts.get("camera"), None, None, facts)


def _of_jpeg_xl(path: str | os.PathLike[str]) -> Header:
    width, height, data, is_jpeg = special.jpeg_xl_head(path)
    if is_jpeg:
        return _of_plain(io.BytesIO(data), "JXL")
    exif = Image.Exif()
    with contextlib.suppress(Exception):  # lenient, as everywhere
        exif.load(data)
    return _header((width, height), _tags(exif), "JXL")


def _exif_of_raw(path: str | os.PathLike[str], file: BinaryIO) -> dict[int, object]:
    """Return the tags of a raw photo: its own where it is a TIFF, else those of its preview."""
    exif = Image.Exif()
    if file.read(4) in (b"II*\0", b"MM\0*"):
        file.seek(0)
        with contextlib.suppress(Exception):
            exif.load_from_fp(file)
        return _tags(exif)
    found = special.raw_picture(path, 1, MAX_PIXELS)
    if isinstance(found, special.Preview):
        with opened(found.jpeg) as image:
            return _exif(image)
    return {}


def _ending(path: str | os.PathLike[str]) -> str:
    return suffix(path).lstrip(".").upper()


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except PictureError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly every kind of error on damaged files
        raise PictureError(f"its head cannot be read ({type(error).__name__})") from None


def _exif(image: Image.Image) -> dict[int, object]:
    """Return the main tags and those of the camera and of the place, by number; damaged EXIF data has none."""
    with contextlib.suppress(Exception):  # lenient: the picture is good
        return _tags(image.getexif())
    return {}


def _tags(exif: Image.Exif) -> dict[int, object]:
    found: dict[int, object] = {}
    with contextlib.suppress(Exception):
        found |= dict(exif)
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags = exif.get_ifd(part)
            found |= {_GPS + number if part is ExifTags.IFD.GPSInfo else number: tag for number, tag in tags.items()}
    return found


_GPS = 1 << 20  # added to the numbers of GPS tags, which begin again at 0


def _taken(exif: dict[int, object]) -> datetime | None:
    """Return the first date that may be true: none of 1900 or before, and none that is still to come."""
    for tag, fraction, zone in _DATES:
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime.strptime(_text(exif.get(tag))[:19], _DATE)
            digits = _text(exif.get(fraction))
            if digits.isascii() and digits.isdigit():
                moment = moment.replace(microsecond=int(f"{digits:0<6}"[:6]))
            with contextlib.suppress(ValueError):  # no zone, or a broken one: local time
                moment = moment.replace(tzinfo=datetime.strptime(_text(exif.get(zone)), "%z").tzinfo)
            if moment.year > 1900 and moment.astimezone(UTC) <= datetime.now(UTC) + _AHEAD:
                return moment
    return None


def _camera(exif: dict[int, object]) -> str | None:
    maker, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    if model.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {model}".strip() or None


def _facts(
    exif: dict[int, object], camera: str | None, lens: str | None, place: tuple[float, float] | None, kind: str
) -> dict[str, str]:
    """Return what the head says as pairs of name and value, in the order in which one reads them."""
    tag = ExifTags.Base
    focal, stop = _number(exif.get(tag.FocalLength)), _number(exif.get(tag.FNumber))
    exposure, iso = _number(exif.get(tag.ExposureTime)), _text(exif.get(tag.ISOSpeedRatings))
    rows = {
        "format": kind,
        "camera": camera or "",
        "lens": lens or "",
        "focal length": f"{focal:g} mm" if focal else "",
        "aperture": f"f/{stop:g}" if stop else "",
        "exposure": _seconds(exposure),
        "ISO": iso if iso.isdigit() and iso != "0" else "",
        "place": f"{place[0]:.5f}, {place[1]:.5f}" if place else "",
        "by": _text(exif.get(tag.Artist)),
        "rights": _text(exif.get(tag.Copyright)),
        "software": _text(exif.get(tag.Software)),
    }
    return {name: value for name, value in rows.items() if value}


def _text(value: object) -> str:
    """Return a value of EXIF as one line of text that can be shown; bytes that are no UTF-8 become U+FFFD."""
    if isinstance(value, tuple | list):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = "" if value is None else str(value).encode("utf-8", "replace").decode()
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_LONGEST]


def _number(value: object) -> float:
    """Return a value of EXIF as a number, 0 if it is none."""
    with contextlib.suppress(Exception):  # rationals of a zero denominator, texts, tuples
        number = float(value)  # type: ignore[arg-type]
        return number if 0 < number < 1e6 else 0.0
    return 0.0


def _seconds(exposure: float) -> str:
    if not exposure:
        return ""
    return f"{exposure:g} s" if exposure >= 0.3 else f"1/{round(1 / Fraction(exposure))} s"


def _place(exif: dict[int, object]) -> tuple[float, float] | None:
    """Return latitude and longitude, None where the EXIF has none, half of one, one out of range, or 0, 0: what a
    receiver without a signal notes.
    """
    latitude = _degrees(exif, ExifTags.GPS.GPSLatitude, "NS", 90)
    longitude = _degrees(exif, ExifTags.GPS.GPSLongitude, "EW", 180)
    return None if latitude is None or longitude is None or latitude == longitude == 0 else (latitude, longitude)


def _degrees(exif: dict[int, object], tag: int, sides: str, limit: int) -> float | None:
    """Return degrees, minutes and seconds as degrees, below zero on the second of the two sides."""
    with contextlib.suppress(Exception):  # rationals of a zero denominator, texts, what is no tuple
        degrees, minutes, seconds = (float(part) for part in exif.get(_GPS + tag))  # type: ignore[attr-defined]
        value = degrees + minutes / 60 + seconds / 3600
        side = _text(exif.get(_GPS + tag - 1)).upper()
        if len(side) == 1 and side in sides and degrees >= 0 and 0 <= value <= limit:
            return -value if side == sides[1] else value
    return None
