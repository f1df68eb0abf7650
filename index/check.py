"""Check whether a library is whole: the database, its rows and vectors, the caches next to it, the files on disk.

D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index import remedies
from index.build.scan import scan
from index.caches.graph import Graph, inspect
from index.caches.refresh import GRAPH_FROM, graph_path, load_graph, weights
from index.caches.sealed_file import CacheError, discard, footer, may_replace
from index.caches.vectors import arrays_path, load_arrays, positions
from index.database.database import Database
from index.paths import file_of
from vsearch.errors import LibraryError

SAMPLES = 200  # queries the graph answers, rows of the array that are compared
NEIGHBOURS = 10  # recall@10
LOW_RECALL = 0.95
UNIT = 5e-3  # float16 rounds each number by 5e-4 of itself at most
_SPREAD = 0.1  # length of the noise on a sampled vector of length one
_ROWS = 20_000  # read from the library at a time
_NAMED = 3  # examples in a message


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in words, and what to do about it."""

    message: str
    remedy: str


@dataclass(frozen=True)
class Checked:
    """What `check` saw. `recall` is that of the worst graph, None without one; `unseen` holds (path, reason) of places
    that could not be looked into.
    """

    pictures: int
    findings: tuple[Finding, ...]
    recall: float | None
    unseen: tuple[tuple[str, str], ...]


def check(database: Database, *, graph_from: int = GRAPH_FROM) -> Checked:
    """Verify a library; a cache that turns out to be damaged is deleted, for it is made again. Nothing else is changed.

    Missing files are looked for as a build would, so not below places that cannot be read or are not mounted.
    Raises LibraryError if the library cannot be read at all.
    """
    findings: list[Finding] = []
    recalls: list[float] = []
    unseen: list[tuple[str, str]] = []
    pictures = 0
    with database.snapshot():
        try:
            findings += _integrity(database)
            pictures = database.read.count()
            findings += _rows(database)
            wrong = _vectors(database)
            findings += [*wrong, *([] if wrong else _caches(database))]
            for graph in _graphs(database, graph_from):
                if isinstance(graph, Finding):
                    findings.append(graph)
                elif not wrong:
                    recalls.append(graph_recall(database, graph))
                    findings += _low(database, graph, recalls[-1])
            unseen = _missing(database, findings)
        except LibraryError as error:
            findings.append(Finding(str(error), error.hint))
    return Checked(pictures, tuple(findings), min(recalls, default=None), tuple(unseen))


# ---- the database


def _integrity(database: Database) -> list[Finding]:
    lines = database.read.integrity(_NAMED)
    if not lines:
        return []
    remedy = f"restore it from a copy, or move it aside and build it again: {remedies.move_aside(database.path)}"
    told = "; ".join(" ".join(line.split()) for line in lines)
    return [Finding(f"the database is damaged: {told}", remedy)]


def _rows(database: Database) -> Iterator[Finding]:
    """Yield a finding for each kind of rows that have no partner."""
    again = f"embed everything again: {database.reindex_code()}"
    for what, number in database.read.unmatched().items():
        if number:
            yield Finding(f"{number} {what}", again)
    if number := database.texts.wrong():
        yield Finding(f"{number} pictures have other words in the index of words", again)
    if number := database.texts.missing():
        yield Finding(f"{number} pictures are not in the index of words", f"put them there: {_build(database)}")


def _vectors(database: Database) -> list[Finding]:
    """Return a finding for each kind of vectors of which some are not D finite numbers of unit length."""
    again = f"embed everything again: {database.reindex_code()}"
    dim, findings = database.read.dim, []
    kinds = {"vectors": False, "vectors of captions": True} if database.read.places_captions() else {"vectors": False}
    for kind, captions in kinds.items():
        wrong = sum(_wrong(block, dim or 0) for block in database.read.packed(_ROWS, captions=captions))
        if wrong:
            findings.append(Finding(f"{wrong} {kind} are not of {dim} numbers and unit length", again))
    return findings


def _wrong(blobs: list[bytes], dim: int) -> int:
    """Count the packed vectors that are not of `dim` finite numbers and unit length."""
    fitting = [blob for blob in blobs if isinstance(blob, bytes) and len(blob) == 2 * dim]
    rows = np.frombuffer(b"".join(fitting), "<f2").astype(np.float32).reshape(len(fitting), dim)  # (n, D)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return len(blobs) - int((np.abs(lengths - 1) <= UNIT).sum())  # NaN is not below it


# ---- the caches


def _caches(database: Database) -> Iterator[Finding]:
    """Yield caches that are there and are not whole, or of another library."""
    for weight in (0.0, 1.0):  # a name stands for any weight but 0
        path = arrays_path(database, weight)
        if path.exists():
            yield from _tried(database, path, _array)
        path = graph_path(database, weight)
        if path.exists():
            yield from _tried(database, path, _whole_graph)


def _tried(database: Database, path: Path, look: Callable[[Database, Path], None]) -> Iterator[Finding]:
    try:
        look(database, path)
    except CacheError as error:
        with Database.open(database.path, read_only=True) as now:
            if now.read.run_token() != database.read.run_token():
                return  # a build has replaced it since the snapshot was taken
        if not may_replace(path):
            yield Finding(f"{path} is another program's file: searches do without a cache", "move it aside")
            return
        discard(path)
        remedy = f"delete it: {remedies.remove(path)}" if path.exists() else "it was deleted"
        yield Finding(f"the cache {path} cannot be used: {error}", f"{remedy}; {_build(database)} makes it again")


