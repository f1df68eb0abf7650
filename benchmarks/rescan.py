"""What `build-index` takes when nothing, or one picture, is new among 100,000.

    python -m benchmarks.indexing rescan [--files 100000] [--runs 5] [--graph-from 1000] [--json FILE]

Tiny JPEG files, no two alike, are written into folders of 100, and described by a fake: random vectors, one caption for
all, under the identity of the bundled model. Then `vsearch build-index` itself runs in a new process, with nothing
changed. At last the graphs are built, one picture is added, and the seconds count from its vector's being there until
another process that searches all the time has found it. The graphs must not be made again for that.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measuring import ROOT, once
from index.build.build import build_index
from index.caches.refresh import graph_path, refresh, weights
from index.database.database import Database
from vsearch.scores import Scores
from vsearch.storage.modelfolder import bundled, read_config

_FOLDER = 100  # files


class Fake:
    """Describes any picture by a random vector, or by `fixed`; notes when it last did."""

    side = 32
    captions = True

    def __init__(self) -> None:
        config = read_config(bundled())
        assert config.devise is not None
        self.identity, self.dim = config.identity, config.devise.dim
        self.scores = Scores.load(bundled())
        self.fixed: NDArray[np.float32] | None = None
        self.when = 0.0
        self._rng = np.random.default_rng(0)
        self._caption = self._unit(1)[0]

    def embed_captions(self, captions: Sequence[str]) -> list[NDArray[np.float32]]:
        return [self._caption for _ in captions]

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool, beam: int | None
    ) -> tuple[NDArray[np.float32], list[str]]:
        vectors = self._unit(len(pixels)) if self.fixed is None else self.fixed[None]
        self.when = time.monotonic()
        return vectors, ["a dog runs through the grass"] * len(pixels)

    def _unit(self, count: int) -> NDArray[np.float32]:
        rows = self._rng.standard_normal((count, self.dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def write_files(folder: Path, count: int) -> None:
    """Write JPEG files of one look and different content: what follows the end of a JPEG is not read."""
    memory = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 120, 60)).save(memory, "JPEG")
    for n in range(count):
        place = folder / f"{n // _FOLDER:04}"
        if n % _FOLDER == 0:
            place.mkdir()
        (place / f"{n:07}.jpg").write_bytes(memory.getvalue() + n.to_bytes(8, "big"))


def nothing_new(photos: Path, place: Path, runs: int) -> dict[str, float]:
    """Return seconds of `vsearch build-index` in a new process: the first, the median and the worst of the others."""
    command = [sys.executable, str(ROOT / "cli.py"), "build-index", str(photos), "--library", str(place)]
    command += ["--model", str(bundled())]
    (first, _), *others = [once(command) for _ in range(runs + 1)]
    wall, processor = ([run[at] for run in others] for at in (0, 1))
    times = {"first": first, "median": statistics.median(wall), "worst": max(wall)}
    return {**times, "processor": statistics.median(processor)}


def one_new(photos: Path, place: Path, fake: Fake, graph_from: int) -> dict[str, float]:
    """Return seconds from the vector of a new picture to its being found by another process, and of the whole build."""
    fake.fixed = fake._unit(1)[0]
    asked = place.with_name("query.npy")
    np.save(asked, fake.fixed)
    with Database.open(place) as library:
        refresh(library, graph_from=graph_from)
        files = [path for weight in weights(library) if (path := graph_path(library, weight)).exists()]
        before = [path.stat() for path in files]
        command = [sys.executable, "-c", _SEARCHER, str(ROOT), str(place), str(asked), "new.jpg", str(graph_from)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as searcher:
            assert searcher.stdout is not None
            assert searcher.stdout.readline() == "ready\n"
            path = photos / "0000" / "0000000.jpg"
            path.with_name("new.jpg").write_bytes(path.read_bytes() + b"new")
            report = build_index(library, [photos], fake, graph_from=graph_from)
            found = float(searcher.stdout.readline())
        assert (report.added, report.encoded) == (1, 1), report
        assert [(stat.st_ino, stat.st_mtime_ns) for stat in before] == [
            (stat.st_ino, stat.st_mtime_ns) for stat in (path.stat() for path in files)
        ], "the graphs were made again"
    return {"found": found - fake.when, "build": report.seconds}


_SEARCHER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from index.database.database import Database
from index.search.query import Query
from index.search.searcher import Searcher
end = time.monotonic() + 300
with Database.open(Path(sys.argv[2]), read_only=True) as library:
    searcher = Searcher(library, graph_from=int(sys.argv[5]), graph_after=0)
    query = Query(np.load(sys.argv[3]), "words", (), library.read.identity)
    searcher.search(query, 1)
    print("ready", flush=True)
    while not searcher.search(query, 1)[0].path.endswith(sys.argv[4]):
        if time.monotonic() > end:
            raise SystemExit("never found")
        time.sleep(0.005)
    print(time.monotonic(), flush=True)
"""


def measure(files: int, runs: int, graph_from: int) -> dict[str, Any]:
    fake = Fake()
    with tempfile.TemporaryDirectory() as folder:
        photos, place = Path(folder) / "photos", Path(folder) / "library"
        photos.mkdir()
        write_files(photos, files)
        with Database.open(place, create=True) as library:
            built = build_index(library, [photos], fake, graph_from=files + 1)
        assert built.added == files, built
        found: dict[str, Any] = {"files": files, "first_build": built.seconds}
        print(f"built: {found}", file=sys.stderr, flush=True)
        found["nothing_new"] = nothing_new(photos, place, runs)
        print(f"nothing new: {found['nothing_new']}", file=sys.stderr, flush=True)
        found["one_new"] = one_new(photos, place, fake, graph_from)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--graph-from", type=int, default=1000, help="build the graphs from so many pictures on")
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args(arguments)
    found = measure(given.files, given.runs, given.graph_from)
    again, new = found["nothing_new"], found["one_new"]
    print(f"| {found['files']} pictures | seconds |\n|---|---:|")
    print(f"| first build, by a fake model | {found['first_build']:.1f} |")
    print(f"| nothing changed, median of {given.runs} | {again['median']:.2f} |")
    print(f"| nothing changed, worst | {max(again['worst'], again['first']):.2f} |")
    print(f"| nothing changed, processor time | {again['processor']:.2f} |")
    print(f"| one new picture: from its vector until another process finds it | {new['found']:.3f} |")
    print(f"| one new picture: the whole build | {new['build']:.2f} |")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
