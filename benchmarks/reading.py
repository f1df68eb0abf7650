"""What a photo costs before the network sees it, and after: milliseconds of one core, medians of all photos.

    python -m benchmarks.reading [PHOTOS] [--pictures 500] [--size 4000x3000] [--side 192]

PHOTOS is a folder of photos; without one, photos of --size are drawn. "decode" and "squash" are the two parts of
`read_pixels`, "whole" is a build of a library by a describer that costs nothing: processor time of all threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.indexing import take_photos
from index.build.build import build_index
from index.database.database import Database
from vsearch.image.decode import decode
from vsearch.image.pixels import DETAIL, to_pixels
from vsearch.scores import Scores


class Free:
    """A describer of vectors that are ready; no captions."""

    identity, dim, captions, scores = "f" * 64, 200, False, Scores()

    def __init__(self, side: int) -> None:
        self.side = side
        self._vector = np.eye(1, self.dim, dtype=np.float32)

    def describe(self, pixels: NDArray[np.uint8], captions: bool, beam: int | None) -> tuple[NDArray[np.float32], None]:
        return self._vector.repeat(len(pixels), axis=0), None

    def embed_captions(self, captions: Sequence[str]) -> list[NDArray[np.float32] | None]:
        return [None] * len(captions)


def parts(path: Path, side: int, detail: float) -> tuple[float, float]:
    """Return seconds of decoding and of squashing."""
    started = time.perf_counter()
    picture = decode(path, at_least=round(detail * side))
    decoded = time.perf_counter()
    to_pixels(picture, side)
    return decoded - started, time.perf_counter() - decoded


def whole(photos: Path, count: int, side: int) -> float:
    """Return processor seconds a picture of a build."""
    with tempfile.TemporaryDirectory() as folder, Database.open(Path(folder) / "library", create=True) as library:
        started = time.process_time()
        report = build_index(library, [photos], Free(side), captions=False)
        assert report.added == count, report
        return (time.process_time() - started) / count


def size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--size", type=size, default=(4000, 3000))
    parser.add_argument("--side", type=int, default=192)
    a = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        paths = take_photos(a.photos, Path(folder), a.pictures, a.size)
        weight = statistics.median(path.stat().st_size for path in paths) / 1e6
        print(f"{len(paths)} photos of {weight:.3f} MB, side {a.side}\n| | decode | squash |\n|---|---:|---:|")
        for path in paths:
            parts(path, a.side, DETAIL)  # warms the file cache
        for detail in (DETAIL, 2.0):
            seconds = [parts(path, a.side, detail) for path in paths]
            decoded, squashed = (1e3 * statistics.median(column) for column in zip(*seconds, strict=True))
            print(f"| {detail} times the side | {decoded:.2f} ms | {squashed:.2f} ms |")
        print(f"whole: {1e3 * statistics.median(whole(Path(folder), len(paths), a.side) for _ in range(3)):.2f} ms")


if __name__ == "__main__":
    main()
