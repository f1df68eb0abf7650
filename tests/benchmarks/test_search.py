"""The benchmarks of the library at scale, with a few hundred rows: what they print is what they measured."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import rescan, search
from benchmarks.filled import draw, fill
from benchmarks.measuring import Growth, own_memory
from benchmarks.search_others import installed
from benchmarks.search_table import table
from index.caches import graph as graphs
from index.database.database import Database

ROWS, DIM, QUERIES = 400, 24, 30
ARGUMENTS = f"--rows {ROWS} --dim {DIM} --clusters 5 --spread 8 --queries {QUERIES}".split()
SYSTEMS = {"exact", "library", "graph", "cold"} | {name for name in ("hnswlib", "faiss") if installed(name)}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "RUNS", 2)
        search.main([*ARGUMENTS, "--keep", str(folder)])
    return folder


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text("utf-8"))
    return found


def test_the_vectors_are_the_law_s() -> None:
    law = (DIM, 5, 0.1, 8)
    rows, again = (np.concatenate(list(draw(20_500, *law))) for _ in range(2))
    assert rows.shape == (20_500, DIM)
    assert np.array_equal(rows, again)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    other = np.concatenate(list(draw(100, *law, first=1)))
    nearest = np.sort(other @ rows.T, axis=1)[:, -10]
    assert not np.isclose(other[0] @ rows.T, 1, atol=1e-6).any()  # other vectors,
    assert (nearest > 0.98).all()  # of the same clusters: noise 0.1 turns by 0.1, two of them by 0.14, cos 0.99
    assert len(np.unique(np.round(rows[:200] @ rows[0]))) == 2  # some in its cluster (1), others far from it (0)


def test_a_library_as_a_build_writes_it(tmp_path: Path) -> None:
    vectors = np.concatenate(list(draw(300, DIM, 5, 1.0, 8)))
    assert fill(tmp_path / "library", draw(300, DIM, 5, 1.0, 8), "someone", DIM) == 300
    with Database.open(tmp_path / "library") as library:
        ids, rows = library.read.vectors_after(0)
        assert ids.tolist() == list(range(1, 301))
        assert np.allclose(rows, vectors, atol=1e-3)  # float16
        assert (
            library.read.count()
            == library.read.captioned()
            == len(library.read.dates_under("/home/ana/Pictures"))
            == 300
        )
        assert library.read.last_id() == 300 and library.read.knows_run(library.read.run_token())
        assert len({picture.hash for picture in library.read.pictures(range(1, 301)).values()}) == 300


def test_recall_is_that_of_a_double_loop(kept: Path) -> None:
    truth, queries = np.load(kept / "truth.npy"), np.load(kept / "queries.npy")
    with Database.open(kept / "library") as library:
        ids, vectors = library.read.vectors_after(0)
    for query, mine in zip(queries, truth, strict=True):
        cosines = sorted(sum(float(a) * float(b) for a, b in zip(query, row, strict=True)) for row in vectors)[-10:]
        assert np.allclose(sorted(vectors[np.searchsorted(ids, mine)] @ query), cosines, atol=1e-5)
    answers = [np.concatenate([row[:4], [0, -1]]) for row in truth]
    answers[0] = truth[0][::-1]
    assert search.recall(answers, truth) == pytest.approx((10 + 4 * (QUERIES - 1)) / (10 * QUERIES))


def test_every_system_is_measured(kept: Path) -> None:
    steps = results(kept)["steps"]
    assert set(steps) == SYSTEMS | {"fill"}
    for name in SYSTEMS:
        for times in steps[name]["queries"].values():
            assert 0 < times["median"] <= times["p95"]
            assert times["processor"] > 0
    for name in SYSTEMS - {"exact", "cold"}:
        assert [*steps[name]["queries"]] == ["100", "200", "400"]
        assert all(times["recall"] > 0.99 for times in steps[name]["queries"].values())  # 400 rows: all are looked at
    for name in SYSTEMS - {"exact", "cold", "library"}:
        assert steps[name]["disk"] > 4 * ROWS * DIM
        assert steps[name]["build"]["seconds"] > 0
    assert steps["exact"]["queries"][""]["recall"] == 1
    assert steps["cold"]["kind"] == "python -c"


def test_the_table(kept: Path) -> None:
    found = results(kept)
    lines = [line for line in table(found).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {12}
    assert len(lines) == 2 + 2 + 3 * (len(SYSTEMS) - 2)  # head; exact and cold; three widths of the others
    exact = found["steps"]["exact"]["queries"][""]["median"]
    graph = found["steps"]["graph"]["queries"]["200"]["median"]
    row = next(line.split(" | ") for line in lines if line.startswith("| nmslib") and "| 200 |" in line)
    assert float(row[9]) == pytest.approx(graph / exact, abs=1e-4)


def test_what_is_done_is_not_done_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(bench: search.Bench) -> None:
        raise AssertionError

    before = (kept / "results.json").read_bytes()
    for name in ("fill_library", "ask_exactly", "ask_graph", "ask_anew"):
        monkeypatch.setattr(search, name, never)
    search.main([*ARGUMENTS, "--keep", str(kept)])
    assert (kept / "results.json").read_bytes() == before
    with pytest.raises(SystemExit, match="another recipe"):
        search.main([*ARGUMENTS, "--queries", "7", "--keep", str(kept)])
    with pytest.raises(SystemExit, match="no such step: warm"):
        search.main([*ARGUMENTS, "--keep", str(kept), "--steps", "fill,warm"])


def test_the_vectors_of_a_library(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its queries are rows held back: they are in the one library and not in the other."""
    options = ["--library", str(kept / "library"), "--queries", "25", "--keep", str(tmp_path), "--steps", "fill,exact"]
    search.main(options)
    assert "| exact numpy |" in capsys.readouterr().out
    with Database.open(kept / "library") as theirs, Database.open(tmp_path / "library") as mine:
        _, all_rows = theirs.read.vectors_after(0)
        _, rows = mine.read.vectors_after(0)
    queries = np.load(tmp_path / "queries.npy")
    assert (len(all_rows), len(rows), len(queries)) == (ROWS, ROWS - 25, 25)
    assert ((queries @ all_rows.T).max(axis=1) > 0.9999).all()
    assert ((queries @ rows.T).max(axis=1) < 0.9999).all()


