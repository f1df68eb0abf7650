"""Graph: exact search is the oracle, and every pitfall of nmslib has a test that fails without the guard."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.caches import graph as module
from index.caches.graph import Graph, inspect
from index.caches.sealed_file import CacheError

D = 16


def cloud(count: int, seed: int = 0, dim: int = D) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def ids_of(count: int, first: int = 10**12) -> NDArray[np.int64]:
    return np.arange(first, first + count, dtype=np.int64)  # beyond int32


@pytest.fixture(scope="module")
def built() -> Graph:
    return Graph.build(cloud(1500), ids_of(1500), {"token": "t"})


@pytest.fixture
def saved(built: Graph, tmp_path: Path) -> Path:
    path = tmp_path / "library.graph"
    built.save(path)
    return path


def recall(graph: Graph, vectors: NDArray[np.float32], ids: NDArray[np.int64], k: int = 10) -> float:
    hits = 0
    for query in cloud(50, seed=9, dim=vectors.shape[1]):
        oracle = ids[np.argsort(-(vectors @ query))[:k]]
        hits += len(np.intersect1d(graph.query(query, k)[0], oracle))
    return hits / (50 * k)


def test_agrees_with_exact_search(built: Graph) -> None:
    vectors, ids = cloud(1500), ids_of(1500)
    assert recall(built, vectors, ids) > 0.97
    found, cosines = built.query(vectors[7], 5)
    assert found[0] == ids[7]
    assert np.allclose(cosines, vectors[found - ids[0]] @ vectors[7], atol=1e-5)


def test_survives_the_disk(built: Graph, saved: Path) -> None:
    loaded = Graph.load(saved)
    assert (len(loaded), loaded.dim, loaded.facts["token"]) == (1500, D, "t")
    assert np.array_equal(loaded.ids, built.ids)
    for query in cloud(20, seed=3):
        (ids, cosines), (their_ids, their_cosines) = loaded.query(query, 10), built.query(query, 10)
        assert np.array_equal(ids, their_ids)
        assert np.allclose(cosines, their_cosines)


def test_a_long_answer_is_not_cut_short(built: Graph) -> None:
    """nmslib gives min(k, efSearch) neighbours and no word about it."""
    k = module.QUERY_WIDTH * 5
    found, cosines = built.query(cloud(1, seed=5)[0], k)
    assert len(set(found.tolist())) == k
    assert (np.diff(cosines) <= 1e-6).all()
    assert len(built.query(cloud(1, seed=5)[0], 10**6)[0]) == 1500


def test_copies_do_not_cut_the_graph_in_pieces(tmp_path: Path) -> None:
    """Thousands of equal vectors link only to each other in HNSW, and what lies behind them is not found."""
    vectors = cloud(2000, dim=64)
    vectors = np.concatenate([vectors[:1000], np.repeat(vectors[:1], 3000, axis=0), vectors[1000:]])
    ids = ids_of(5000)
    Graph.build(vectors, ids).save(tmp_path / "g")
    graph = Graph.load(tmp_path / "g")
    assert len(graph) == 5000
    assert recall(graph, vectors, ids) > 0.97
    found, cosines = graph.query(vectors[0], 3010)
    assert set(ids[:1]) | set(ids[1000:4000]) == set(found[:3001].tolist())
    assert len(found) == len(cosines) >= 3010
    assert np.allclose(cosines, vectors[found - ids[0]] @ vectors[0], atol=1e-5)
    assert (np.diff(cosines) <= 1e-6).all()


@pytest.mark.parametrize("dim", [D - 1, D + 1, 2 * D, 0])
def test_a_query_of_another_length(built: Graph, dim: int) -> None:
    """nmslib would read past the end of a shorter one."""
    with pytest.raises(ValueError, match="16 numbers"):
        built.query(np.ones(dim, np.float32), 3)
    with pytest.raises(ValueError, match="16 numbers"):
        built.query(np.ones((1, D), np.float32), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite(built: Graph, value: float) -> None:
    """nmslib answers such a query with distance 0 to anything."""
    query = np.ones(D, np.float32)
    query[3] = value
    with pytest.raises(ValueError, match="not finite"):
        built.query(query, 3)


def test_a_query_without_direction(built: Graph) -> None:
    with pytest.raises(ValueError, match="zero"):
        built.query(np.zeros(D, np.float32), 3)
    with pytest.raises(ValueError, match="at least 1"):
        built.query(np.ones(D, np.float32), 0)


def test_a_query_that_is_not_contiguous(built: Graph) -> None:
    query = cloud(1, seed=5)[0]
    spread = np.zeros(2 * D, np.float32)
    spread[::2] = query
    assert np.array_equal(built.query(spread[::2], 5)[0], built.query(query, 5)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_bad_row_never_gets_in(value: float) -> None:
    """One NaN row poisons the whole graph."""
    vectors = cloud(20)
    vectors[7] = value
    with pytest.raises(ValueError, match="not finite, or is zero"):
        Graph.build(vectors, ids_of(20))


@pytest.mark.parametrize("shape", [(0, D), (5, 0), (5,)])
def test_nothing_to_build_of(shape: tuple[int, ...]) -> None:
    """An empty nmslib index can crash the process."""
    with pytest.raises(ValueError, match="needs vectors"):
        Graph.build(np.ones(shape, np.float32), ids_of(shape[0]))


def test_ids_must_match() -> None:
    with pytest.raises(ValueError, match="4 vectors"):
        Graph.build(cloud(4), ids_of(3))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_graphs(count: int, tmp_path: Path) -> None:
    Graph.build(cloud(count), ids_of(count)).save(tmp_path / "g")
    found, _ = Graph.load(tmp_path / "g").query(cloud(count)[0], 10)
    assert sorted(found.tolist()) == ids_of(count).tolist()


def test_a_loaded_graph_cannot_be_saved(saved: Path) -> None:
    """nmslib writes garbage then."""
    loaded = Graph.load(saved)
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="cannot be saved"):
        loaded.save(saved)
    assert saved.read_bytes() == before


def test_nothing_can_be_added(built: Graph) -> None:
    """What nmslib is given after createIndex is never found: the graph offers no way to give it."""
    assert not [name for name in dir(built) if "add" in name.lower()]


def test_only_one_copy_of_the_vectors_on_disk(saved: Path) -> None:
    raw = 1500 * D * 4
    links = 1500 * 4 * (2 * module.LINKS + 8)
    assert raw < saved.stat().st_size < 1.3 * (raw + links) + 16 * 1500
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("keep", [0, 7, 16, 100, 0.3, 0.9, 0.999])
def test_truncated(saved: Path, keep: float) -> None:
    """nmslib may kill the process when it frees what it read of such a file."""
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep if keep >= 1 or keep == 0 else keep * len(data))])
    with pytest.raises(CacheError):
        Graph.load(saved)


def test_zeroed(saved: Path) -> None:
    """nmslib loads it and finds nothing."""
    saved.write_bytes(b"\0" * saved.stat().st_size)
    with pytest.raises(CacheError):
        Graph.load(saved)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.995])
def test_one_changed_byte(saved: Path, share: float) -> None:
    data = bytearray(saved.read_bytes())
    data[int(share * len(data))] ^= 0x10
    saved.write_bytes(bytes(data))
    with pytest.raises(CacheError):
        Graph.load(saved)


def test_another_space(saved: Path, built: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """nmslib reads a graph under any space without a word, and ranks wrongly."""
    monkeypatch.setattr(module, "SPACE", "l2")
    with pytest.raises(CacheError, match="another kind"):
        Graph.load(saved)


def test_missing_and_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(CacheError):
        Graph.load(tmp_path / "none")
    with pytest.raises(CacheError):
        Graph.load(tmp_path)


def test_a_file_of_nmslib_alone_is_refused(built: Graph, tmp_path: Path) -> None:
    built._index.saveIndex(os.fsencode(tmp_path / "bare"), save_data=False)
    with pytest.raises(CacheError):
        Graph.load(tmp_path / "bare")


def test_replaced_while_it_is_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of one file and links of another would answer nonsense."""

    def slow(path: Path) -> object:
        answer = inspect(path)
        Graph.build(cloud(30, seed=4), ids_of(30)).save(path)
        return answer

    monkeypatch.setattr(module, "inspect", slow)
    with pytest.raises(CacheError, match="replaced"):
        Graph.load(saved)


