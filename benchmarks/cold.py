"""Commands in new processes, by ONNX Runtime and numpy next to torch: seconds, processor time, memory.

    python -m benchmarks.cold PHOTOS [--pictures 200] [--runs 7]

A library of the first PHOTOS is made, then `search dog`, `caption` and `similar` of one photo, `search --image` with
another and `build-index` of all of them (with captions, into a new library) run in turns: with the bundled model as it
is, and with a copy without its exported encoder, which torch runs. Printed are medians; memory is the most that a
process held.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks.indexing import take_photos
from benchmarks.measuring import ROOT
from vsearch.storage.modelfolder import EXPORTED, bundled


class Cost(NamedTuple):
    """What a process took: seconds by the clock and of the processor, and bytes at most."""

    seconds: float
    processor: float
    memory: float


def run(command: Sequence[str | Path]) -> Cost:
    """Run a call of the program in a new process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def commands(model: Path, photos: Path, other: Path, library: Path, fresh: Path) -> dict[str, list[str | Path]]:
    """Return the calls to measure."""
    photo = sorted(photos.iterdir())[0]
    place: list[str | Path] = ["--library", library, "--model", model]
    return {
        "search dog": ["search", "dog", *place],
        "caption": ["caption", photo, "--model", model],
        "similar": ["similar", photo, *place],
        "search --image": ["search", "--image", other, *place],
        "build-index": ["build-index", photos, "--library", fresh, "--model", model],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        take_photos(given.photos, folder / "photos", given.pictures)
        plain = shutil.copytree(bundled(), folder / "plain", ignore=shutil.ignore_patterns(*EXPORTED))
        library, other = folder / "library", folder / "other.png"
        with Image.open(sorted((folder / "photos").iterdir())[0]) as photo:
            photo.resize((400, 300)).save(other)  # of a content that the library has not
        run(["build-index", folder / "photos", "--library", library])
        ways = {"ONNX Runtime": bundled(), "torch": plain}
        found: dict[tuple[str, str], list[Cost]] = {}
        for turn in range(given.runs + 1):
            for way, model in ways.items():
                fresh = folder / f"fresh {way} {turn}"
                for what, command in commands(model, folder / "photos", other, library, fresh).items():
                    if what == "build-index" and turn > 2:
                        continue
                    cost = run(command)
                    if turn:  # the first warms up
                        found.setdefault((what, way), []).append(cost)
    print(f"{'':14}{'':14}{'runs':>6}{'seconds':>10}{'processor':>11}{'memory':>10}")
    for (what, way), costs in sorted(found.items()):
        seconds, processor, memory = (statistics.median(each) for each in zip(*costs, strict=True))
        print(f"{what:14}{way:14}{len(costs):>6}{seconds:>9.2f}s{processor:>10.2f}s{memory / 1e6:>7.0f} MB")


if __name__ == "__main__":
    main()
