"""decode: every format and mode comes out as upright RGB; every broken file is a PictureError with a short reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import draw
from vsearch.errors import PictureError
from vsearch.image.decode import MAX_PIXELS, SUFFIXES, decode, decode_bytes

# As in decode.py; pytest sets its own filters over it.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL")

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters() -> Image.Image:
    """40 x 20, one colour in each quarter: red, green above blue, white."""
    image = Image.new("RGB", (40, 20))
    for colour, place in ((RED, (0, 0)), (GREEN, (20, 0)), (BLUE, (0, 10)), (WHITE, (20, 10))):
        image.paste(colour, (*place, place[0] + 20, place[1] + 10))
    return image


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    """The colours in the middle of the four quarters, each channel snapped to 0 or 255."""
    width, height = image.size
    places = [(x * width // 4, y * height // 4) for y in (1, 3) for x in (1, 3)]
    values = np.asarray(image)
    return [(r, g, b) for r, g, b in ((values[y, x] > 127) * 255 for x, y in places)]


def content(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_every_format(form: str, tmp_path: Path) -> None:
    if form == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
    path = write(tmp_path, "picture.bin", content(quarters(), form))
    image = decode(path)
    assert (image.mode, image.size) == ("RGB", (40, 20))
    assert corners(image) == [RED, GREEN, BLUE, WHITE]


def test_heic_is_read_without_any_preparation(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "picture.heic"
    pillow_heif.from_pillow(quarters()).save(path)
    code = f"from vsearch.image.decode import decode; print(decode({str(path)!r}).size)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "(40, 20)\n"


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    assert decode(write(tmp_path, "liar.png", content(quarters(), "JPEG"))).size == (40, 20)
    assert {".jpg", ".heic", ".tif", ".avif"} <= SUFFIXES


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int, form: str) -> None:
    """A picture stored turned, with the mark that says how, comes out as it was taken."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # "turn by 270 to show": stored turned by 90
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = quarters() if undo is None else quarters().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_bytes(content(stored, form, exif=exif))
    assert image.size == (40, 20)
    assert corners(image) == [RED, GREEN, BLUE, WHITE]


