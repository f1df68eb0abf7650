"""Strong and weak scaling of the loop over shards, by the workers of a Ray on this machine.

    python -m benchmarks.shards [--shards 16] [--photos 200] [--repeats 3] [--real 64] [--json FILE]

Strong: the same shards done by 1 and by 2 workers. Weak: twice the shards by 2 workers. Reading, decoding and the loop
are those of a build; the network is a pause of 50 ms for a batch of 8, the store one that forgets. Runs take turns,
medians are compared. `--real N` then has the bundled model see N photos a worker, with captions and without, each
worker with one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.indexing import draw_photos
from index.build.describe import Settings
from index.model import Describer
from index.shards.ray import Errand, RayPool, RemoteWorker
from index.shards.shard import Shard
from index.shards.source import list_shards
from index.shards.work import Outcome
from index.stores.protocol import Dates, Row
from tests.support.tars import write_tar
from vsearch.scores import Scores

PAUSE = 0.05  # seconds, in place of the network


class Forgetful:
    """A store that keeps nothing."""

    def known(self, paths: Sequence[str]) -> dict[str, Dates]:
        return {}

    def upsert(self, rows: Sequence[Row]) -> None:
        pass

    def delete(self, paths: Iterable[str]) -> None:
        list(paths)


class Pause:
    """A model that takes its time and says nothing."""

    identity, dim, side, captions, scores = "pause", 200, 224, False, Scores()

    def embed_captions(self, captions: Sequence[str]) -> Sequence[NDArray[np.float32] | None]:
        return [None for _ in captions]

    def describe(self, pixels: NDArray[np.uint8], captions: bool, beam: int | None) -> tuple[NDArray[np.float32], None]:
        time.sleep(PAUSE)
        return np.ones((len(pixels), self.dim), np.float32), None


class Timed(RemoteWorker):
    """A worker with no store, which tells its processor time in place of the seconds of a shard."""

    def open(self) -> tuple[Describer, Any]:
        if self._errand.identity == Pause.identity:
            return Pause(), Forgetful()
        from vsearch.model import load

        return load(), Forgetful()

    def do(self, shard: Shard) -> Any:
        started = time.process_time()
        outcome = super().do(shard)
        if isinstance(outcome, Outcome):
            outcome.seconds = time.process_time() - started
        return outcome


def run(shards: Sequence[Shard], workers: int, identity: str, captions: bool) -> tuple[float, float]:
    """Return photos a second by the clock, from when all workers are ready, and processor seconds a photo."""
    batch = 8 if identity == Pause.identity else 32
    errand = Errand(None, "cpu", identity, "none://", Settings(captions, batch, None))
    pool = RayPool("auto", errand, workers, Timed)
    while pool.workers < workers:
        pool.wait()
    started, outcomes = time.perf_counter(), [one for one in pool.run(shards) if one is not None]
    seconds, photos = time.perf_counter() - started, sum(one.written for one in outcomes)
    assert all(one.whole for one in outcomes) and len(outcomes) == len(shards)
    return photos / seconds, sum(one.seconds for one in outcomes) / photos


def scaling(shards: Sequence[Shard], repeats: int) -> dict[str, float]:
    """Measure one worker with half of the shards and with all, and two with all."""
    half = shards[: len(shards) // 2]
    rates: dict[str, list[float]] = {"one, half": [], "one, all": [], "two, all": []}
    for _ in range(repeats):
        for name, (given, workers) in {
            "one, half": (half, 1),
            "one, all": (shards, 1),
            "two, all": (shards, 2),
        }.items():
            rates[name].append(run(given, workers, Pause.identity, False)[0])
    found = {name: statistics.median(rate) for name, rate in rates.items()}
    return found | {"strong": found["two, all"] / found["one, all"], "weak": found["two, all"] / found["one, half"]}


def real(folder: Path, photos: int) -> dict[str, float]:
    """Measure the bundled model: one worker with one shard, two with one each."""
    from vsearch.model import load

    shards, found = list_shards([str(folder)]).shards, {}
    identity = load().identity
    for name, captions in (("captions", True), ("no captions", False)):
        for workers in (1, 2):
            rate, processor = run(shards[:workers], workers, identity, captions)
            found[f"{name}, {workers}: photos/s"] = rate
            found[f"{name}, {workers}: ms of a processor a photo"] = 1000 * processor
    return found


def draw(folder: Path, tars: int, photos: int, size: tuple[int, int]) -> Path:
    """Write tars that hold the same photos; their bytes are in memory, wherever they lie."""
    drawn = folder / "drawn"
    drawn.mkdir(parents=True)
    draw_photos(drawn, photos, size)
    members = [(path.name, path.read_bytes()) for path in sorted(drawn.iterdir())]
    for path in drawn.iterdir():
        path.unlink()
    for n in range(tars):
        write_tar(folder / f"{n:05}.tar", members, mtime=n)
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    with tempfile.TemporaryDirectory() as place:
        folder = draw(Path(place) / "small", options.shards, options.photos, (224, 224))
        found = scaling(list_shards([str(folder)]).shards, options.repeats)
        if options.real:
            found |= real(draw(Path(place) / "real", 2, options.real, (224, 224)), options.real)
    for name, value in found.items():
        print(f"{name:40} {value:10.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
