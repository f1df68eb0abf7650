"""SIGKILL in the middle of a build: the library opens, searches, and the next build makes it whole.

The child stops itself at a named moment by waiting for ever, says so, and is killed there: no luck is needed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FakeDescriber, draw_folder

from index.build import build_index
from index.caches import load_graph
from index.library import Library
from index.search import Searcher, search
from vsearch.errors import LibraryError

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import FakeDescriber
import index.build, index.caches, index.cachefile, index.database, index.graph, index.library
from index.library import Library

def stop(*_, **__):
    print("stopped", flush=True)
    time.sleep(600)

def stop_at(owner, name, count, after=False):
    real, calls = getattr(owner, name), []
    def stopping(*args, **named):
        calls.append(1)
        if len(calls) == count and not after:
            stop()
        result = real(*args, **named)
        if len(calls) == count:
            stop()
        return result
    setattr(owner, name, stopping)

{stop}
with Library.open(Path({library!r}), create=True) as library:
    print("built", flush=True)
    model = FakeDescriber({identity!r})
    index.build.build_index(library, [{photos!r}], model, batch=3, reindex={reindex}, graph_from=5)
print("finished", flush=True)
"""

MOMENTS = {
    "while the tables are made": 'stop_at(index.library.Library, "note", 1)',
    "before the first batch": 'stop_at(FakeDescriber, "describe", 1)',
    "in the second batch": 'stop_at(FakeDescriber, "describe", 2, after=True)',
    "in the first transaction": 'stop_at(Library, "put", 2, after=True)',
    "in a later transaction": 'stop_at(Library, "put", 8)',
    "while a bad file is noted": 'stop_at(Library, "skip", 1, after=True)',
    "before the removals": 'stop_at(index.build._Build, "finish", 1)',
    "before the caches": 'stop_at(index.build, "refresh", 1)',
    "in the array": 'import index.arrays; stop_at(index.arrays, "seal", 1)',
    "in the graph": 'stop_at(index.graph, "seal", 1)',
    "after the graph": 'stop_at(index.graph.Graph, "save", 1, after=True)',
}


def wait_for_stop(child: subprocess.Popen[str]) -> str:
    """Read what the child says until it stands still or ends; returns the last line."""
    last = ""
    for line in child.stdout or ():
        last = line
        if line == "stopped\n":
            break
    return last


def kill_at(stop: str, library: Path, photos: Path, *, identity: str = "fake-model-1", reindex: bool = False) -> None:
    """Run a build in a process of its own and kill it at this moment."""
    code = CHILD.format(
        tests=str(Path(__file__).parent),
        stop=stop,
        library=str(library),
        photos=str(photos),
        identity=identity,
        reindex=reindex,
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        last = wait_for_stop(child)
        child.kill()
    assert last == "stopped\n", "the moment never came"


def rows(library: Library) -> dict[str, tuple[str | None, bytes]]:
    """Path -> caption and vector: all that a user could see."""
    found = {}
    for dates in library.dates_under("/"):
        vectors = library.vectors([dates.id])[1]
        found[dates.path] = (library.pictures([dates.id])[dates.id].caption, vectors.tobytes())
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 12)
    (tmp_path / "photos" / "004x.png").write_bytes(b"broken")
    return tmp_path / "photos"


@pytest.fixture
def whole(tmp_path: Path, photos: Path) -> dict[str, tuple[str | None, bytes]]:
    """What an undisturbed build makes."""
    with Library.open(tmp_path / "whole.sqlite3", create=True) as library:
        build_index(library, [photos], FakeDescriber())
        return rows(library)


@pytest.mark.parametrize("moment", MOMENTS)
def test_first_build(tmp_path: Path, photos: Path, whole: dict[str, tuple[str | None, bytes]], moment: str) -> None:
    path = tmp_path / "library.sqlite3"
    kill_at(MOMENTS[moment], path, photos)
    if moment != "while the tables are made":
        with Library.open(path, read_only=True) as library:
            half = rows(library)
            assert half.items() <= whole.items()  # nothing wrong, only less
            assert library.value("PRAGMA integrity_check") == "ok"
            query = np.linspace(-1, 1, 13, dtype=np.float32)
            for graph_from in (5, 10**6):
                hits = Searcher(library, graph_from=graph_from).search(query, 50)
                assert {hit.path for hit in hits} == set(half)
    with Library.open(path, create=True) as library:
        model = FakeDescriber()
        report = build_index(library, [photos], model, batch=3, graph_from=5)
        assert rows(library) == whole
        assert model.seen == report.encoded <= 12
        assert [Path(name).name for name, _ in report.skipped] == ["004x.png"]
        assert len(load_graph(library)) == 12
    assert not list(tmp_path.glob("*.tmp"))


def test_nothing_done_is_done_again(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "library.sqlite3"
    kill_at(MOMENTS["in the second batch"], path, photos)
    with Library.open(path) as library:
        model = FakeDescriber()
        build_index(library, [photos], model)
        assert model.seen == 12 - 3  # the first batch of three stayed


@pytest.mark.parametrize("moment", ["in the first transaction", "in a later transaction", "in the graph"])
def test_reindex(tmp_path: Path, photos: Path, moment: str) -> None:
    path = tmp_path / "library.sqlite3"
    with Library.open(path, create=True) as library:
        build_index(library, [photos], FakeDescriber(), graph_from=5)
        before = rows(library)
    kill_at(MOMENTS[moment], path, photos, identity="fake-model-2", reindex=True)
    with Library.open(path) as library:
        assert library.identity == "fake-model-2"
        with pytest.raises(LibraryError, match="another model"):
            build_index(library, [photos], FakeDescriber())
        build_index(library, [photos], FakeDescriber("fake-model-2"))
        assert rows(library) == before


def test_removals(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "library.sqlite3"
    with Library.open(path, create=True) as library:
        build_index(library, [photos], FakeDescriber())
    for number in (1, 2, 3):
        (photos / f"{number:03d}.png").unlink()
    kill_at('stop_at(Library, "remove", 1, after=True)', path, photos)
    with Library.open(path) as library:
        assert library.count() == 12
        report = build_index(library, [photos], FakeDescriber())
        assert (report.removed, library.count()) == (3, 9)


def test_two_search_while_one_builds(tmp_path: Path, photos: Path) -> None:
    """Searches by two other processes' worth of connections, while a build stands still inside a transaction."""
    path = tmp_path / "library.sqlite3"
    code = CHILD.format(
        tests=str(Path(__file__).parent),
        stop=MOMENTS["in a later transaction"],
        library=str(path),
        photos=str(photos),
        identity="fake-model-1",
        reindex=False,
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert wait_for_stop(child) == "stopped\n"
            query = np.linspace(-1, 1, 13, dtype=np.float32)
            with Library.open(path, read_only=True) as one, Library.open(path) as two:
                assert len(search(one, query, 50)) == len(search(two, query, 50)) == 6
                with pytest.raises(LibraryError, match="another build is writing"):
                    build_index(two, [photos], FakeDescriber())
        finally:
            child.kill()
