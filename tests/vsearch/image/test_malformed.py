"""500 malformed pictures: each is a picture or a PictureError, soon, in little memory, and without a word on stderr.

They are decoded in a process of their own, under limits, so that a crash fails a test instead of ending the tests.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import draw
from vsearch.errors import PictureError
from vsearch.image import decode as module
from vsearch.image.decode import decode, decode_bytes

ROOT = Path(__file__).resolve().parents[3]
COUNT = 500
SIZE = (60, 40)
SIDES = (0, 1, 59, 500, 16_383, 65_535)  # what a header may claim instead of 60 or 40

LIMITED = """
import json, resource, sys, time
sys.path.insert(0, {tests!r})
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from pathlib import Path
folder, out = Path({folder!r}), open({out!r}, "w", buffering=1)
def peak():
    # in MB, where Linux tells it; getrusage would count the process that started this one
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return max([int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")], default=0)
"""
DECODE = """
from vsearch.errors import PictureError
from vsearch.image.decode import decode
for path in sorted(folder.iterdir()):
    print(path.name, file=out)
    start = time.process_time()
    try:
        image = decode(path, at_least=32 if int(path.stem) % 3 == 0 else None)
        said = image.mode
    except PictureError as error:
        said = "refused: " + str(error)
    print(json.dumps([said, time.process_time() - start, peak()]), file=out)
"""
BUILD = """
from tests.support.pictures import FakeDescriber
from index.build.build import build_index
from index.database.database import Database
for attempt in range(2):
    model = FakeDescriber()
    with Database.open(folder.parent / "library.sqlite3", create=True) as library:
        report = build_index(library, [folder], model, threads=2)
        paths = [dates.path for dates in library.read.dates_under("/")]
        assert library.read.skipped() == report.skipped
    print(json.dumps([paths, report.skipped, report.unreadable, model.seen]), file=out)
"""


# ---- six formats, well formed


def content(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def originals() -> dict[str, list[bytes]]:
    """Small valid files by their ending, several kinds of each."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    image, glass = draw(5, SIZE), draw(6, SIZE).convert("RGBA")
    glass.putalpha(128)
    exif = Image.Exif()
    exif[0x0112] = 6
    number = Image.fromarray(np.arange(2400, dtype=np.int32).reshape(40, 60))
    tiff = [content(image, "TIFF", compression=name) for name in (None, "tiff_lzw", "tiff_deflate", "jpeg")]
    return {
        "jpg": [content(image, "JPEG", exif=exif), content(image, "JPEG", progressive=True, quality=95)],
        "png": [content(image, "PNG"), content(glass, "PNG"), content(image.convert("P"), "PNG")],
        "webp": [content(image, "WEBP"), content(glass, "WEBP", lossless=True)],
        "gif": [content(image, "GIF"), content(image, "GIF", save_all=True, append_images=[draw(7, SIZE)])],
        "tiff": [*tiff, content(image.convert("1"), "TIFF", compression="group4"), content(number, "TIFF")],
        "heic": [content(image, "HEIF")],
    }


# ---- and what becomes of them


def flip(data: bytearray, rng: Random, other: bytes) -> None:
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: Random, other: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def zero(data: bytearray, rng: Random, other: bytes) -> None:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 64))
    data[start:end] = bytes(end - start)


def splice(data: bytearray, rng: Random, other: bytes) -> None:
    at, start = rng.randrange(len(data)), rng.randrange(len(other))
    data[at : at + rng.choice((0, 50))] = other[start : start + rng.randint(1, 200)]


def lie(data: bytearray, rng: Random, other: bytes) -> None:
    """The header claims another width or height; a checksum over it is right."""
    places = sizes_in(bytes(data))
    assert places, "no size found"
    for at, kind in places:
        struct.pack_into(kind, data, at, rng.choice(SIDES) & (0x3FFF if kind == "<H" and b"WEBP" in data else 0xFFFF))
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))


def sizes_in(data: bytes) -> list[tuple[int, str]]:
    """Where a file holds its height (or width), and in what form."""
    if data.startswith(b"\x89PNG"):
        return [(20, ">I")]
    if data.startswith(b"\xff\xd8"):
        frame = max(data.find(b"\xff\xc0\x00\x11\x08"), data.find(b"\xff\xc2\x00\x11\x08"))
        return [(frame + 5, ">H")]
    if data.startswith(b"GIF"):
        block = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", *SIZE))
        return [(8, "<H"), (block + 7, "<H")]
    if data.startswith(b"RIFF"):
        lossy = data.find(b"\x9d\x01\x2a")
        return [(lossy + 5, "<H")] if lossy > 0 else [(data.index(b"VP8L") + 9, "<H")]
    if data.startswith(b"II"):
        tags = struct.unpack_from("<I", data, 4)[0] + 2
        return [(tags + 12 + 8, "<I")]  # the second tag: ImageLength
    return [(data.index(b"ispe") + 12, ">I")]


MUTATIONS: tuple[Callable[[bytearray, Random, bytes], None], ...] = (flip, cut, zero, splice, lie)


