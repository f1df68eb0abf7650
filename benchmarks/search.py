"""Search among a million vectors: build, memory, disk, time of a query and recall@10, against exact numpy and others.

    python -m benchmarks.search [--rows 1000000] [--dim 300] [--clusters 500] [--noise 1.0] [--spread 64]
        [--queries 500] [--library PATH] [--keep FOLDER] [--steps fill,exact,graph,hnswlib,faiss,cold] [--json FILE]

The vectors are drawn as `filled.draw` says, the queries by the same law; with --library they are those of that library,
of which some are held back as queries. They go into a library, and every system gets them as it gives them out.
`fill` makes the library, `exact` asks numpy (one float32 product of all vectors with the query), `graph` builds what
`build-index` would and asks both the library and the bare graph, `hnswlib` and `faiss` do the same work with the same
settings on all cores and one inner product of unit vectors, `cold` asks from a new process: `vsearch search` where
--dim is that of the bundled model, else a few lines of Python. All queries come one by one, in one process.

Every result is written to the JSON file at once. With --keep, files and results stay in FOLDER, and what is done
already is not done again. Memory is what a process holds of its own (not the files it maps): "build" is the highest
growth while building, "memory" the growth by loading what was built and asking it. hnswlib and faiss are left out where
they are not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.filled import draw, fill
from benchmarks.measuring import ROOT, Clock, Growth, once
from benchmarks.search_others import OTHERS, installed
from benchmarks.search_table import table
from index.caches import graph as graphs
from index.caches.refresh import graph_path, load_graph, refresh
from index.caches.vectors import load_arrays
from index.database.database import Database
from index.search.query import Query
from index.search.searcher import Searcher
from vsearch.files import write_json
from vsearch.storage.modelfolder import bundled, read_config

STEPS = ("fill", "exact", "graph", "hnswlib", "faiss", "cold")
WIDTHS = (100, 200, 400)  # efSearch
K = 10
WARM = 20  # queries before those that count
RUNS = 9  # of a new process

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], Ids]


@dataclass(frozen=True)
class Recipe:
    """What the numbers depend on; results of another recipe are never mixed in. `source` is a library, or empty."""

    rows: int
    dim: int
    clusters: int
    noise: float
    spread: int
    queries: int
    source: str = ""


class Bench:
    """One run: its files in `folder`, its results in `found`, which are written to `output` at every change."""

    def __init__(self, recipe: Recipe, folder: Path, output: Path) -> None:
        self.recipe, self.folder, self.output = recipe, folder, output
        self.found: dict[str, Any] = {"recipe": asdict(recipe), "cores": os.cpu_count(), "steps": {}}
        if output.exists():
            known = json.loads(output.read_text("utf-8"))
            if known["recipe"] != self.found["recipe"]:
                raise SystemExit(f"{output} holds results of another recipe: {known['recipe']}")
            self.found = known
        self.place = folder / "library"

    def done(self, step: str) -> bool:
        return bool(self.found["steps"].get(step, {}).get("done"))

    def write(self, step: str, **facts: Any) -> None:
        """Add to the results of a step."""
        self.found["steps"].setdefault(step, {}).update(facts)
        write_json(self.output, self.found)

    def built(self, step: str) -> bool:
        """Return whether what this step builds is there: a run that was stopped goes on behind it."""
        return "build" in self.found["steps"].get(step, {})

    def vectors(self) -> tuple[Ids, Vectors]:
        """Return ids (n,) and vectors (n, D) of the library, mapped."""
        with Database.open(self.place, read_only=True) as library:
            arrays = load_arrays(library)
        return arrays.ids, arrays.vectors

    def queries(self) -> Vectors:
        vectors: Vectors = np.load(self.folder / "queries.npy")
        return vectors

    def truth(self) -> Ids:
        """Return ids (q, 10) that exact search finds for the queries."""
        ids: Ids = np.load(self.folder / "truth.npy")
        return ids

    def timed(self, ask: Ask, truth: Ids) -> dict[str, float]:
        """Return milliseconds of single queries (median, 95th percentile, processor time a query) and recall@10."""
        queries = self.queries()
        for query in queries[:WARM]:
            ask(query)
        seconds, answers, processor = [], [], time.process_time()
        for query in queries:
            started = time.perf_counter()
            answers.append(ask(query))
            seconds.append(time.perf_counter() - started)
        times = 1000 * np.array(seconds)
        return {
            "median": float(np.median(times)),
            "p95": float(np.percentile(times, 95)),
            "processor": 1000 * (time.process_time() - processor) / len(queries),
            "recall": recall(answers, truth),
        }


def recall(answers: list[Ids], truth: Ids) -> float:
    """Return the share of the true ids (q, k) that the answers to each query hold."""
    found = sum(len(np.intersect1d(mine, true)) for mine, true in zip(answers, truth, strict=True))
    return float(found / truth.size)


# ---- the steps


def fill_library(bench: Bench) -> None:
    recipe, began = bench.recipe, Clock()
    for path in bench.folder.glob("library*"):  # half filled by a run that was stopped
        path.unlink()
    if recipe.source:
        queries, rows = held_back(Path(recipe.source), recipe.queries)
        parts = iter([rows])
    else:
        law = (recipe.dim, recipe.clusters, recipe.noise, recipe.spread)
        queries = np.concatenate(list(draw(recipe.queries, *law, first=1)))
        parts = draw(recipe.rows, *law)
    np.save(bench.folder / "queries.npy", queries)
    fill(bench.place, parts, identity_for(recipe.dim), recipe.dim)
    bench.write("fill", **began.seconds(), disk=bench.place.stat().st_size)
    began = Clock()
    with Database.open(bench.place) as library:
        refresh(library, graph_from=recipe.rows + 1)
    arrays = bench.place.with_name("library.vectors").stat().st_size
    bench.write("fill", arrays=began.seconds() | {"disk": arrays})


def held_back(source: Path, queries: int) -> tuple[Vectors, Vectors]:
    """Return, of a library's vectors in an order drawn by lot, the first as queries (q, D), and the others (n, D)."""
    with Database.open(source, read_only=True) as library:
        _, vectors = library.read.vectors_after(0)
    vectors = vectors[np.random.default_rng(0).permutation(len(vectors))]
    return vectors[:queries], vectors[queries:]


