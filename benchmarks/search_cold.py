"""How long a new process takes to answer `vsearch search "dog"` with 10,000 pictures in the library.

    python -m benchmarks.search_cold [--pictures 10000] [--runs 15] [--json FILE]

What the vectors say does not change the work. The first run, which may write caches of the library, is reported apart;
the others are given as median and worst, with the processor time of the median, which does not grow when other
programs run next to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.filled import draw, fill
from benchmarks.measuring import ROOT, once
from vsearch.storage.modelfolder import bundled, read_config


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
        dim = config.devise.dim
        fill(place, draw(given.pictures, dim, clusters=500, noise=1.0, spread=dim), config.identity, dim)
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
