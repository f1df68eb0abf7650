"""SIGKILL in the middle of a build: the library opens, searches, and the next build makes it whole.

The child stops itself at a named moment by waiting for ever, says so, and is killed there: no luck is needed. At the
end sixty kills of one library, at moments drawn from a seed, while the build runs on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from index.build.build import build_index
from index.caches.refresh import load_graph
from index.database.database import Database
from index.database.schema import pack, unpack
from index.search.searcher import Searcher
from tests.support.pictures import FakeDescriber, draw, draw_folder
from tests.support.searching import ask, search
from vsearch.errors import LibraryError
from vsearch.image.decode import decode
from vsearch.image.pixels import to_pixels

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.support.pictures import FakeDescriber
import index.build.build, index.caches.graph, index.caches.refresh, index.caches.sealed_file
import index.database.connection
from index.database.database import Database
from index.database.write import Writing

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
with Database.open(Path({library!r}), create=True) as library:
    print("built", flush=True)
    model = FakeDescriber({identity!r})
    index.build.build.build_index(library, [{photos!r}], model, batch=3, reindex={reindex}, graph_from=5)
print("finished", flush=True)
"""

MOMENTS = {
    "while the tables are made": 'stop_at(Writing, "note", 1)',
    "before the first batch": 'stop_at(FakeDescriber, "describe", 1)',
    "in the second batch": 'stop_at(FakeDescriber, "describe", 2, after=True)',
    "in the first transaction": 'stop_at(Writing, "put", 2, after=True)',
    "in a later transaction": 'stop_at(Writing, "put", 8)',
    "while a bad file is noted": 'stop_at(Writing, "skip", 1, after=True)',
    "before the removals": 'stop_at(index.build.build, "finish", 1)',
    "before the caches": 'stop_at(index.build.build, "refresh", 1)',
    "in the array": 'import index.caches.vectors; stop_at(index.caches.vectors, "seal", 1)',
    "in the graph": 'stop_at(index.caches.graph, "seal", 1)',
    "after the graph": 'stop_at(index.caches.graph.Graph, "save", 1, after=True)',
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
        tests=str(ROOT),
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


def rows(library: Database) -> dict[str, tuple[str | None, bytes]]:
    """Path -> caption and vector: all that a user could see."""
    found = {}
    for dates in library.read.dates_under("/"):
        vectors = library.read.vectors([dates.id])[1]
        found[dates.path] = (library.read.pictures([dates.id])[dates.id].caption, vectors.tobytes())
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "photos", 12)
    (tmp_path / "photos" / "004x.png").write_bytes(b"broken")
    return tmp_path / "photos"


@pytest.fixture
def whole(tmp_path: Path, photos: Path) -> dict[str, tuple[str | None, bytes]]:
    """What an undisturbed build makes."""
    with Database.open(tmp_path / "whole.sqlite3", create=True) as library:
        build_index(library, [photos], FakeDescriber())
        return rows(library)


@pytest.mark.parametrize("moment", MOMENTS)
def test_first_build(tmp_path: Path, photos: Path, whole: dict[str, tuple[str | None, bytes]], moment: str) -> None:
    path = tmp_path / "library.sqlite3"
    kill_at(MOMENTS[moment], path, photos)
    if moment != "while the tables are made":
        with Database.open(path, read_only=True) as library:
            half = rows(library)
            assert half.items() <= whole.items()  # nothing wrong, only less
            assert library.connection.value("PRAGMA integrity_check") == "ok"
            query = np.linspace(-1, 1, 13, dtype=np.float32)
            for graph_from in (5, 10**6):
                hits = ask(Searcher(library, graph_from=graph_from), query, 50)
                assert {hit.path for hit in hits} == set(half)
    with Database.open(path, create=True) as library:
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
    with Database.open(path) as library:
        model = FakeDescriber()
        build_index(library, [photos], model)
        assert model.seen == 12 - 3  # the first batch of three stayed


@pytest.mark.parametrize("moment", ["in the first transaction", "in a later transaction", "in the graph"])
def test_reindex(tmp_path: Path, photos: Path, moment: str) -> None:
    path = tmp_path / "library.sqlite3"
    with Database.open(path, create=True) as library:
        build_index(library, [photos], FakeDescriber(), graph_from=5)
        before = rows(library)
    kill_at(MOMENTS[moment], path, photos, identity="fake-model-2", reindex=True)
    with Database.open(path) as library:
        assert library.read.identity == "fake-model-2"
        with pytest.raises(LibraryError, match="another model"):
            build_index(library, [photos], FakeDescriber())
        build_index(library, [photos], FakeDescriber("fake-model-2"))
        assert rows(library) == before


