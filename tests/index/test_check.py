"""`check` against damage of every kind, made by the test; and what it must leave alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import check as module
from index.build.build import build_index
from index.build.scan import scan
from index.caches.graph import Graph
from index.caches.refresh import graph_path, load_graph
from index.caches.vectors import arrays_path, load_arrays, make_arrays
from index.check import Checked, check, graph_recall
from index.database.database import Database
from index.database.write import NewPicture
from index.forget import forget
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.commands.terms import typed
from vsearch.errors import LibraryError
from vsearch.scores import Scores


@pytest.fixture
def built(library: Database, describer: FakeDescriber, tmp_path: Path) -> Database:
    """Twelve pictures in two folders, with captions in the ranking, and a graph."""
    draw_folder(tmp_path / "one", 8)
    draw_folder(tmp_path / "two", 4, first=8)
    describer.scores = Scores(0.3)
    build_index(library, [tmp_path / "one", tmp_path / "two"], describer, graph_from=1)
    return library


def told(seen: Checked) -> str:
    """What the command says."""
    return "\n".join(f"{finding.message}; {typed(finding.remedy)}" for finding in seen.findings)


def test_a_whole_library(built: Database) -> None:
    seen = check(built, graph_from=1)
    assert (seen.pictures, seen.findings, seen.recall, seen.unseen) == (12, (), 1.0, ())
    assert check(built).recall is None  # too small for a graph to be asked


def test_an_empty_library(library: Database) -> None:
    assert check(library) == Checked(0, (), None, ())


DAMAGE = {
    "1 pictures have no vector": "DELETE FROM vectors WHERE id = 3",
    "1 vectors have no picture": "INSERT INTO vectors SELECT 99, vector FROM vectors WHERE id = 3",
    "1 pictures count as removed": "INSERT INTO removed VALUES (3)",
    "1 caption vectors have no picture": "INSERT INTO caption_vectors SELECT 99, vector FROM vectors WHERE id = 3",
    "1 details have no picture": "INSERT INTO details (id, width, height) VALUES (99, 1, 1)",
    "1 notes have no picture": "INSERT INTO notes (id, keywords) VALUES (99, '[]')",
    "1 texts have no picture": "INSERT INTO texts (rowid, caption) VALUES (99, 'a dog')",
    "1 vectors are not of 13": "UPDATE vectors SET vector = zeroblob(26) WHERE id = 3",
    "2 vectors are not of 13": "UPDATE vectors SET vector = zeroblob(24) WHERE id IN (3, 4)",
    "1 vectors of captions are not of 13": "UPDATE caption_vectors SET vector = zeroblob(26) WHERE id ="
    " (SELECT min(id) FROM caption_vectors)",
}


@pytest.mark.parametrize("message", DAMAGE)
def test_rows_that_are_wrong(built: Database, message: str, describer: FakeDescriber) -> None:
    built.connection.execute(DAMAGE[message])
    seen = check(built)
    assert message in told(seen)
    assert "vsearch reindex --library" in told(seen)
    build_index(built, [], describer, reindex=True)  # what the remedy does
    assert check(built).findings == ()


def test_vectors_that_are_not_finite_or_not_of_unit_length(built: Database) -> None:
    for id_, value in ((1, np.nan), (2, np.inf), (3, 0.3), (4, 0.2773)):  # 13 times 0.2773 squared: 0.9997
        built.connection.execute(
            "UPDATE vectors SET vector = ? WHERE id = ?", (np.full(13, value, "<f2").tobytes(), id_)
        )
    assert "3 vectors are not of 13 numbers and unit length" in told(check(built))


def test_a_damaged_page(built: Database) -> None:
    path = built.path
    root = built.connection.value("SELECT rootpage FROM sqlite_master WHERE name = 'pictures_hash'")
    size = built.connection.value("PRAGMA page_size")
    built.close()
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size + size - 200)
        file.write(b"\xff" * 200)
    with Database.open(path, read_only=True) as library:
        text = told(check(library))
    assert "damaged" in text
    assert f"mv -n {path} {path}.aside" in text and f"{path}*" not in text


def flip(path: Path) -> None:
    """Change one byte and keep the file's dates, as a failing disk would."""
    stat = path.stat()
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [flip, cut])
@pytest.mark.parametrize("ending", [".vectors", ".mixed", ".graph", ".mixed-graph"])
def test_damaged_caches_are_deleted_and_made_anew(
    built: Database, describer: FakeDescriber, tmp_path: Path, harm: Callable[[Path], None], ending: str
) -> None:
    path = built.path.with_name(built.path.name + ending)
    harm(path)
    seen = check(built, graph_from=1)
    assert f"the cache {path} cannot be used" in seen.findings[0].message
    assert f"it was deleted; `Library.open({str(built.path)!r}, model).build([" in seen.findings[0].remedy
    assert not path.exists()
    build_index(built, [tmp_path / "one"], describer, graph_from=1)
    assert path.exists()
    assert check(built, graph_from=1).findings == ()


def test_an_array_with_other_vectors(built: Database) -> None:
    built.connection.execute("UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE id = 2) WHERE id = 1")
    assert "its vectors are not those of the library" in told(check(built))
    make_arrays(built)
    make_arrays(built, 0.3)
    assert check(built).findings == ()


def test_a_cache_that_a_build_replaced_meanwhile_is_kept(built: Database, describer: FakeDescriber) -> None:
    with built.snapshot():
        assert built.read.count() == 12
        with Database.open(built.path) as other:
            build_index(other, [], describer, reindex=True)
        assert check(built).findings == ()
    assert arrays_path(built).exists()


def test_a_graph_that_is_missing(built: Database) -> None:
    graph_path(built).unlink()
    text = told(check(built, graph_from=1))
    assert "there is no graph" in text and "vsearch build-index --library" in text
    assert check(built, graph_from=13).findings == ()


