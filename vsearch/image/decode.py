"""From a path to an upright RGB picture: the only place that opens picture files."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vsearch.errors import PictureError
from vsearch.image import special
from vsearch.image.kinds import PLAIN, RAWS, VIDEOS

MAX_PIXELS = 200_000_000  # 200 megapixels are the largest sensors of telephones; an RGB copy takes 600 MB
BIG_PIXELS = 30_000_000  # pictures above this are decoded one at a time, so that memory stays bounded
_BAND_PIXELS = 4_000_000  # converted at a time where the conversion needs several copies

VERSION = f"1, Pillow {PIL.__version__}"  # what a file failed to decode with; another version may succeed

SUFFIXES = PLAIN  # of files that are read without an optional package

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF")  # no EPS, PSD, ...: less to attack
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNDEFINED_RANGE = ("I", "F")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_big = threading.Lock()
_heif = threading.Lock()
_heif_ready = False
_tiff_ready = False

# Loaded here, because Pillow would look for them by loading all of its plugins, and not safely in threads.
for _plugin in ("Jpeg", "Mpo", "Png", "WebP", "Gif", "Bmp", "Tiff", "Avif"):
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Pillow's own cap (a warning at 89 megapixels, an error at twice that) is replaced by ours. `catch_warnings` is not
# safe in threads, so the filters are set once: a bomb is an error, other complaints about damaged metadata are noise.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its complaints would be printed


def decode(
    path: str | os.PathLike[str] | BinaryIO, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode the picture in a file (or an open binary file): RGB, 8 bit, turned upright, the first frame, white behind
    glass. `clip.mp4#t=12.5` is a picture of a video; raw photos and videos are known by their endings.

    `at_least`: both sides may come out smaller than the file's, but not below this many pixels (JPEG only, where it
    makes decoding several times faster); None decodes in full. `max_pixels` is checked before any pixel is decoded.

    Raises PictureError with a short reason, whatever is wrong with the file.
    """
    with _reasons(max_pixels):
        if isinstance(path, str | os.PathLike):
            kind = special.kind_of(path)
            if kind is VIDEOS:
                return special.video_frame(path, min(max_pixels, MAX_PIXELS))
            if kind is RAWS:
                return _raw(path, at_least, min(max_pixels, MAX_PIXELS))
            with Path(path).open("rb") as file:
                return _decode(file, at_least, max_pixels)
        return _decode(path, at_least, max_pixels)


def upright(image: Image.Image) -> Image.Image:
    """Return a picture of Pillow's as `decode` returns that in a file; `image` stays as it is.

    Raises PictureError if it is opened lazily and cannot be read.
    """
    with _reasons(MAX_PIXELS):
        return _upright(image)


@contextlib.contextmanager
def _reasons(max_pixels: int) -> Iterator[None]:
    """Turn whatever goes wrong with a picture into a PictureError."""
    try:
        yield
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"too large (over {max_pixels / 1e6:g} megapixels)") from None
    except MemoryError:
        raise PictureError("too large for the memory") from None
    except Exception as error:  # Pillow's plugins raise nearly every kind of error on damaged files
        raise PictureError(_reason(error)) from error


def _raw(path: str | os.PathLike[str], at_least: int | None, max_pixels: int) -> Image.Image:
    """Decode a raw photo: the preview that its camera wrote, or where that is too small, what the sensor saw."""
    with Path(path).open("rb") as file:  # what is wrong with it as a file is told as of any other
        if not file.read(1):
            raise PictureError("the file is empty")
    found = special.raw_picture(path, at_least, max_pixels)
    if isinstance(found, Image.Image):
        return found
    with opened(found.jpeg) as image:
        _check_size(image, max_pixels)
        turn = found.turn(image.size, _orientation(image))
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        image.load()
        picture = _rgb(image)
    return picture if turn is None else picture.transpose(turn)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > min(max_pixels, MAX_PIXELS):
        raise PictureError(f"too large ({width} x {height} pixels)")


def _decode(file: BinaryIO, at_least: int | None, max_pixels: int) -> Image.Image:
    file.seek(0)
    if special.is_jpeg_xl(file.read(12)):
        with _big:
            return special.jpeg_xl_picture(file, min(max_pixels, MAX_PIXELS))
    file.seek(0)
    with opened(file) as image:
        width, height = image.size
        _check_size(image, max_pixels)
        if image.format == "TIFF" and _covered(image) < width * height:
            raise PictureError("truncated")
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(image.mode, (at_least, at_least))
        if image.size[0] * image.size[1] > BIG_PIXELS:
            with _big:
                return _upright(image)
        return _upright(image)