def test_removals(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "library.sqlite3"
    with Database.open(path, create=True) as library:
        build_index(library, [photos], FakeDescriber())
    for number in (1, 2, 3):
        (photos / f"{number:03d}.png").unlink()
    kill_at('stop_at(Writing, "remove", 1, after=True)', path, photos)
    with Database.open(path) as library:
        assert library.read.count() == 12
        report = build_index(library, [photos], FakeDescriber())
        assert (report.removed, library.read.count()) == (3, 9)


def test_two_search_while_one_builds(tmp_path: Path, photos: Path) -> None:
    """Searches by two other processes' worth of connections, while a build stands still inside a transaction."""
    path = tmp_path / "library.sqlite3"
    code = CHILD.format(
        tests=str(ROOT),
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
            with Database.open(path, read_only=True) as one, Database.open(path) as two:
                assert len(search(one, query, 50)) == len(search(two, query, 50)) == 6
                with pytest.raises(LibraryError, match="another build is writing"):
                    build_index(two, [photos], FakeDescriber())
        finally:
            child.kill()


# ---- sixty kills of one library, at moments drawn from a seed

MANY = """
import json, os, signal, sys, traceback
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.support.pictures import FakeDescriber
import index.build.build, index.caches.refresh, index.caches.graph
from index.database.database import Database
from vsearch.scores import Scores

index.caches.refresh.STALE_ROWS = index.caches.refresh.STALE_SHARE = 0  # every build makes every cache again
index.caches.graph._new()  # loads nmslib before the first fork
PHASES = {{"prepare": "prepare", "plan": "make_plan", "run": "run", "finish": "finish", "refresh": "refresh"}}
calls = {{}}

def counted(phase, real, wanted, moment):
    def count(*_):
        calls[phase] += 1
        if phase == wanted and calls[phase] == moment:
            os.write(1, b"now\\n")
    def counting(*args, **named):
        calls[phase] = 0
        sys.setprofile(count)  # called for every function, of Python and of C
        try:
            return real(*args, **named)
        finally:
            sys.setprofile(None)
    return counting

def build(wanted, moment):
    for phase, name in PHASES.items():
        real = getattr(index.build.build, name)
        setattr(index.build.build, name, counted(phase, real, wanted, moment))
    model = FakeDescriber()
    model.scores = Scores(0.3)
    with Database.open(Path({library!r}), create=True) as library:
        index.build.build.build_index(library, [{photos!r}], model, batch=2, threads=1, graph_from=5)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            os.write(1, b"%d\\n" % os.getpid())
            wanted, moment = line.split()
            build(wanted, int(moment))
            os.write(1, json.dumps(calls).encode() + b"\\n")
        except BaseException:
            traceback.print_exc()
            os.write(1, b"failed\\n")
        signal.pause()
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""
PHASES = ("prepare", "plan", "run", "run", "finish", "refresh")  # each round takes the next
Row = tuple[str | None, bytes]


class Victim:
    """A process that forks a build for every kill, and says when the moment has come."""

    def __init__(self, library: Path, photos: Path) -> None:
        code = MANY.format(tests=str(ROOT), library=str(library), photos=str(photos))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdin and self.process.stdout
        self._tell, self._told = self.process.stdin, self.process.stdout

    def kill(self, phase: str, moment: int) -> str:
        """Kill a build at the call number `moment` of a phase; what it said last, its calls if it got to its end."""
        self._tell.write(f"{phase} {moment}\n")
        self._tell.flush()
        child = int(self._told.readline())
        last = self._told.readline()
        os.kill(child, signal.SIGKILL)
        assert last == "gone\n" or "gone\n" in self._told, "the process that forks is no more"
        assert last == "now\n" or last.startswith("{"), last
        return last

    def close(self) -> None:
        self._tell.close()
        self.process.wait(10)
        self._told.close()


def truth(path: Path) -> Row:
    """The row that this file must have, made without any library."""
    model = FakeDescriber()
    pixels = to_pixels(decode(path), model.side)
    vector = model.describe(pixels[None], captions=False)[0][0]
    return model.caption_of(pixels), unpack([pack(vector)], model.dim).tobytes()


def change(photos: Path, number: int, right: dict[str, list[Row]]) -> None:
    """A new picture, a changed, a renamed and a removed one; `right` gets the rows they may have from now on."""
    names = sorted(photos.iterdir())
    (fresh,) = draw_folder(photos, 1, first=100 + number)
    draw(1000 + number).save(names[0])
    moved = names[1].rename(photos / f"moved{number}.png")
    if len(names) > 12:
        names[2].unlink()
    for path in (fresh, names[0], moved):
        right.setdefault(str(path), []).append(truth(path))


def verify(path: Path, right: dict[str, list[Row]], before: dict[str, Row]) -> dict[str, Row]:
    """After a kill: every row is right, none is lost whose file is there, and searches find exactly the rows."""
    with Database.open(path, read_only=True) as library:
        assert library.connection.value("PRAGMA integrity_check") == "ok"
        found = rows(library)
        for name, row in found.items():
            assert row in right[name]
        for name, row in before.items():
            if os.path.exists(name):
                assert found.get(name) in right[name][right[name].index(row) :]
        query = np.linspace(-1, 1, 13, dtype=np.float32)
        for graph_from in (5, 10**6):
            searcher = Searcher(library, graph_from=graph_from, graph_after=0)
            hits = ask(searcher, query, 50)
            assert {hit.path: hit.caption for hit in hits} == {name: caption for name, (caption, _) in found.items()}
            cosines = [float(np.frombuffer(found[hit.path][1], np.float32) @ query) for hit in hits]
            assert np.allclose(cosines, np.array([hit.cosine for hit in hits]) * np.linalg.norm(query), atol=1e-5)
    return found


def test_sixty_kills_at_any_moment(tmp_path: Path) -> None:
    path, photos, rng = tmp_path / "library.sqlite3", tmp_path / "photos", Random(0)
    right = {str(photo): [truth(photo)] for photo in draw_folder(photos, 12)}
    victim = Victim(path, photos)
    try:
        victim.kill("plan", 0)  # to the end, for the first time
        before, reached = verify(path, right, {}), 0
        change(photos, 99, right)
        calls = json.loads(victim.kill("plan", 0))
        before = verify(path, right, before)
        for number in range(60):
            change(photos, number, right)
            phase = PHASES[number % len(PHASES)]
            reached += victim.kill(phase, rng.randint(1, calls[phase])) == "now\n"
            before = verify(path, right, before)
            if number % 10 == 9:  # what ten killed builds left undone, one that is let alone does
                victim.kill("plan", 0)
                before = verify(path, right, before)
                assert before == {str(photo): right[str(photo)][-1] for photo in photos.iterdir()}
                assert not list(tmp_path.glob("*.tmp"))
        assert reached >= 48  # the others were killed behind the end of their build
    finally:
        victim.close()
