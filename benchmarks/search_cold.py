"""How long a new process takes to answer `vsearch search "dog"` with 10,000 pictures in the library.

    python -m benchmarks.search_cold [--pictures 10000] [--runs 15] [--json FILE]

The vectors are random: what they say does not change the work. The first run, which still finds the files outside the
cache and may write caches of the library, is reported apart; the others are given as median and worst, with the
processor time of the median, which does not grow when other programs run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from index.library import Library, NewPicture
from vsearch.modelfolder import bundled, read_config

ROOT = Path(__file__).resolve().parents[1]


def fill(place: Path, count: int, identity: str, dim: int) -> None:
    """A library of `count` pictures that are nowhere, with captions."""
    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Library.open(place, create=True) as library, library.building():
        library.adopt(identity, dim)
        library.start_run()
        with library.writing():
            for n, vector in enumerate(vectors):
                path = f"/photos/{n // 100:03}/{n:05}.jpg"
                library.put(NewPicture(path, 100_000, n, n.to_bytes(16, "big"), vector, "a dog runs through the grass"))


def once(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--query", default="dog")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args()
    model = given.model or bundled()
    config = read_config(model)
    assert config.devise is not None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "library"
        fill(place, given.pictures, config.identity, config.devise.dim)
        command = [sys.executable, str(ROOT / "cli.py"), "search", given.query]
        command += ["--library", str(place), "--model", str(model)]
        python = [once([sys.executable, "-c", ""])[0] for _ in range(given.runs)]
        first, _ = once(command)
        runs = [once(command) for _ in range(given.runs)]
    found = {
        "pictures": given.pictures,
        "cores": os.cpu_count(),
        "first": first,
        "median": statistics.median(seconds for seconds, _ in runs),
        "worst": max(seconds for seconds, _ in runs),
        "processor": statistics.median(processor for _, processor in runs),
        "python_alone": statistics.median(python),
    }
    print(f"{'pictures':>10}{'first':>10}{'median':>10}{'worst':>10}{'processor':>11}{'python alone':>14}")
    times = "".join(f"{found[name]:>9.3f}s" for name in ("first", "median", "worst"))
    print(f"{given.pictures:>10}{times}{found['processor']:>10.3f}s{found['python_alone']:>13.3f}s")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
