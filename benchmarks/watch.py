"""What `build-index --watch` takes at 100,000 pictures: until a photo that arrives is found, and while nothing happens.

    python -m benchmarks.watch [--files 100000] [--photos 5] [--idle 30] [--json FILE]

The library is that of `benchmarks.rescan`: tiny JPEG files, described by a fake model. Then the program itself watches,
with the bundled model and captions. Photos are moved into the folder, some seconds apart; the seconds count until
another process, which asks for the newest row all the time, sees it. While nothing happens, the processor time of the
watching process is read from the system.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import ROOT
from benchmarks.rescan import Fake, write_files
from index.build.build import build_index
from index.database.database import Database


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has taken, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def arrive(folder: Path, library: Database, number: int) -> float:
    """Move a photo of 12 megapixels into a folder; return the seconds until the library has it."""
    pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
    fresh, target = folder.parent / "fresh.jpg", folder / f"fresh{number}.jpg"
    Image.fromarray(pixels).resize((4000, 3000)).save(fresh, quality=90)
    begun = time.monotonic()
    shutil.move(fresh, target)
    while library.read.picture(str(target)) is None:
        time.sleep(0.02)
        if time.monotonic() > begun + 60:
            raise RuntimeError("not found within a minute")
    return time.monotonic() - begun


def measure(files: int, photos: int, idle: float) -> dict[str, Any]:
    """Return the seconds of each photo, and the share of a processor that is used while nothing happens."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, place = Path(scratch) / "photos", Path(scratch) / "library"
        folder.mkdir()
        write_files(folder, files)
        with Database.open(place, create=True) as library:
            build_index(library, [folder], Fake(), graph_from=files + 1)
        command = [sys.executable, str(ROOT / "cli.py"), "build-index", str(folder), "--library", str(place), "--watch"]
        begun = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            print(process.stdout.readline(), process.stderr.readline(), file=sys.stderr)
            found: dict[str, Any] = {"files": files, "start": time.monotonic() - begun}
            with Database.open(place, read_only=True) as library:
                found["first"] = arrive(folder / "0000", library, 0)  # the network is loaded for it
                found["seconds"] = [arrive(folder / "0000", library, number) for number in range(1, photos + 1)]
            time.sleep(3)
            before = processor_seconds(process.pid)
            time.sleep(idle)
            found["idle"] = (processor_seconds(process.pid) - before) / idle
            process.terminate()
            assert process.wait() == 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=5)
    parser.add_argument("--idle", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args()
    found = measure(given.files, given.photos, given.idle)
    print(f"| {found['files']:,} pictures, watched | |\n|---|---:|")
    print(f"| until it watches, nothing being new | {found['start']:.1f} s |")
    print(f"| first photo, from arrival until found | {found['first']:.1f} s |")
    print(f"| later photos, median of {given.photos} | {statistics.median(found['seconds']):.1f} s |")
    print(f"| later photos, worst | {max(found['seconds']):.1f} s |")
    print(f"| processor while nothing happens | {found['idle']:.1%} of one |")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
