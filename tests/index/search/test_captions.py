"""Captions in the ranking, filters by date, proofs of caches, and libraries made before captions counted."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from index.build.build import build_index
from index.caches import sealed_file as cachefile
from index.caches.refresh import graph_path, load_graph, refresh, weights
from index.caches.sealed_file import CacheError, proof_path
from index.caches.vectors import arrays_path, load_arrays
from index.database.database import Database
from index.database.schema import FORMAT
from index.database.write import NewPicture
from index.search import searcher as searching
from index.search.candidates import View
from index.search.searcher import Hit, Searcher
from tests.support.formats import as_format
from tests.support.pictures import FakeDescriber, draw_folder
from tests.support.searching import ask, search
from vsearch.scores import Scores

D = 6
RANKING = Scores(0.5, words=(5.0, -1.0), picture=(3.0, 0.5))
Vector = NDArray[np.float32]


def drawn(seed: int, count: int = 1) -> Vector:
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def fill(library: Database, count: int, first: int = 0) -> None:
    """Every third picture has no caption, every fifth a caption without a vector."""
    library.adopt("model", D)
    with library.writing():
        library.write.start_run()
        library.write.note("caption_weight", "0.5")
        for number in range(first, first + count):
            own, told = drawn(number, 2)
            caption = None if number % 3 == 0 else f"caption {number}"
            vector = None if caption is None or number % 5 == 0 else told
            path = f"/photos/{number % 4}/{number:04d}.jpg"
            library.write.put(NewPicture(path, 1, number * 10**9, path.encode(), own, caption, vector))


def oracle(library: Database, query: Vector, k: int, weight: float) -> list[tuple[str, float]]:
    """Paths and cosines by a loop over the tables, the mix written out."""
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    found = []
    rows = "SELECT p.path, v.vector, c.vector FROM pictures p JOIN vectors v ON v.id = p.id"
    for path, own, told in library.connection.rows(rows + " LEFT JOIN caption_vectors c ON c.id = p.id"):
        v = np.frombuffer(own, "<f2").astype(np.float64)
        v /= np.linalg.norm(v)
        if told is not None:
            c = np.frombuffer(told, "<f2").astype(np.float64)
            v = (1 - weight) * v + weight * c / np.linalg.norm(c)
        found.append((os.fsdecode(path), float(v @ unit / np.linalg.norm(v))))
    return sorted(found, key=lambda row: -row[1])[:k]


def same(hits: Sequence[Hit], expected: Sequence[tuple[str, float]]) -> None:
    assert [hit.path for hit in hits] == [path for path, _ in expected]
    assert np.allclose([hit.cosine for hit in hits], [cosine for _, cosine in expected], atol=1e-5)


@pytest.fixture
def filled(library: Database) -> Database:
    fill(library, 200)
    return library


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_any_weight_is_exact(filled: Database, weight: float) -> None:
    for query in drawn(7, 3):
        same(search(filled, query, 12, scores=RANKING, weight=weight), oracle(filled, query, 12, weight))


def test_words_and_pictures_have_each_their_weight_and_curve(filled: Database) -> None:
    query = drawn(8)[0]
    by_words = search(filled, query, 12, scores=RANKING)
    by_picture = search(filled, query, 12, kind="picture", scores=RANKING)
    same(by_words, oracle(filled, query, 12, 0.5))
    same(by_picture, oracle(filled, query, 12, 0.0))
    assert by_words[0].path != by_picture[0].path or by_words[1].path != by_picture[1].path
    assert [hit.score for hit in by_words] == [RANKING.calibrate(hit.cosine, "words") for hit in by_words]
    assert [hit.score for hit in by_picture] == [RANKING.calibrate(hit.cosine, "picture") for hit in by_picture]
    assert search(filled, query, 12, scores=RANKING, min_score=by_words[4].score) == by_words[:5]


def test_every_path_gives_the_same(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(filled, graph_from=100)
    assert weights(filled) == [0.0, 0.5]
    fill(filled, 10, first=500)
    filled.write.remove(["/photos/1/0005.jpg", "/photos/2/0502.jpg"])
    graphs, plain = Searcher(filled, RANKING, graph_from=100, graph_after=0), Searcher(filled, RANKING)
    for query in drawn(9, 4):
        for kind in ("words", "picture"):
            expected = ask(plain, query, 10, kind=kind, exact=True)
            assert ask(graphs, query, 10, kind=kind) == expected
            same(expected, oracle(filled, query, 10, RANKING.weight(kind)))
            part = ask(plain, query, 10, kind=kind, within="/photos/1")
            monkeypatch.setattr(searching, "_FEW", 0)  # through the caches, too
            assert ask(plain, query, 10, kind=kind, within="/photos/1") == part
            monkeypatch.undo()


def test_the_graph_is_used_alone_and_after_some_queries(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(filled, graph_from=100)
    asked: list[str] = []

    def spy(name: str) -> None:
        real = getattr(View, name)

        def spied(*arguments: object) -> object:
            asked.append(name)
            return real(*arguments)

        monkeypatch.setattr(View, name, spied)

    spy("_through")
    spy("_exact")
    searcher = Searcher(filled, RANKING, graph_from=100, graph_after=2)
    for query in drawn(1, 4):
        ask(searcher, query, 3)
    assert asked == ["_exact", "_exact", "_through", "_through"]
    arrays_path(filled, 0.5).unlink()  # a search through the graph reads no array, and makes none
    same(ask(Searcher(filled, RANKING, graph_from=100, graph_after=0), query, 3), oracle(filled, query, 3, 0.5))
    assert not arrays_path(filled, 0.5).exists()


def test_a_cache_of_another_weight_is_not_used(filled: Database) -> None:
    refresh(filled, graph_from=100)
    with pytest.raises(CacheError, match="weight"):
        load_arrays(filled, 0.25)
    with pytest.raises(CacheError):
        load_graph(filled, 0.25)
    other, query = Scores(0.25), drawn(3)[0]
    same(ask(Searcher(filled, other, graph_from=100, graph_after=0), query, 9), oracle(filled, query, 9, 0.25))
    assert len(load_arrays(filled, 0.25).ids) == 200  # made again for the model's weight
    filled.write.note("caption_weight", "0.0")
    refresh(filled, graph_from=100)
    assert graph_path(filled).exists() and not graph_path(filled, 0.25).exists()
    assert not arrays_path(filled, 0.25).exists()


def test_a_caption_that_comes_later_is_seen_by_caches(filled: Database) -> None:
    refresh(filled, graph_from=100)
    searcher, query = Searcher(filled, RANKING, graph_from=100, graph_after=0), drawn(4)[0]
    ask(searcher, query, 3)
    picture = filled.read.picture("/photos/0/0000.jpg")
    assert picture is not None and picture.caption is None
    before = filled.connection.value("SELECT vector FROM vectors WHERE id = ?", (picture.id,))
    filled.write.start_run()
    filled.write.set_caption(picture.id, "now", query)
    now = filled.read.picture("/photos/0/0000.jpg")
    assert now is not None and now.id != picture.id and now.caption == "now" and now.hash == picture.hash
    assert filled.connection.value("SELECT vector FROM vectors WHERE id = ?", (now.id,)) == before
    for one in (searcher, Searcher(filled, RANKING), Searcher(filled, RANKING, graph_from=100, graph_after=0)):
        same(ask(one, query, 10), oracle(filled, query, 10, 0.5))


def test_tables_keep_in_step(filled: Database) -> None:
    picture = filled.read.picture("/photos/1/0001.jpg")
    assert picture is not None
    sql = "SELECT vector FROM caption_vectors WHERE id = ?"
    told = filled.connection.value(sql, (picture.id,))
    assert told is not None and filled.write.copy(picture.id, "/photos/copy.jpg", 1, 1)
    copy = filled.read.picture("/photos/copy.jpg")
    assert copy is not None and filled.connection.value(sql, (copy.id,)) == told
    filled.write.remove(["/photos/1/0001.jpg"])
    assert filled.connection.value(sql, (picture.id,)) is None
    assert (
        filled.connection.value("SELECT count(*) FROM caption_vectors WHERE id NOT IN (SELECT id FROM pictures)") == 0
    )


def test_dates(filled: Database) -> None:
    """Picture n was changed n seconds after 1970."""
    query = drawn(5)[0]
    everything = oracle(filled, query, 200, 0.0)
    second = 10**9
    for since, until, wanted in ((50, None, range(50, 200)), (None, 20, range(20)), (30, 40, range(30, 40))):
        ns = [None if bound is None else bound * second for bound in (since, until)]
        hits = search(filled, query, 200, since=ns[0], until=ns[1])
        same(hits, [row for row in everything if int(row[0][-8:-4]) in wanted])
    both = search(filled, query, 200, within="/photos/2", since=100 * second)
    same(both, [row for row in everything if "/2/" in row[0] and int(row[0][-8:-4]) >= 100])


# ---- proofs


def test_a_checksum_is_proved_once(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachefile, "PROOF_FROM", 0)
    computed: list[int] = []
    real = cachefile.checksum

    def spy(file: BinaryIO, size: int) -> int:
        computed.append(size)
        return real(file, size)

    monkeypatch.setattr(cachefile, "checksum", spy)
    refresh(filled, graph_from=100)
    done = len(computed)
    assert done and proof_path(arrays_path(filled)).exists()
    load_graph(filled)  # proved the first time it is read
    done = len(computed)
    load_arrays(filled)
    load_graph(filled)
    assert len(computed) == done
    load_arrays(filled, again=True)
    assert len(computed) == done + 1
    os.utime(arrays_path(filled))  # touched: proved again, once
    load_arrays(filled)
    time.sleep(0.11)
    load_arrays(filled)
    assert done + 2 <= len(computed) <= done + 3
    done = len(computed)
    load_arrays(filled)
    assert len(computed) == done


def test_damage_after_the_proof_is_found(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even within the same tick of the clock, and with the date put back."""
    monkeypatch.setattr(cachefile, "PROOF_FROM", 0)
    refresh(filled)
    path = arrays_path(filled)
    load_arrays(filled)
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CacheError, match="damaged"):
        load_arrays(filled)


