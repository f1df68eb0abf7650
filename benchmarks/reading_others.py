"""Ways to read a photo as the model sees it: processor time of each next to `read_pixels`, taking turns.

    python -m benchmarks.reading_others [PHOTOS] [--pictures 6] [--size 4000x3000] [--side 224] [--repeats 4]

Each goes from a file to pixels (S, S, 3): JPEG decoded at the smallest scale that leaves DETAIL * S, squashed to a
square. None of the others turns photos upright here or is made safe against damaged files, which could only slow them
down. One whose package is not installed is left out and named: simplejpeg; pyvips with pyvips-binary; kornia-rs.
pillow-simd takes Pillow's place: run the benchmark once with each and compare its first line. "Entropy decoding" is
what nobody who opens the file can leave away: Pillow's draft at an eighth, which multiplies next to nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from benchmarks.indexing import take_photos
from benchmarks.reading import size
from vsearch.image.pixels import DETAIL, read_pixels, to_pixels

Way = Callable[[Path], Any]
OURS, FLOOR = "Pillow (read_pixels)", "entropy decoding"


def ways(side: int) -> dict[str, Callable[[], Way]]:
    """Return how to make each of them; the first is the reference."""
    least = round(DETAIL * side)
    return {
        OURS: lambda: lambda path: read_pixels(path, side),
        FLOOR: lambda: _floor,
        "simplejpeg, Pillow squashes": lambda: _simplejpeg(side, least),
        "simplejpeg, coarse transform": lambda: _simplejpeg(side, least, fastdct=True, fastupsample=True),
        "pyvips thumbnail": lambda: _thumbnail(side),
        "pyvips shrinks on load, Pillow squashes": lambda: _shrinking(side, least),
        "kornia-rs, all pixels, Pillow squashes": lambda: _kornia(side),
    }


def _floor(path: Path) -> None:
    with Image.open(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        image.load()


def _simplejpeg(side: int, least: int, **options: bool) -> Way:
    module = importlib.import_module("simplejpeg")

    def way(path: Path) -> NDArray[np.uint8]:
        found = module.decode_jpeg(path.read_bytes(), "RGB", min_height=least, min_width=least, **options)
        return to_pixels(Image.fromarray(found), side)

    return way


def _vips() -> Any:
    os.environ["VIPS_CONCURRENCY"] = "1"
    vips = importlib.import_module("pyvips")
    vips.cache_set_max(0)  # else a photo is read once only
    return vips.Image


def _thumbnail(side: int) -> Way:
    image = _vips()
    return lambda path: np.ascontiguousarray(image.thumbnail(str(path), side, height=side, size="force").numpy())


def _shrinking(side: int, least: int) -> Way:
    image = _vips()

    def way(path: Path) -> NDArray[np.uint8]:
        with Image.open(path) as opened:
            shorter = min(opened.size)
        scale = max(s for s in (1, 2, 4, 8) if s == 1 or shorter // s >= least)
        found = image.new_from_file(str(path), access="sequential", shrink=scale)
        return to_pixels(Image.fromarray(found.numpy()), side)

    return way


def _kornia(side: int) -> Way:
    module = importlib.import_module("kornia_rs").io
    return lambda path: to_pixels(Image.fromarray(module.read_image_jpegturbo(str(path))), side)


def measure(made: dict[str, Way], paths: Sequence[Path], repeats: int) -> dict[str, list[float]]:
    """Return processor seconds of each way, photo by photo, in turns; the first photo warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for way in made.values():
        way(paths[0])
    for path in list(paths) * repeats:
        for name, way in made.items():
            started = time.process_time()
            way(path)
            seconds[name].append(time.process_time() - started)
    return seconds


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--size", type=size, default=(4000, 3000))
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=4)
    a = parser.parse_args(given)
    made: dict[str, Way] = {}
    for name, make in ways(a.side).items():
        try:
            made[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(made, take_photos(a.photos, Path(folder), a.pictures, a.size), a.repeats)
    print(f"Pillow {PIL.__version__}, side {a.side}\n| way | ms of a core | times as fast |\n|---|---:|---:|")
    for name, seconds in found.items():
        ratio = statistics.median(ours / own for ours, own in zip(found[OURS], seconds, strict=True))
        print(f"| {name} | {1e3 * statistics.median(seconds):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