def test_a_failed_save_leaves_the_old_graph(saved: Path, built: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "seal", fail)
    with pytest.raises(OSError, match="No space"):
        built.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_an_odd_name(built: Graph, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"odd \xff\n\xf0\x9f\x93\xb7.graph")
    built.save(path)
    assert len(Graph.load(path)) == 1500


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt even where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_while_building_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """nmslib swallows the KeyboardInterrupt of a Ctrl-C during createIndex."""
    vectors = cloud(6000, dim=64)
    timer = threading.Timer(0.15, _thread.interrupt_main)
    monkeypatch.setattr(module, "BUILD_WIDTH", 400)
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        Graph.build(vectors, ids_of(6000))
    timer.join()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_before_the_building_begins_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of nmslib that is left alone ends the process with "FATAL: exception not rethrown"."""
    real, finished = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        real(thread)
        raise KeyboardInterrupt

    def work() -> None:
        time.sleep(0.3)
        finished.append(True)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module._uninterrupted(work)
    assert finished


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_waits_too() -> None:
    finished = []

    def work() -> None:
        for _ in range(2):
            _thread.interrupt_main()
            time.sleep(0.4)
        finished.append(True)

    with pytest.raises(KeyboardInterrupt):
        module._uninterrupted(work)
    assert finished


def test_failures_while_building_come_out() -> None:
    def fail() -> None:
        raise RuntimeError("from the thread")

    with pytest.raises(RuntimeError, match="from the thread"):
        module._uninterrupted(fail)


def test_nothing_is_said_on_stderr(tmp_path: Path) -> None:
    """In a fresh process: nmslib speaks when it is imported, when it builds and when it loads."""
    code = f"""
import numpy as np, sys, os
from collections.abc import Iterator
from pathlib import Path
from index.caches.graph import Graph
vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
path = Path({str(tmp_path / "g")!r})
Graph.build(vectors, np.arange(50)).save(path)
Graph.load(path).query(vectors[0], 3)
sys.stderr.write("still heard\\n")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "still heard\n")


def test_errors_on_stderr_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with module._quiet():
        os.write(2, b"Your CPU supports instructions that this binary was not compiled to use: AVX\n")
        os.write(2, b"2026-01-01 10:00:00 hnsw.cc:996 (LoadIndex) [INFO] Loading\nthe disk is on fire\n")
    assert capfd.readouterr().err == "the disk is on fire\n"
    with pytest.raises(RuntimeError), module._quiet():
        os.write(2, b"and so is this\n")
        raise RuntimeError
    assert capfd.readouterr().err == "and so is this\n"


def test_only_one_file_knows_nmslib() -> None:
    top = Path(module.__file__).parents[2]
    files = [path for part in ("index", "vsearch", "training") for path in (top / part).rglob("*.py")]
    files += [top / "cli.py"]
    importing = [path.name for path in files if path.exists() and "import nmslib" in path.read_text()]
    assert importing == ["graph.py"]