def test_the_width_of_queries_is_put_back() -> None:
    usual = graphs.QUERY_WIDTH
    with pytest.raises(KeyError), search.query_width(7):
        assert graphs.QUERY_WIDTH == 7
        raise KeyError
    assert usual == graphs.QUERY_WIDTH


def test_memory_that_stays_and_memory_that_goes() -> None:
    with Growth() as growth:
        before = own_memory()
        kept, gone = filled(32 << 20), filled(64 << 20)
        assert own_memory() - before > 90 << 20
        growth.clock.seconds()
        while growth.peak < before + (90 << 20):  # the watcher looks every 50 ms
            pass
        gone.close()
    assert len(kept) * 0.9 < growth.memory < len(kept) * 1.5
    assert growth.peak > 90 << 20


def filled(size: int) -> mmap.mmap:
    """So many bytes of memory, past the C library, which may keep what is freed (`vsearch.device.keep_memory`)."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, size, mmap.PAGESIZE):
        memory[start] = 1
    return memory


def test_a_build_with_nothing_to_do(tmp_path: Path) -> None:
    rescan.main(["--files", "230", "--runs", "1", "--graph-from", "100", "--json", str(tmp_path / "r.json")])
    found = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert found["files"] == 230
    assert 0 < found["nothing_new"]["processor"] < found["nothing_new"]["first"] + found["nothing_new"]["worst"]
    assert 0 < found["one_new"]["found"] < 60