@contextlib.contextmanager
def opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Yield the picture of an open file with only its head read; raises what Pillow raises where there is none."""
    head = file.read(16)
    if not head:
        raise PictureError("the file is empty")
    formats: tuple[str, ...] = _FORMATS
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        _register_heif()
        formats = ("HEIF", "AVIF")
    if head[:4] in _TIFF_HEADS:
        _silence_tiff()
    with Image.open(file, formats=formats) as image:
        yield image


def _covered(image: Image.Image) -> int:
    """Return how many pixels the parts of a TIFF hold; Pillow leaves the rest of a picture black without a word."""
    boxes = [tile[1] for tile in getattr(image, "tile", ())]
    return sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _orientation(image)
    picture = _rgb(image)
    return picture.transpose(turn) if turn is not None else picture


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn the picture upright; damaged EXIF data turns nothing."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is parsed leniently: the pixels are good
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """Return an RGB copy of a loaded picture of any mode."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if mode.startswith("I;16"):
        return _in_bands(image, lambda band: _grey(np.asarray(band).astype(np.float32) / 257.0))
    if mode in _UNDEFINED_RANGE:
        low, high = _extremes(image)
        return _in_bands(image, lambda band: _grey(_to_byte_range(np.asarray(band), low, high, mode == "F")))
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _in_bands(image, _on_white)
    return image.convert("RGB")


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the picture in parts of whole rows, each with the row it begins at."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert to RGB part by part, by `convert`: its working copies stay small, whatever the size of the picture."""
    picture = Image.new("RGB", image.size)
    for top, band in _bands(image):
        picture.paste(convert(band), (0, top))
    return picture


def _on_white(image: Image.Image) -> Image.Image:
    glass = image.convert("RGBA")
    white = Image.new("RGBA", glass.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, glass).convert("RGB")


def _grey(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def _extremes(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and the highest value that are finite; two zeros if none is."""
    low, high = np.inf, -np.inf
    for _, band in _bands(image):
        values = np.asarray(band)
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _to_byte_range(values: NDArray[np.generic], low: float, high: float, shares: bool) -> NDArray[np.float64]:
    """Bring 32-bit grey values between `low` and `high`, which carry no range, to 8 bits: by the usual range they fit,
    else stretched.

    The usual ones are 0..1 (only if the values are `shares`, stored as floating point), 0..255 and 0..65535.
    """
    numbers = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    if low >= 0 and high <= 1 and shares:
        return numbers * 255.0
    if low >= 0 and high <= 255:
        return numbers
    if low >= 0 and high <= 65535:
        return numbers / 257.0
    return (numbers - low) * (255.0 / (high - low)) if high > low else np.zeros_like(numbers)


def _silence_tiff() -> None:
    """Tell libtiff, the first time a TIFF is met, to keep what it thinks of damaged files off stderr.

    Pillow raises what went wrong, and offers no way to set libtiff's handlers; its library is reached through Pillow's
    own module. Where it is linked so that it cannot be found, it goes on talking.
    """
    global _tiff_ready
    if not _tiff_ready:
        with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):
            import ctypes

            from PIL import _imaging

            pillow = ctypes.CDLL(_imaging.__file__)
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                handler = getattr(pillow, name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)
        _tiff_ready = True


def _register_heif() -> None:
    """Teach Pillow HEIC, the first time such a file is met: the import costs 60 ms."""
    global _heif_ready
    with _heif:
        if not _heif_ready:
            try:
                import pillow_heif
            except ImportError:
                raise PictureError("HEIC needs the package pillow-heif") from None
            pillow_heif.register_heif_opener()
            _heif_ready = True


def _reason(error: Exception) -> str:
    """Return one short line, without paths and object addresses."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a picture"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a known format"
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    if isinstance(error, OSError) and error.errno is not None:
        return (error.strerror or "cannot be read").lower()
    return f"damaged ({text[:80]})" if text else f"damaged ({type(error).__name__})"


def decode_bytes(data: bytes, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file's content that is already in memory."""
    return decode(io.BytesIO(data), at_least=at_least, max_pixels=max_pixels)