def test_damaged_exif_does_no_harm() -> None:
    image = decode_bytes(content(quarters(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f garbage"))
    assert corners(image) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "P", "LA", "RGBA"])
def test_modes(mode: str) -> None:
    grey = mode in ("L", "1", "LA")
    source = Image.new("RGB", (40, 20), WHITE)
    source.paste((0, 0, 0) if grey else RED, (0, 0, 20, 20))
    image = decode_bytes(content(source.convert(mode), "JPEG" if mode == "CMYK" else "PNG"))
    assert image.mode == "RGB"
    expected = (0, 0, 0) if grey else RED
    assert corners(image) == [expected, WHITE, expected, WHITE]


def test_cmyk_tiff_is_not_inverted() -> None:
    assert corners(decode_bytes(content(quarters().convert("CMYK"), "TIFF"))) == [RED, GREEN, BLUE, WHITE]


def test_transparent_pixels_show_white() -> None:
    stored = Image.new("RGBA", (40, 20), (0, 0, 0, 0))  # black, but invisible
    stored.paste((255, 0, 0, 255), (0, 0, 20, 20))
    stored.paste((0, 0, 0, 128), (20, 10, 40, 20))
    for form in ("PNG", "WEBP", "TIFF"):
        image = decode_bytes(content(stored, form, **({"lossless": True} if form == "WEBP" else {})))
        assert image.getpixel((5, 5)) == RED
        assert image.getpixel((30, 2)) == WHITE
        half = image.getpixel((30, 15))
        assert isinstance(half, tuple) and all(abs(value - 127) <= 2 for value in half)


def test_transparent_colour_of_palette_and_grey() -> None:
    palette = Image.new("P", (40, 20), 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.paste(0, (0, 0, 20, 20))
    assert corners(decode_bytes(content(palette, "PNG", transparency=1))) == [RED, WHITE, RED, WHITE]
    grey = Image.new("L", (40, 20), 0)
    assert corners(decode_bytes(content(grey, "PNG", transparency=0))) == [WHITE] * 4


def test_gif_first_frame() -> None:
    frames = [Image.new("RGB", (40, 20), colour) for colour in (GREEN, RED, BLUE)]
    data = content(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert corners(decode_bytes(data)) == [GREEN] * 4


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(form: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(4, axis=0)
    image = decode_bytes(content(Image.fromarray(ramp), form))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image)[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_sixteen_bit_colour_png() -> None:
    rows = b"".join(b"\x00" + struct.pack(">3H", 65535, 32768, 0) * 4 for _ in range(4))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    pixel = decode_bytes(data).getpixel((1, 1))
    assert isinstance(pixel, tuple) and pixel[0] == 255 and abs(pixel[1] - 128) <= 1 and pixel[2] == 0


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("f4", [0.0, 0.5, 1.0], [0, 128, 255]),  # 0..1
        ("f4", [0.0, 127.0, 255.0], [0, 127, 255]),  # 0..255
        ("f4", [0.0, 32768.0, 65535.0], [0, 128, 255]),  # 16 bit
        ("f4", [-10.0, 0.0, 10.0], [0, 128, 255]),  # no usual range: stretched
        ("f4", [0.0, float("nan"), 1.0], [0, 0, 255]),
        ("i4", [0, 1, 1], [0, 1, 1]),
        ("i4", [0, 128, 255], [0, 128, 255]),
        ("i4", [0, 32768, 65535], [0, 128, 255]),
        ("i4", [0, 50_000, 100_000], [0, 128, 255]),
    ],
)
def test_thirty_two_bit_grey(dtype: str, values: list[float], expected: list[int]) -> None:
    data = content(Image.fromarray(np.array([values, values], dtype)), "TIFF")
    assert np.abs(np.asarray(decode_bytes(data))[0, :, 0].astype(int) - expected).max() <= 1


def test_draft_keeps_at_least_what_was_asked() -> None:
    data = content(draw(1, (1600, 1200)), "JPEG", quality=95)
    full, small = decode_bytes(data), decode_bytes(data, at_least=300)
    assert full.size == (1600, 1200)
    assert small.size == (400, 300)
    assert decode_bytes(data, at_least=301).size == (800, 600)
    ground = np.asarray(full.resize(small.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(small).astype(int) - ground).mean() < 3
    grey = decode_bytes(content(draw(1, (1600, 1200)).convert("L"), "JPEG"), at_least=300)
    assert (grey.mode, grey.size) == ("RGB", (400, 300))


def test_draft_turns_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_bytes(content(draw(1, (1600, 1200)), "JPEG", exif=exif), at_least=300)
    assert image.size == (300, 400)


# ---- what is no picture


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(PictureError) as caught:
        decode_bytes(data, **options)
    text = str(caught.value)
    assert len(text) < 120 and "\n" not in text and "0x" not in text
    return text


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^the file is empty$"):
        decode(write(tmp_path, "empty.jpg", b""))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^no such file$"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(PictureError, match=r"^a folder, not a picture$"):
        decode(tmp_path)


def test_unknown_format() -> None:
    assert reason(b"this is a text with the ending of a picture") == "not a picture of a known format"


def test_formats_that_run_other_programs_are_refused() -> None:
    """Pillow would hand an EPS file to Ghostscript."""
    assert "known format" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_truncated(form: str) -> None:
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = content(draw(3, (200, 150)), form)
    for share in (0.05, 0.3, 0.6):
        reason(data[: int(len(data) * share)])


def test_truncated_jpeg_says_so() -> None:
    data = content(draw(3, (200, 150)), "JPEG")
    assert reason(data[: len(data) // 2]) == "truncated"


def test_bomb_is_refused_before_it_is_decoded() -> None:
    """A PNG that claims 60,000 x 60,000 pixels: 10 GB of RGB from a few bytes. Never decoded, whoever objects first."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (60_000, 15_000, 16_000):  # above twice the cap, above the cap, and just above
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        assert side * side > MAX_PIXELS
        assert reason(data).startswith("too large")


def test_the_cap_is_the_callers() -> None:
    data = content(draw(1, (100, 100)), "PNG")
    assert decode_bytes(data, max_pixels=10_000).size == (100, 100)
    assert reason(data, max_pixels=9_999) == "too large (100 x 100 pixels)"
    assert reason(content(draw(1, (100, 100)), "JPEG"), max_pixels=9_999, at_least=10).startswith("too large")


def test_mutations_never_crash() -> None:
    """Bytes changed and cut at random: a picture or a PictureError, nothing else."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    rng = np.random.default_rng(0)
    outcomes = set()
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF"):
        original = content(draw(5, (60, 40)), form)
        for number in range(25):
            data = bytearray(original)
            for at in rng.integers(0, len(data), int(rng.integers(1, 20))):
                data[at] = int(rng.integers(0, 256))
            end = int(rng.integers(len(data) // 2, len(data))) if number % 2 else len(data)
            try:
                image = decode_bytes(bytes(data[:end]))
                outcomes.add(image.mode)
            except PictureError:
                outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}


def test_nothing_is_printed_about_damaged_metadata(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg", content(quarters(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff"))
    code = f"from vsearch.image.decode import decode; decode({str(path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_decode_does_not_load_torch() -> None:
    code = "import sys, vsearch.image.decode, vsearch.image.pixels; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
