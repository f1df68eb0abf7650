"""Stores of vectors next to each other: SQLite with its graph (nmslib), and the real Milvus on the same machine.

    python -m benchmarks.store --rows 100000 --json stores.json

Rows are vectors of clusters (see `benchmarks.filled`) with paths and captions. Each store is given the same rows by
`upsert` in blocks of 1,000, made ready by `finish`, and asked the same queries one at a time, k = 10: all pictures, and
filters that leave a tenth, a hundredth and a thousandth of them. Recall is against numpy over all rows. Memory is that
of the process that holds the vectors: this one, grown since it began, or Milvus'. Needs the extra `test-distributed`.
D is the length of a vector.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.filled import draw
from benchmarks.measuring import Growth
from index.stores import open_store
from index.stores.protocol import ALL, Row, Store, Where
from tests.support.milvus import MilvusProcess

IDENTITY, K, BLOCK = "benchmark", 10, 1_000
LAW = (500, 1.0, 32)  # clusters, length of the noise, directions of the noise
HANDOFF = 60.0  # seconds in which Milvus takes a graph that is built into use
SHARES = (1.0, 0.1, 0.01, 0.001)
Vectors = NDArray[np.float32]


def rows_of(vectors: Vectors, first: int = 0) -> list[Row]:
    """Return pictures with these vectors (n, D); the date of a file is its number."""
    return [
        Row(f"/photos/{n // 1_000:05d}/{n:08d}.jpg", 100_000, n, hashlib.blake2b(b"%d" % n, digest_size=16).digest(),
            vector, f"a dog runs through the grass, picture {n}")
        for n, vector in enumerate(vectors, first)
    ]  # fmt: skip


def blocks(vectors: Vectors) -> Iterator[list[Row]]:
    """Yield rows as a build writes them."""
    for start in range(0, len(vectors), BLOCK):
        yield rows_of(vectors[start : start + BLOCK], start)


def nearest(vectors: Vectors, query: Vectors, last: int) -> set[int]:
    """Return the numbers of the K rows nearest to a query (D,), of the first `last`."""
    scores = vectors[:last] @ query
    return set(np.argpartition(-scores, min(K, last - 1))[:K].tolist())


def ask(store: Store, vectors: Vectors, queries: Vectors, share: float) -> dict[str, float]:
    """Time queries (n, D) one at a time: seconds at the median and at 95 of 100, recall@10, and answers too short."""
    last = max(K, int(len(vectors) * share))
    where = ALL if share == 1 else Where(until=last)
    for query in queries[:3]:  # caches and graphs are loaded by the first
        store.search(query, K, where)
    seconds, right, short = [], 0, 0
    for query in queries:
        start = time.perf_counter()
        found = store.search(query, K, where)
        seconds.append(time.perf_counter() - start)
        best = sorted(found, key=lambda one: -float(one.vector @ query))[:K]
        right += len({int(one.path[-12:-4]) for one in best} & nearest(vectors, query, last))
        short += len(best) < K
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"p50": float(p50), "p95": float(p95), "recall": right / (K * len(queries)), "short": short}


def measure(store: Store, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Fill a store and ask it."""
    store.adopt(IDENTITY, vectors.shape[1], 0.0)
    start = time.perf_counter()
    for rows in blocks(vectors):
        store.upsert(rows)
    written = time.perf_counter() - start
    store.finish()
    ready = time.perf_counter() - start - written
    if store.url.startswith("milvus:"):
        time.sleep(HANDOFF)
    asked = {f"{share:g}": ask(store, vectors, queries, share) for share in SHARES}
    return {"rows_a_second": len(vectors) / written, "ready": ready, "asked": asked}


def sqlite(folder: Path, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Measure a library file."""
    with Growth() as growth, closing(open_store(folder / "photos.library", create=True)) as store:
        found = measure(store, vectors, queries)
    disk = sum(file.stat().st_blocks * 512 for file in folder.glob("photos.library*"))
    return {**found, "memory": growth.peak, "disk": disk}


def milvus(folder: Path, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Measure a Milvus that is started for it."""
    server = MilvusProcess(folder / "milvus", queryNode__segcore__interimIndex__enableIndex="false")
    try:
        server.start()
        os.environ["MILVUS_TOKEN"] = server.set_password("for-the-benchmark")
        empty = server.resident()
        with closing(open_store(f"milvus://{server.address}/photos", create=True)) as store:
            found = measure(store, vectors, queries)
        return {**found, "memory": server.resident(), "empty": empty, "disk": server.on_disk()}
    finally:
        server.kill()


STORES = {"sqlite": sqlite, "milvus": milvus}


def table(results: dict[str, Any]) -> str:
    """Return the results as a table of Markdown: milliseconds, megabytes."""
    names = list(results)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]

    def line(what: str, values: Sequence[str]) -> None:
        lines.append(f"| {what} | {' | '.join(values)} |")

    line("rows written a second", [f"{results[name]['rows_a_second']:,.0f}" for name in names])
    line("seconds until the graph is there", [f"{results[name]['ready']:.1f}" for name in names])
    for share in map("{:g}".format, SHARES):
        asked = [results[name]["asked"][share] for name in names]
        what = "all pictures" if share == "1" else f"a filter that leaves {float(share):.1%}"
        line(f"{what}: p50 / p95, ms", [f"{1e3 * one['p50']:.1f} / {1e3 * one['p95']:.1f}" for one in asked])
        line(f"{what}: recall@10 (too short)", [f"{one['recall']:.3f} ({one['short']})" for one in asked])
    line("memory, MB", [f"{results[name]['memory'] / 1e6:,.0f}" for name in names])
    line("disk, MB", [f"{results[name]['disk'] / 1e6:,.0f}" for name in names])
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure the stores one after the other, print a table, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--json", type=Path, help="write the results there")
    given = parser.parse_args(arguments)
    vectors = np.concatenate(list(draw(given.rows, given.dim, *LAW)))
    queries = np.concatenate(list(draw(given.queries, given.dim, *LAW, first=1)))
    results = {}
    for name in given.stores.split(","):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = STORES[name](Path(folder), vectors, queries)
        print(f"{name}: load {os.getloadavg()[0]:.1f}", flush=True)
    print(table(results))
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