# ---- builds


def test_a_build_places_captions(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 12)
    describer.scores = Scores(0.5)
    build_index(library, [tmp_path / "photos"], describer)
    check(library, describer, 12)
    assert library.read.caption_weight == 0.5 and weights(library) == [0.0, 0.5]
    assert len(load_arrays(library, 0.5).ids) == 12


def check(library: Database, describer: FakeDescriber, count: int) -> None:
    """Every caption has the vector that the model gives to it, those that it does not place have none."""
    rows = library.connection.rows(
        "SELECT p.caption, c.vector FROM pictures p LEFT JOIN caption_vectors c ON c.id = p.id WHERE caption NOT NULL"
    )
    assert len(rows) == count
    for caption, packed in rows:
        (expected,) = describer.embed_captions([caption])
        assert (packed is None) == (expected is None)
        if expected is not None:
            assert np.allclose(np.frombuffer(packed, "<f2"), expected, atol=1e-3)


def test_a_library_of_format_1(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    """It is read as it is, and the next build gives its captions vectors without opening a picture."""
    draw_folder(tmp_path / "photos", 12)
    build_index(library, [tmp_path / "photos"], describer)
    as_format(library, 1)
    query = np.ones(13, np.float32)
    with Database.open(library.path, read_only=True) as old:
        hits = search(old, query, 12, scores=RANKING)
        assert [hit.id for hit in hits] == [hit.id for hit in search(old, query, 12)]
    seen = describer.seen
    describer.scores = Scores(0.5)
    build_index(library, [tmp_path / "photos"], describer)
    assert describer.seen == seen and library.read.noted("format") == str(FORMAT)
    check(library, describer, 12)
    after = search(library, query, 12, scores=RANKING)
    assert {hit.id for hit in after} == {hit.id for hit in hits}
    assert [hit.cosine for hit in after] != [hit.cosine for hit in hits]
    library.write.remove([hits[0].path])  # the new trigger
    assert library.connection.value("SELECT 1 FROM caption_vectors WHERE id = ?", (hits[0].id,)) is None