def identity_for(dim: int) -> str:
    """Return the bundled model's where the vectors are as long as its own: then the library answers to `vsearch
    search`."""
    config = read_config(bundled())
    return config.identity if config.devise is not None and config.devise.dim == dim else "benchmark"


def ask_exactly(bench: Bench) -> None:
    ids, vectors = bench.vectors()

    def ask(query: Vectors) -> Ids:
        scores = vectors @ query  # (n,)
        top = np.argpartition(scores, len(scores) - K)[-K:]
        return ids[top]

    np.save(bench.folder / "truth.npy", np.stack([ask(query) for query in bench.queries()]))
    bench.write("exact", queries={"": bench.timed(ask, bench.truth())})


def ask_graph(bench: Bench) -> None:
    """Build the graph as `build-index` does, then ask the library through it, and the graph by itself."""
    with Database.open(bench.place) as library:
        if not bench.built("graph"):
            with Growth() as growth:
                refresh(library, graph_from=1)
            bench.write("graph", build=growth.facts(), disk=graph_path(library).stat().st_size)
        _ask_searcher(bench, library)
        with Growth() as growth:
            graph = load_graph(library)
        queries = {}
        for width in WIDTHS:
            with query_width(width):
                queries[str(width)] = bench.timed(lambda query: graph.query(query, K)[0], bench.truth())
    bench.write("graph", memory=growth.memory, load=growth.facts(), queries=queries)


def _ask_searcher(bench: Bench, library: Database) -> None:
    searcher, identity = Searcher(library, graph_from=1, graph_after=0), library.read.identity or ""
    with Growth() as growth:  # the first query loads the graph
        hit_ids(searcher, bench.queries()[0], identity)
    queries = {}
    for width in WIDTHS:
        with query_width(width):
            queries[str(width)] = bench.timed(lambda query: hit_ids(searcher, query, identity), bench.truth())
    bench.write("library", memory=growth.memory, load=growth.facts(), queries=queries)


