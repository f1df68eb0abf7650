"""What it takes to read date, camera and place of 100,000 photos that a library has already, and to search by them.

    python -m benchmarks.taken [--files 100000] [--runs 5]

Small JPEG files with EXIF (maker, model, lens, date with zone, exposure, place, 2 KB of a maker's own), no two alike,
are written into folders of 100. A library gets a row and a random vector for each, and no details, as one of format 3
that was just brought to format 4. Then the heads are read as a build does it, and filters are resolved as a search
does it: the median of the runs. All of it runs in one process.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from benchmarks.rescan import Fake
from index.build.details import note_details
from index.build.scan import scan
from index.database.database import Database
from index.database.write import NewPicture
from index.search.dates import in_order
from index.search.place import Near
from index.search.query import Filter, Query
from index.search.searcher import Searcher

_FOLDER = 100  # files
_CAMERAS = (
    ("NIKON CORPORATION", "NIKON D90"),
    ("Canon", "Canon EOS 80D"),
    ("Google", "Pixel 7"),
    ("Apple", "iPhone 12"),
)
_DAY = 86_400 * 10**9


def photo(number: int) -> bytes:
    """Return a small JPEG file with EXIF as cameras write it."""
    rng = np.random.default_rng(number)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = _CAMERAS[number % len(_CAMERAS)]
    exif[0x0131], exif[0x0132] = "1.0", f"2024:{number % 12 + 1:02}:{number % 28 + 1:02} 12:00:00"
    shot = exif.get_ifd(0x8769)
    shot[0x9003], shot[0x9011] = f"{2000 + number % 25}:{number % 12 + 1:02}:{number % 28 + 1:02} 12:30:15", "+02:00"
    shot[0x829A], shot[0x829D], shot[0x8827] = IFDRational(1, 250), IFDRational(28, 10), 400
    shot[0x920A], shot[0xA434], shot[0x927C] = IFDRational(35, 1), "18-55mm f/3.5-5.6", bytes(2000)
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "NS"[number % 2], tuple(float(n) for n in (rng.integers(0, 80), rng.integers(0, 60), 30))
    place[3], place[4] = "EW"[number % 3 % 2], tuple(float(n) for n in (rng.integers(0, 170), rng.integers(0, 60), 30))
    memory = io.BytesIO()
    Image.new("RGB", (96, 64), tuple(rng.integers(0, 256, 3).tolist())).save(memory, "JPEG", exif=exif)
    return memory.getvalue()


def write_files(folder: Path, count: int) -> None:
    """Write the photos; 1,000 differ in their EXIF, the others in what follows the end of the JPEG."""
    kinds = [photo(number) for number in range(min(count, 1000))]
    for n in range(count):
        place = folder / f"{n // _FOLDER:04}"
        place.mkdir(exist_ok=True)
        (place / f"{n:07}.jpg").write_bytes(kinds[n % len(kinds)] + n.to_bytes(8, "big"))


def fill(library: Database, photos: Path, fake: Fake) -> int:
    """Write a row and a vector for each photo; return their number."""
    library.adopt(fake.identity, fake.dim)
    count = 0
    with library.writing():
        library.write.start_run()
        for file in scan([photos]):
            count += 1
            vector = np.random.default_rng(count).standard_normal(fake.dim).astype(np.float32)
            library.write.put(
                NewPicture(file.path, file.size, file.mtime_ns, count.to_bytes(16, "big"), vector, "a dog")
            )
    return count


def walk(folder: str, excludes: tuple[str, ...]) -> int:
    """Walk over the photos; return their number."""
    return sum(1 for _ in scan([folder], excludes=excludes))


def median(work: Callable[[], object], runs: int) -> float:
    """Return milliseconds of `work`, the median of several runs after one that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main(arguments: list[str] | None = None) -> None:
    """Print the table of results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(arguments)
    fake = Fake()
    with tempfile.TemporaryDirectory() as folder, Database.open(Path(folder) / "library", create=True) as library:
        write_files(Path(folder), given.files)
        count = fill(library, Path(folder), fake)
        start, processor = time.perf_counter(), time.process_time()
        note_details(library, progress=lambda done, total: None)
        wall, processor = time.perf_counter() - start, time.process_time() - processor
        dated, placed = library.details.counted()
        print(f"| {count} photos, {dated} with a date, {placed} with a place | |\n|---|---:|")
        print(f"| their heads are read | {wall:.1f} s ({processor:.1f} s of processors) |")
        for name, excludes in (("", ()), (", with three patterns", ("*.tmp.jpg", "raw/", "/private"))):
            taken = median(partial(walk, folder, excludes), 3)
            print(f"| a walk over the folders{name} | {taken:.0f} ms |")
        searcher = Searcher(library)
        query = Query(np.ones(fake.dim, np.float32), "words", (), fake.identity)
        filters = {
            "no filter": Filter(),
            "`--since`, `--until`: a year": Filter(since=8766 * _DAY, until=9131 * _DAY),
            "the same, `--by-file-time`": Filter(since=8766 * _DAY, until=9131 * _DAY, by_file_time=True),
            "`--camera nikon`": Filter(camera="nikon"),
            "`--near`, 500 km": Filter(near=Near(48.0, 2.0, 500.0)),
        }
        for name, only in filters.items():
            taken = median(partial(searcher.search, query, 10, only), given.runs)
            print(f"| search of a warm process, {name} | {taken:.0f} ms |")
        hits = searcher.search(query, 100)
        print(f"| `--sort taken`, 100 hits | {median(lambda: in_order(library, hits, 'taken'), given.runs):.1f} ms |")


if __name__ == "__main__":
    main()