def test_a_graph_that_finds_little(built: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "query", lambda self, vector, k: (self.ids[:1], np.ones(1, np.float32)))
    seen = check(built, graph_from=1)
    # Of 12 rows all ten nearest count, and one row is always answered: 1 of 10 where it is among them.
    assert seen.recall is not None and 0 < seen.recall <= 0.1
    assert "of the ten nearest" in told(seen) and "--exact" in told(seen)


def test_recall_is_what_a_naive_count_gives(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 130)
    rows = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    library.adopt("model", 6)
    with library.writing():
        library.write.start_run()
        for n, row in enumerate(rows):
            library.write.put(NewPicture(f"/p/{n:03d}", 1, 1, n.to_bytes(16, "big"), row, None))
    arrays = make_arrays(library)
    graph = Graph.build(arrays.vectors, arrays.ids, {"token": arrays.token, "last_id": arrays.last_id})
    library.write.remove([f"/p/{n:03d}" for n in range(0, 400, 5)])
    assert graph_recall(library, graph) > 0.99
    honest = graph.query
    kept = set(arrays.ids[::2].tolist())  # half of the rows are never answered

    def half(vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        ids, cosines = honest(vector, k)
        keep = np.isin(ids, list(kept))
        return ids[keep], cosines[keep]

    monkeypatch.setattr(graph, "query", half)
    assert 0.3 < graph_recall(library, graph) < 0.7


# ---- files


def test_missing_files_are_those_that_a_build_removes(
    built: Database, describer: FakeDescriber, tmp_path: Path
) -> None:
    for n in range(5):
        (tmp_path / "one" / f"{n:03d}.png").unlink()
    (tmp_path / "two" / "009.png").unlink()
    one, two = check(built).findings
    assert one.message.startswith("5 pictures are no longer on disk: ") and one.message.endswith("002.png and 2 more")
    assert two.message == f"1 picture is no longer on disk: {tmp_path / 'two' / '009.png'}"
    assert one.remedy == f"take them out: `Library.open({str(built.path)!r}, model).build([{str(tmp_path / 'one')!r}])`"
    report = build_index(built, [tmp_path / "one", tmp_path / "two"], describer)
    assert report.removed == 6
    assert check(built).findings == ()


def test_folders_that_cannot_be_read_miss_nothing(built: Database, tmp_path: Path) -> None:
    (tmp_path / "one").rename(tmp_path / "away")
    seen = check(built)
    assert seen.findings == ()
    assert seen.unseen == ((str(tmp_path / "one"), "no such folder"),)


def test_an_unmounted_disk_misses_nothing(built: Database, tmp_path: Path) -> None:
    built.write.set_folders([], [str(tmp_path / "two")])  # as if it had been a mount point
    shutil.rmtree(tmp_path / "two")
    (tmp_path / "two").mkdir()
    seen = check(built)
    assert seen.findings == ()
    assert seen.unseen == ((str(tmp_path / "two"), "empty: its disk is not mounted"),)


def test_nothing_else_is_changed(built: Database) -> None:
    before = {path: path.read_bytes() for path in built.path.parent.glob("library*") if path.suffix != ".lock"}
    check(built, graph_from=1)
    after = {path: path.read_bytes() for path in built.path.parent.glob("library*") if path.suffix != ".lock"}
    assert {p: d for p, d in after.items() if not p.name.endswith("-shm")} == {
        p: d for p, d in before.items() if not p.name.endswith("-shm")
    }


# ---- forget


def test_forget_takes_out_a_folder(built: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    (tmp_path / "two" / "bad.jpg").write_bytes(b"no picture")
    build_index(built, [tmp_path / "two"], describer)
    done = forget(built, [tmp_path / "two"])
    assert (done.folders, done.pictures, done.covered, done.total) == (1, 4, (), 8)
    assert built.read.folders() == [str(tmp_path / "one")]
    assert built.read.skipped() == [] and len(built.read.dates_under(str(tmp_path / "two"))) == 0
    assert len(load_arrays(built).ids) <= 12 and check(built).findings == ()
    assert len(list((tmp_path / "two").iterdir())) == 5
    assert build_index(built, [], describer, reindex=True).total == 8


def test_forget_takes_folders_below_along(built: Database, tmp_path: Path) -> None:
    built.write.set_folders([], [str(tmp_path / "one" / "disk"), "/elsewhere"])
    done = forget(built, [tmp_path])
    assert (done.folders, done.pictures, done.total) == (2, 12, 0)
    assert (built.read.folders(), built.read.mounts()) == ([], ["/elsewhere"])


def test_forget_tells_what_comes_back(built: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    build_index(built, [tmp_path], describer)
    done = forget(built, [tmp_path / "two"])
    assert (done.folders, done.pictures) == (1, 4)
    assert done.covered == ((str(tmp_path / "two"), str(tmp_path)),)
    assert len(list(scan([tmp_path]))) == 12


def test_forget_of_an_unknown_folder_changes_nothing(built: Database, tmp_path: Path) -> None:
    (tmp_path / "one" / "sub").mkdir()
    for folder in (tmp_path / "three", tmp_path / "one" / "sub", Path(str(tmp_path / "on"))):
        with pytest.raises(LibraryError, match="is no folder of the library") as caught:
            forget(built, [tmp_path / "two", folder])
        assert "`library.folders()`" in caught.value.hint
    assert built.read.count() == 12 and len(built.read.folders()) == 2


def test_forget_waits_for_no_build(built: Database, tmp_path: Path) -> None:
    with Database.open(built.path) as other, other.building(), pytest.raises(LibraryError, match="another build"):
        forget(built, [tmp_path / "one"])
    assert load_graph(built).ids.shape == (12,)