@pytest.fixture(scope="module")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 500 files 000.jpg, 001.png, ...: every format under every mutation, from one seed."""
    folder = tmp_path_factory.mktemp("malformed") / "photos"
    folder.mkdir()
    rng, good = Random(0), originals()
    every = [data for kinds in good.values() for data in kinds]
    for number in range(COUNT):
        ending = list(good)[number % len(good)]
        data = bytearray(rng.choice(good[ending]))
        MUTATIONS[number // len(good) % len(MUTATIONS)](data, rng, rng.choice(every))
        (folder / f"{number:03d}.{ending}").write_bytes(data)
    return folder


def run(code: str, folder: Path, out: Path) -> list[str]:
    """Run under limits; what it wrote, line by line. Fails with the last line if it crashed, hung or spoke."""
    begin = LIMITED.format(tests=str(ROOT), folder=str(folder), out=str(out))
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=300)
    lines = out.read_text().splitlines()
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-2000:])
    assert (done.stdout, done.stderr) == ("", "")
    return lines


def test_each_is_a_picture_or_refused(malformed: Path, tmp_path: Path) -> None:
    lines = run(DECODE, malformed, tmp_path / "out")
    assert len(lines) == 2 * COUNT
    results = dict(zip(lines[::2], map(json.loads, lines[1::2]), strict=True))
    outcomes = {(Path(name).suffix, said.split(":")[0]) for name, (said, _, _) in results.items()}
    assert outcomes == {("." + ending, said) for ending in originals() for said in ("RGB", "refused")}
    for name, (said, seconds, _) in results.items():
        assert len(said) < 130 and said.isprintable() and "0x" not in said, (name, said)
        assert seconds < 5, (name, seconds)
    assert max(memory for _, _, memory in results.values()) < 400  # MB; without any file it is about 60


def test_a_build_takes_or_skips_every_one(malformed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.symlink_to(malformed)
    first, second = (json.loads(line) for line in run(BUILD, folder, tmp_path / "out"))
    paths, skipped, unreadable, seen = first
    assert sorted([*paths, *(path for path, _ in skipped)]) == sorted(str(folder / p.name) for p in malformed.iterdir())
    assert len(paths) > 50 and len(skipped) > 50 and unreadable == []
    assert all(reason for _, reason in skipped)
    assert 0 < seen <= len(paths)  # two mutations may come out equal
    assert second == [paths, skipped, [], 0]  # and none is opened again


# ---- libtiff


def test_libtiff_would_talk_and_does_not(tmp_path: Path) -> None:
    """Fax code of a bilevel picture, damaged: libtiff complains line by line, on the stderr of the process."""
    data = bytearray(originals()["tiff"][4])
    data[100:400] = bytes(300)  # the strip lies at 8 to 831
    (tmp_path / "a.tiff").write_bytes(data)
    code = "import vsearch.image.decode as d\nd._tiff_ready = {}\n"
    code += f"try: d.decode({str(tmp_path / 'a.tiff')!r})\nexcept d.PictureError as e: print(e)"
    talking, quiet = (
        subprocess.run([sys.executable, "-c", code.format(ready)], capture_output=True, text=True, check=True)
        for ready in (True, False)
    )
    assert "Fax" in talking.stderr
    assert quiet.stderr == ""
    assert quiet.stdout == talking.stdout


# ---- sizes that are not true


def test_a_tiff_that_claims_more_rows_than_it_has() -> None:
    """60 x 2,097,152 numbers of 32 bits, 40 rows of them there: Pillow would hand out half a gigabyte of black."""
    data = bytearray(originals()["tiff"][5])
    at, kind = sizes_in(bytes(data))[0]
    struct.pack_into(kind, data, at, 2_097_152)
    with pytest.raises(PictureError, match="truncated"):
        decode_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "I", "F", "I;16", "I;16B"])
def test_bands_change_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are converted a few rows at a time, so that the working copies stay small."""
    values = np.random.default_rng(0).integers(0, 60_000, (40, 60))
    if kind in ("RGBA", "LA"):
        image = draw(3, SIZE).convert(kind)
        image.putalpha(draw(4, SIZE).convert("L"))
    elif kind == "P":
        image = draw(3, SIZE).quantize(8)
        image.info["transparency"] = 2
    else:
        image = Image.fromarray(values.astype({"I": "<i4", "F": "<f4", "I;16": "<u2", "I;16B": ">u2"}[kind]))
    path = tmp_path / ("a.png" if kind in ("RGBA", "LA", "P") else "a.tiff")
    image.save(path)
    whole = np.asarray(decode(path))
    monkeypatch.setattr(module, "_BAND_PIXELS", 60 * 7)  # 40 rows in parts of seven, the last of five
    assert np.array_equal(np.asarray(decode(path)), whole)
    assert len(np.unique(whole)) > 3
    monkeypatch.setattr(module, "_BAND_PIXELS", 1)  # less than a row
    assert np.array_equal(np.asarray(decode(path)), whole)
