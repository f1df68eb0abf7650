"""Library: what Python sees. Each method does what its part does, and vectors of two models never meet."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import vsearch
from index import Filter, Hit, Library, Query
from index.build.build import build_index
from index.database.database import Database
from index.search.explain import explain
from index.search.query import make_query
from index.search.searcher import Searcher
from index.search.similar import similar
from tests.support import tiny_model
from vsearch.errors import LibraryError, QueryError, VsearchError


@pytest.fixture(scope="module")
def model() -> vsearch.Model:
    return vsearch.load(tiny_model.model_folder(), "cpu")


@pytest.fixture(scope="module")
def other() -> vsearch.Model:
    """Another model with vectors of the same length."""
    return vsearch.load(tiny_model.model_folder(1), "cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model.draw_pictures(tmp_path_factory.mktemp("photos"))
    (folder / "deep").mkdir()
    (folder / "grey.bmp").rename(folder / "deep" / "grey.bmp")
    return folder


@pytest.fixture(scope="module")
def built(model: vsearch.Model, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library"
    with Library.open(path, model) as library:
        assert library.build([photos]).added == 4
    return path


@pytest.fixture
def place(built: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(built.parent, tmp_path / "copy")) / built.name


@pytest.fixture
def library(built: Path, model: vsearch.Model) -> Iterator[Library]:
    with Library.open(built, model, read_only=True) as opened:
        yield opened


def names(hits: Sequence[Hit]) -> list[str]:
    return [Path(hit.path).name for hit in hits]


# ---- what it does


def test_words_a_picture_and_both(library: Library, model: vsearch.Model, photos: Path) -> None:
    by_words = library.search("dog -boat")
    assert len(by_words) == 4 and [hit.score for hit in by_words] == sorted((h.score for h in by_words), reverse=True)
    assert all(hit.caption for hit in by_words)
    by_picture = library.search(image=photos / "red.png", k=2)
    assert names(by_picture)[0] == "red.png" and len(by_picture) == 2
    assert by_picture[0].cosine == pytest.approx(1, abs=1e-3)
    both = library.query("dog", photos / "red.png")
    middle = model.embed_text("dog") + model.embed_image(photos / "red.png")
    assert both.kind == "words" and np.allclose(both.vector, middle / np.linalg.norm(middle), atol=1e-6)
    assert library.search("dog", image=photos / "red.png") == library.search(both)
    assert library.search(library.query("dog"), image=photos / "red.png") == library.search(both)


def test_a_query_names_the_words_that_are_guessed(library: Library, model: vsearch.Model) -> None:
    query = library.query("dog snowboarding")
    assert (query.kind, query.unknown, query.identity) == ("words", ("snowboarding",), model.identity)
    assert library.query(image=np.zeros((40, 50, 3), np.uint8)).kind == "picture"


def test_the_answer_is_narrowed(library: Library, photos: Path) -> None:
    every = library.search("dog")
    assert library.search("dog", k=2) == every[:2]
    assert library.search("dog", min_score=every[1].score) == every[:2]
    assert names(library.search("dog", within=photos / "deep")) == ["grey.bmp"]
    dates = {path: path.stat().st_mtime_ns for path in photos.rglob("*.*")}
    assert library.search("dog", until=min(dates.values())) == []
    assert len(library.search("dog", since=min(dates.values()), until=max(dates.values()) + 1)) == 4
    assert library.search("dog", until=datetime(1999, 1, 1)) == []
    assert library.search("dog", since=datetime(1999, 1, 1)) == every
    assert library.search("dog", caption_weight=0, exact=True) != library.search("dog", caption_weight=1)


def test_similar_leaves_the_photo_out_and_asks_no_network(
    library: Library, model: vsearch.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copy(photos / "red.png", tmp_path))
    with_itself = library.search(image=photos / "red.png", k=4)
    assert library.similar(copy) == with_itself
    (photos / "red.png").touch()
    assert names(library.similar(photos / "red.png")) == names(with_itself)[1:]  # its file changed: it is embedded
    os.utime(photos / "red.png", ns=(0, library._database.read.dates_under(str(photos))[-1].mtime_ns))
    monkeypatch.setattr(model, "embed_image", None)
    assert names(library.similar(photos / "red.png", 2)) == names(with_itself)[1:3]
    assert library.similar(photos / "red.png", min_score=2) == []
    assert names(library.similar(photos / "red.png", within=photos / "deep")) == ["grey.bmp"]


def test_explain(library: Library, model: vsearch.Model) -> None:
    hits = library.search("dog", k=3)
    reasons = library.explain(hits, k=2)
    assert set(reasons) == {hit.id for hit in hits}
    table = {word: model.space.vector([word]) for word in model.space.idf}
    for hit in hits:
        (vector,) = library._database.read.vectors([hit.id])[1]
        assert len(reasons[hit.id]) == 2 and set(reasons[hit.id]) <= set(table)
        assert float(table[reasons[hit.id][0]] @ vector) >= float(table[reasons[hit.id][1]] @ vector)


def test_words_that_cancel_the_picture(library: Library, model: vsearch.Model, photos: Path) -> None:
    picture = library.query(image=photos / "red.png")
    against = Query(-picture.vector, "words", (), model.identity)
    with pytest.raises(QueryError, match="cancel each other out") as caught:
        library.search(against, image=photos / "red.png")
    assert caught.value.hint == "leave one of them out"


def test_what_cannot_be_asked(library: Library, tmp_path: Path) -> None:
    for nothing in (library.search, library.query, lambda: library.search("")):
        with pytest.raises(QueryError, match="empty"):
            nothing()
    with pytest.raises(QueryError, match="not known"):
        library.search("xyzzy")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for attempt in (library.similar, lambda photo: library.search(image=photo)):
        with pytest.raises(VsearchError, match=r"broken\.png: not a picture"):
            attempt(tmp_path / "broken.png")
        with pytest.raises(VsearchError, match=r"none\.png: "):
            attempt(tmp_path / "none.png")


def test_the_rest_needs_no_model(place: Path, photos: Path, tmp_path: Path) -> None:
    with Library.open(place) as library:
        assert (library.count(), library.folders()) == (4, [str(photos)])
        assert library.check().findings == () and library.duplicates(2) == []
        assert len(library.duplicates(-1)[0].pictures) == 4
        assert library.export(tmp_path / "v.npy").count == 4
        assert library.forget([photos]).pictures == 4
        assert (library.count(), library.folders()) == (0, [])


def test_a_library_sees_what_its_own_build_and_others_change(
    model: vsearch.Model, photos: Path, tmp_path: Path
) -> None:
    with Library.open(tmp_path / "new" / "library", model) as library, Library.open(library.path, model) as second:
        assert not library.path.exists()
        assert library.build([photos / "deep"], captions=False).added == 1
        assert library.search("dog")[0].caption is None
        assert second.build([photos], beam=1, batch=2, progress=lambda done, total: None).added == 3
        assert len(library.search("dog")) == len(second.search("dog")) == 4
        assert library.build(reindex=True).added == 4


def test_a_home_is_found(model: vsearch.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    with Library.open(tmp_path / "library", model) as library:
        library.build([f"~/{photos.name}"])
        assert library.folders() == [str(photos)]
        assert names(library.search("dog", within=f"~/{photos.name}/deep")) == ["grey.bmp"]
        assert names(library.similar(f"~/{photos.name}/red.png", 1)) != ["red.png"]


def test_the_default_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("index.library.default_path", lambda: tmp_path / "default")
    assert Library.open().path == tmp_path / "default"


EXAMPLES = [test for test in doctest.DocTestFinder().find(Library) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.name))
def test_examples_run_as_written(
    example: doctest.DocTest, model: vsearch.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model.draw_pictures(tmp_path / "photos")
    said: list[str] = []
    with Library.open("photos.library", model) as library:
        library.build(["photos"])
        example.globs = {"Library": Library, "Path": Path, "library": library, "model": model}
        result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.failed == 0, "".join(said)


def test_every_method_has_an_example() -> None:
    methods = {name for name in dir(Library) if not name.startswith("_")} - {"close", "identity"}
    assert {example.name.partition(".")[2] for example in EXAMPLES} == methods


# ---- where there is none, and where it may not be changed


def every_method(library: Library) -> dict[str, Callable[[], object]]:
    return {
        "search": lambda: library.search("dog"),
        "similar": lambda: library.similar("dog.jpg"),
        "explain": lambda: library.explain([]),
        "duplicates": library.duplicates,
        "check": library.check,
        "export": lambda: library.export("vectors.npy"),
        "forget": lambda: library.forget(["photos"]),
        "folders": library.folders,
        "count": library.count,
        "identity": lambda: library.identity,
        "reindex": lambda: library.build(reindex=True),
    }


@pytest.mark.parametrize("empty", [False, True])
def test_nothing_but_a_build_makes_a_library(model: vsearch.Model, photos: Path, tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "library"
    if empty:
        path.touch()
    with Library.open(path, model) as library:
        for name, method in every_method(library).items():
            with pytest.raises(LibraryError, match="no library"):
                method()
            assert path.exists() == empty, name
        assert library.build([photos]).total == 4


def test_read_only(place: Path, model: vsearch.Model, photos: Path, tmp_path: Path) -> None:
    before = place.read_bytes()
    with Library.open(place, model, read_only=True) as library:
        for change in (lambda: library.build([photos]), lambda: library.forget([photos])):
            with pytest.raises(LibraryError, match="reading only"):
                change()
        assert len(library.search("dog")) == 4
    nowhere = Library.open(tmp_path / "none", model, read_only=True)
    with pytest.raises(LibraryError, match="reading only"):
        nowhere.build([photos])
    assert place.read_bytes() == before and not (tmp_path / "none").exists()


def test_a_damaged_file_is_refused_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "library").write_bytes(b"this is no database" * 100)
    with pytest.raises(LibraryError, match="not a library of vsearch"):
        Library.open(tmp_path / "library")


# ---- vectors of two models never meet


def ways_in(place: Path, other: vsearch.Model, photos: Path) -> dict[str, Callable[[], object]]:
    """Everything that compares a vector of another model with those of a library."""
    strange = make_query(other, "dog", None)

    def with_library(work: Callable[[Library], object], **named: bool) -> object:
        with Library.open(place, other, **named) as library:
            return work(library)

    def with_database(work: Callable[[Database], object], *, read_only: bool = True) -> object:
        with Database.open(place, read_only=read_only) as database:
            return work(database)

    def without_model() -> object:
        with Library.open(place) as library:
            return library.search(strange)

    return {
        "open": lambda: Library.open(place, other),
        "open for reading": lambda: Library.open(place, other, read_only=True),
        "search by words": lambda: with_library(lambda it: it.search("dog"), reindex=True),
        "search by picture": lambda: with_library(lambda it: it.search(image=photos / "red.png"), reindex=True),
        "search by both": lambda: with_library(lambda it: it.search("dog", image=photos / "red.png"), reindex=True),
        "search by a query": lambda: with_library(lambda it: it.search(strange), reindex=True),
        "search by a query without a model": without_model,
        "similar, in the library": lambda: with_library(lambda it: it.similar(photos / "red.png"), reindex=True),
        "similar, from pixels": lambda: with_library(
            lambda it: it.similar(np.zeros((9, 9, 3), np.uint8)), reindex=True
        ),
        "explain": lambda: with_library(lambda it: it.explain([]), reindex=True),
        "build": lambda: with_library(lambda it: it.build([photos]), reindex=True),
        "Searcher": lambda: with_database(lambda it: Searcher(it).search(strange)),
        "Searcher, within a folder": lambda: with_database(lambda it: Searcher(it).search(strange, 3, Filter(photos))),
        "the part that finds similar ones": lambda: with_database(
            lambda it: similar(Searcher(it), other, photos / "red.png", 3, Filter())
        ),
        "the part that explains": lambda: with_database(lambda it: explain(it, other, [])),
        "the part that builds": lambda: with_database(lambda it: build_index(it, [photos], other), read_only=False),
    }


def test_a_library_of_the_same_dimensions_refuses_another_model(
    place: Path, model: vsearch.Model, other: vsearch.Model, photos: Path
) -> None:
    assert model.dim == other.dim and model.identity != other.identity
    before = place.read_bytes()
    for way, enter in ways_in(place, other, photos).items():
        with pytest.raises(LibraryError, match="was made by another model") as caught:
            enter()
            pytest.fail(f"{way}: let in")
        assert model.identity[:12] in str(caught.value) and other.identity[:12] in str(caught.value), way
        assert "reindex" in caught.value.hint, way
    assert place.read_bytes() == before


def test_a_library_refuses_its_own_model_after_another_process_reindexed_it(
    place: Path, model: vsearch.Model, other: vsearch.Model, photos: Path
) -> None:
    with Library.open(place, model) as library:
        query = library.query("dog")
        assert len(library.search(query)) == 4
        with Library.open(place, other, reindex=True) as theirs:
            assert theirs.build(reindex=True).added == 4
            assert len(theirs.search("dog")) == 4
        attempts: list[Callable[[], object]] = [
            lambda: library.search(query),
            lambda: library.search("dog"),
            lambda: library.similar(photos / "red.png"),
        ]
        for attempt in attempts:
            with pytest.raises(LibraryError, match="another model"):
                attempt()
    with Library.open(place, other) as again:
        assert again.identity == other.identity


def test_a_query_of_two_models_is_refused(library: Library, other: vsearch.Model, photos: Path) -> None:
    with pytest.raises(QueryError, match="two models"):
        library.search(make_query(other, "dog", None), image=photos / "red.png")


def test_without_a_model(built: Path, model: vsearch.Model, photos: Path) -> None:
    with Library.open(built) as library:
        wanting: dict[str, Callable[[], object]] = {
            "search": lambda: library.search("dog"),
            "query": lambda: library.query("dog"),
            "similar": lambda: library.similar(photos / "red.png"),
            "explain": lambda: library.explain([]),
            "build": lambda: library.build([photos]),
        }
        for name, method in wanting.items():
            with pytest.raises(LibraryError, match="opened without a model"):
                method()
                pytest.fail(name)
        own = make_query(model, "dog", None)  # it says itself whose it is
        assert len(library.search(own)) == 4


# ---- what it costs


@pytest.mark.parametrize("module", ["index", "index.library"])
def test_importing_it_loads_nothing_slow(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'nmslib', 'PIL', 'jinja2', 'numpy'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ([] if module == "index" else ["numpy"])


def test_public_names() -> None:
    import index

    assert dir(index) == sorted(["Filter", "Hit", "Library", "Query"]) == sorted(index.__all__)
    assert {getattr(index, name).__name__ for name in dir(index)} == set(dir(index))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        index.Nothing  # noqa: B018