def hit_ids(searcher: Searcher, vector: Vectors, identity: str) -> Ids:
    return np.array([hit.id for hit in searcher.search(Query(vector, "words", (), identity), K)], np.int64)


def ask_other(bench: Bench, name: str) -> None:
    if not installed(name):
        print(f"{name} is not installed: left out", file=sys.stderr)
        return
    ids, vectors = bench.vectors()
    path, dim = bench.folder / name, vectors.shape[1]
    if not bench.built(name):
        with Growth() as growth:
            OTHERS[name](dim).build(vectors, path)
        bench.write(name, build=growth.facts(), disk=path.stat().st_size)
    with Growth() as growth:
        other = OTHERS[name](dim)
        other.load(path)
    queries = {}
    for width in WIDTHS:
        other.widen(width)
        queries[str(width)] = bench.timed(lambda query: ids[other.ask(query, K)], bench.truth())
    bench.write(name, memory=growth.memory, load=growth.facts(), queries=queries)


def ask_anew(bench: Bench) -> None:
    """Ask in a new process for every query: first with the library's files outside the memory of the system, then
    inside."""
    command = [sys.executable, str(ROOT / "cli.py"), "search", "dog", "--library", str(bench.place)]
    if identity_for(bench.recipe.dim) == "benchmark":
        command = [sys.executable, "-c", _TINY, str(ROOT), str(bench.place), str(bench.folder / "queries.npy")]
    for path in bench.folder.glob("library*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    first = once(command)
    runs = [once(command) for _ in range(RUNS)]
    wall, processor = ([1000 * run[at] for run in runs] for at in (0, 1))
    times = {"median": statistics.median(wall), "p95": max(wall), "processor": statistics.median(processor)}
    kind = "vsearch search" if "search" in command else "python -c"
    bench.write("cold", kind=kind, first=1000 * first[0], queries={"": times})


_TINY = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from index.database.database import Database
from index.search.query import Query
from index.search.searcher import Searcher
with Database.open(Path(sys.argv[2]), read_only=True) as library:
    query = Query(np.load(sys.argv[3])[0], "words", (), library.read.identity)
    assert len(Searcher(library).search(query)) == 10
"""


@contextlib.contextmanager
def query_width(width: int) -> Iterator[None]:
    """Let graphs look at so many candidates of a query."""
    usual = graphs.QUERY_WIDTH
    graphs.QUERY_WIDTH = width
    try:
        yield
    finally:
        graphs.QUERY_WIDTH = usual


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=300)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--noise", type=float, default=1.0, help="length of the noise, that of a centre being one")
    parser.add_argument("--spread", type=int, default=64, help="directions the noise has")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--library", type=Path, help="take its vectors")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep files and results there, and go on from them")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--json", type=Path, help="write the results there; default: results.json in FOLDER")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(recipe_of(given), folder, given.json or folder / "results.json")
        run(bench, given.steps.split(","))
        print(table(bench.found))


def recipe_of(given: argparse.Namespace) -> Recipe:
    if given.library is None:
        return Recipe(given.rows, given.dim, given.clusters, given.noise, given.spread, given.queries)
    with Database.open(given.library, read_only=True) as library:
        rows, dim = library.read.count() - given.queries, library.read.dim or 0
    return Recipe(rows, dim, 0, 0.0, 0, given.queries, str(given.library.absolute()))


def run(bench: Bench, steps: list[str]) -> None:
    """Run the steps that are not done yet, in the order of STEPS."""
    if unknown := set(steps) - set(STEPS):
        raise SystemExit(f"no such step: {', '.join(sorted(unknown))}")
    work: dict[str, Callable[[], None]] = {
        "fill": lambda: fill_library(bench),
        "exact": lambda: ask_exactly(bench),
        "graph": lambda: ask_graph(bench),
        "hnswlib": lambda: ask_other(bench, "hnswlib"),
        "faiss": lambda: ask_other(bench, "faiss"),
        "cold": lambda: ask_anew(bench),
    }
    for step in STEPS:
        if step in steps and not bench.done(step):
            print(f"{step} ...", file=sys.stderr, flush=True)
            began = time.perf_counter()
            work[step]()
            if step in bench.found["steps"]:
                bench.write(step, done=True)
            print(f"{step}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