def _array(database: Database, path: Path) -> None:
    """Raise CacheError if the array is damaged, or rows of it are not what the library has."""
    weight = _weight(path)
    arrays = load_arrays(database, weight, again=True)
    alive, mine = database.read.vectors(_sample(arrays.ids), weight)
    if not np.allclose(arrays.vectors[positions(arrays.ids, alive)], mine, atol=1e-6):
        raise CacheError("its vectors are not those of the library")


def _whole_graph(database: Database, path: Path) -> None:
    """Raise CacheError if the graph is damaged, or not of this library."""
    inspect(path, again=True)
    load_graph(database, _weight(path))


def _weight(path: Path) -> float:
    """Return how much captions count in a cache, as its footer says."""
    try:
        with path.open("rb") as file:
            return float(footer(file).get("weight", 0.0))
    except (OSError, TypeError, ValueError) as error:
        raise CacheError(str(error)) from None


# ---- the graph's recall


def _graphs(database: Database, graph_from: int) -> Iterator[Graph | Finding]:
    """Yield the graphs that searches use, and a finding for each that they lack."""
    if database.read.count() < graph_from:
        return
    for weight in weights(database):
        try:
            yield load_graph(database, weight)
        except CacheError:
            name = graph_path(database, weight)
            yield Finding(f"there is no graph {name}: searches compare every picture", f"make it: {_build(database)}")


def _sample(ids: NDArray[np.int64]) -> list[int]:
    """Return some of the ids (n,), the same at every call, ascending."""
    chosen = np.random.default_rng(0).choice(ids, min(SAMPLES, len(ids)), replace=False)
    return sorted(chosen.tolist())


def graph_recall(database: Database, graph: Graph) -> float:
    """Return recall@10 of the graph, 0 to 1: of what it answers, the share that is as near as the ten nearest.

    Queries are 200 vectors of its own, moved a little (noise of a tenth of their length, the same at every call);
    exact search over the rows that the graph knows is the truth. Rows as near as the tenth count as right, so copies
    may stand for each other.
    """
    weight = float(graph.facts.get("weight", 0.0))
    _, sampled = database.read.vectors(_sample(graph.ids), weight)  # (q, D)
    if not len(sampled):
        return 1.0  # all it knew is gone
    noise = np.random.default_rng(0).standard_normal(sampled.shape).astype(np.float32)
    queries = sampled + _SPREAD * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = _tenth(database, graph, queries, weight)
    right = total = 0
    for query, (bound, possible) in zip(queries, best, strict=True):
        right += min(possible, _near(database, graph, query, weight, bound))
        total += possible
    return right / total


def _near(database: Database, graph: Graph, query: NDArray[np.float32], weight: float, bound: float) -> int:
    """Count, of the ten pictures that the graph answers first, those with a cosine of at least `bound`."""
    asked = NEIGHBOURS
    while True:
        ids, _ = graph.query(query, asked)
        alive, vectors = database.read.vectors(ids.tolist(), weight)  # in the order of their ids
        if len(alive) >= NEIGHBOURS or asked >= len(graph):
            return int((vectors @ query >= bound).sum())
        asked *= 4


def _tenth(database: Database, graph: Graph, queries: NDArray[np.float32], weight: float) -> list[tuple[float, int]]:
    """Return for each query (q, D): the cosine of the tenth nearest, less rounding, and how many there are up to
    ten."""
    top = np.empty((len(queries), 0), np.float32)
    for ids, vectors in database.read.blocks(_ROWS, weight):
        known = np.isin(ids, graph.ids)
        top = np.concatenate([top, queries @ vectors[known].T], axis=1)
        if top.shape[1] > NEIGHBOURS:
            top = -np.partition(-top, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    return [(float(bound) - 1e-5, top.shape[1]) for bound in top.min(axis=1)]


def _low(database: Database, graph: Graph, recall: float) -> list[Finding]:
    if recall >= LOW_RECALL:
        return []
    path = graph_path(database, graph.facts.get("weight", 0.0))
    rebuild = f"{remedies.remove(path)}; {_build(database)}"
    remedy = f"`library.search(exact=True)` misses none; to rebuild the graph: {rebuild}"
    return [Finding(f"the graph {path} finds only {recall:.1%} of the ten nearest", remedy)]


# ---- the files


def _missing(database: Database, findings: list[Finding]) -> list[tuple[str, str]]:
    """Add a finding for each folder from which a build would remove pictures; return places nobody could look at."""
    read = database.read
    walk = scan(
        read.folders(),
        read.mounts(),
        follow_links=read.follows_links,
        videos=bool(read.video_every),
        excludes=read.excludes(),
    )
    there = {file.path for file in walk}
    for folder in walk.folders:
        paths = (dates.path for dates in database.read.dates_under(folder))
        gone = [path for path in paths if path not in there and file_of(path) not in there and not walk.kept(path)]
        there.update(gone)  # a folder inside this one does not tell them again
        out = [path for path in gone if walk.is_excluded(path)]
        for listed, what in ((sorted(set(gone).difference(out)), "no longer on disk"), (out, "to be left out now")):
            if listed:
                noun = "picture is" if len(listed) == 1 else "pictures are"
                remedy = f"take them out: {_build(database, folder)}"
                findings.append(Finding(f"{len(listed)} {noun} {what}: {_some(listed)}", remedy))
    return walk.unreadable


def _some(paths: Iterable[str]) -> str:
    listed = list(paths)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more


def _build(database: Database, folder: str | None = None) -> str:
    """Return the code that builds this library once more."""
    known = [folder] if folder else database.read.folders()[:1]
    return remedies.build(database.path, f"[{remedies.literal(known[0])}]" if known else remedies.FOLDER)
