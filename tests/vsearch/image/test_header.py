"""Heads of pictures: size as it is seen, date, camera, settings, place; damage is no crash."""

from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from vsearch.errors import PictureError
from vsearch.image.header import read_header


def saved(path: Path, **tags: object) -> Path:
    exif = Image.Exif()
    for name, value in tags.items():
        kind, number = name[0], int(name[1:], 16)
        {"m": exif, "e": exif.get_ifd(0x8769), "g": exif.get_ifd(0x8825)}[kind][number] = value
    Image.new("RGB", (80, 50)).save(path, exif=exif)
    return path


def test_a_photo(tmp_path: Path) -> None:
    head = read_header(
        saved(tmp_path / "a.jpg", m010f="NIKON CORPORATION", m0110="NIKON D90", e9003="2024:05:01 12:30:15",
              e829a=IFDRational(1, 60), e829d=IFDRational(28, 10), e8827=400, e920a=IFDRational(35, 1), e9291="x",
              g0001="S", g0002=(33.0, 30.0, 36.0), g0003="E", g0004=(18.0, 24.0, 0.0))
    )  # fmt: skip
    assert (head.width, head.height, head.camera) == (80, 50, "NIKON CORPORATION NIKON D90")
    assert head.taken == datetime(2024, 5, 1, 12, 30, 15)
    assert head.facts == {
        "format": "JPEG", "camera": "NIKON CORPORATION NIKON D90", "focal length": "35 mm", "aperture": "f/2.8",
        "exposure": "1/60 s", "ISO": "400", "place": "-33.51000, 18.40000",
    }  # fmt: skip


@pytest.mark.parametrize(
    "zone, hour", [("+02:00", 10), ("-05:30", 18), ("Z", 12), ("+00:00", 12), ("", None), ("+2", None), ("x", None)]
)
def test_a_date_has_the_zone_that_is_named(tmp_path: Path, zone: str, hour: int | None) -> None:
    taken = read_header(saved(tmp_path / "a.jpg", e9003="2024:05:01 12:30:15", e9291="25", e9011=zone)).taken
    assert taken is not None and taken.microsecond == 250_000
    if hour is None:
        assert taken == datetime(2024, 5, 1, 12, 30, 15, 250_000)  # local time
    else:
        assert taken.astimezone(UTC).hour == hour


def test_a_broken_date_gives_way_to_the_next(tmp_path: Path) -> None:
    head = read_header(saved(tmp_path / "a.jpg", e9003="0000:00:00 00:00:00", e9004="2020:01:02 03:04:05"))
    assert head.taken == datetime(2020, 1, 2, 3, 4, 5)


def test_a_date_to_come_is_none(tmp_path: Path) -> None:
    soon, late = (datetime.now() + timedelta(hours=hours) for hours in (12, 36))
    for moment, kept in ((soon, True), (late, False)):
        head = read_header(saved(tmp_path / "a.jpg", e9003=moment.strftime("%Y:%m:%d %H:%M:%S")))
        assert (head.taken is not None) == kept


@pytest.mark.parametrize(
    "sides, latitude, longitude, place",
    [
        ("NE", (33.0, 30.0, 36.0), (18.0, 24.0, 0.0), (33.51, 18.4)),
        ("SW", (33.0, 30.0, 36.0), (18.0, 24.0, 0.0), (-33.51, -18.4)),
        ("ne", (33.51, 0.0, 0.0), (18.0, 0.0, 0.0), (33.51, 18.0)),
        ("NE", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), None),  # a receiver without a signal
        ("NE", (0.0, 0.0, 0.0), (9.0, 0.0, 0.0), (0.0, 9.0)),
        ("NE", (90.5, 0.0, 0.0), (9.0, 0.0, 0.0), None),
        ("NE", (9.0, 0.0, 0.0), (180.0, 1.0, 0.0), None),
        ("NN", (9.0, 0.0, 0.0), (9.0, 0.0, 0.0), None),
        ("NE", (IFDRational(1, 0), 0.0, 0.0), (9.0, 0.0, 0.0), None),
        ("NE", 5, (9.0, 0.0, 0.0), None),
    ],
)
def test_a_place(
    tmp_path: Path, sides: str, latitude: object, longitude: object, place: tuple[float, float] | None
) -> None:
    head = read_header(saved(tmp_path / "a.jpg", g0001=sides[0], g0002=latitude, g0003=sides[1], g0004=longitude))
    assert head.place == (None if place is None else pytest.approx(place))


def test_a_lens(tmp_path: Path) -> None:
    assert read_header(saved(tmp_path / "a.jpg", ea434="18-55mm f/3.5")).lens == "18-55mm f/3.5"


def test_a_maker_is_not_named_twice(tmp_path: Path) -> None:
    assert read_header(saved(tmp_path / "a.jpg", m010f="Canon", m0110="Canon EOS")).camera == "Canon EOS"


@pytest.mark.parametrize("turn, size", [(1, (80, 50)), (3, (80, 50)), (6, (50, 80)), (8, (50, 80))])
def test_a_turned_picture_has_the_size_that_is_seen(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    head = read_header(saved(tmp_path / "a.jpg", m0112=turn))
    assert (head.width, head.height) == size


@pytest.mark.parametrize("date", ["", "0000:00:00 00:00:00", "yesterday", "2024:13:45 99:99:99"])
def test_a_date_that_is_none(tmp_path: Path, date: str) -> None:
    assert read_header(saved(tmp_path / "a.jpg", e9003=date)).taken is None


def test_without_exif(tmp_path: Path) -> None:
    Image.new("RGB", (7, 9)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png")[:7] == (7, 9, None, None, None, None, {"format": "PNG"})


def test_odd_letters_become_one_line(tmp_path: Path) -> None:
    head = read_header(saved(tmp_path / "a.jpg", m0110="X\n\t<b>\x00" + "y" * 500))
    assert head.camera is not None and head.camera.startswith("X <b>") and len(head.camera) == 200


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff"])
def test_what_is_no_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(PictureError):
        read_header(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")  # as `decode` sets it for the whole program
def test_damaged_exif_is_none(tmp_path: Path) -> None:
    saved(tmp_path / "a.jpg", m0110="X", e9003="2024:05:01 12:30:15")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\xff"  # the first directory lies nowhere
    (tmp_path / "a.jpg").write_bytes(data)
    head = read_header(tmp_path / "a.jpg")
    assert (head.width, head.height, head.taken, head.camera) == (80, 50, None, None)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_exif_with_bytes_at_random_is_read_or_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", m010f="Canon", m0110="Canon EOS", e9003="2024:05:01 12:30:15", e9011="+02:00",
                 ea434="lens", g0001="N", g0002=(48.0, 51.0, 30.0), g0003="E", g0004=(2.0, 17.0, 40.0))  # fmt: skip
    data, rng = path.read_bytes(), random.Random(0)
    start = data.index(b"Exif\0\0")
    size = int.from_bytes(data[start - 2 : start], "big")
    read = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 9)):
            damaged[start + rng.randrange(size - 2)] = rng.choice((0, 1, 9, 12, 255, rng.randrange(256)))
        path.write_bytes(damaged)
        with contextlib.suppress(PictureError):
            head = read_header(path)
            read += 1
            assert head.taken is None or head.taken.year > 1900
            assert head.place is None or (abs(head.place[0]) <= 90 and abs(head.place[1]) <= 180)
    assert read > 200  # the pictures themselves are whole
