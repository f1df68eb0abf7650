"""How long `check` and `duplicates` take over a whole library.

    python -m benchmarks.whole_library [--pictures 100000] [--dim 200] [--folder DIR]

The vectors are drawn (2,000 clusters), the pictures are nowhere: `check` tells that their folder is missing. Seconds
are those of the processor, over all threads, and of the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import filled
from index.caches.vectors import make_arrays
from index.check import check
from index.database.database import Database
from index.duplicates import duplicates


def timed(name: str, work: Callable[[], object]) -> None:
    """Run `work` and print a line with its seconds."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    print(f"{name:<12}{time.process_time() - processor:8.1f} s{time.perf_counter() - clock:8.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder) / "library"
        rows = filled.draw(options.pictures, options.dim, 2_000, 0.6, 40)
        filled.fill(place, rows, "x" * 64, options.dim)
        print(f"{options.pictures:,} pictures {'processor':>9}{'clock':>10}")
        with Database.open(place) as library:
            make_arrays(library)
            timed("check", lambda: check(library))
            timed("duplicates", lambda: duplicates(library))


if __name__ == "__main__":
    main()
