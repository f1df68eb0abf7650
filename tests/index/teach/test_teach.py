"""Votes, and what a library learns from them: kept only where votes that were held out improve, and undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index import Library
from index.database.database import Database
from index.teach.correction import POWER, RIDGE, SCALE, fit, held_out
from tests.support.commands import call
from tests.support.pictures import draw_folder
from tests.support.tiny_model import model_folder
from vsearch.errors import QueryError
from vsearch.model import Model

D = 12


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def made_up(n: int, seed: int = 0, *, wrong: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Votes on two queries that want the first number of a picture to be high, or if `wrong` want nothing."""
    rng = np.random.default_rng(seed)
    queries, pictures = unit(np.eye(D)[[1, 2]]), unit(rng.normal(size=(n, D)))
    kinds = np.arange(n) % 2
    votes = rng.choice([-1.0, 1.0], n) if wrong else np.where(pictures[:, 0] > 0, 1.0, -1.0)
    return queries[kinds], pictures, votes, [("dog", "boat")[kind] for kind in kinds]


def test_the_correction_is_the_regression_that_it_says() -> None:
    queries, pictures, votes, names = made_up(9)
    learned = fit(queries, pictures, votes, names)
    pairs = list(zip(queries, pictures, strict=True))
    kernel = np.array([[max(0, q @ r) ** POWER * (x @ y) for r, y in pairs] for q, x in pairs])
    means = {name: votes[np.array(names) == name].sum() / (names.count(name) + 2) for name in set(names)}
    wanted = np.linalg.inv(kernel + RIDGE * np.eye(9)) @ (votes - [means[name] for name in names])
    assert np.allclose(learned.weights, wanted, atol=1e-5)
    query = unit(np.ones(D))
    moved = query + SCALE * sum(a * max(0, q @ query) ** POWER * x for a, (q, x) in zip(wanted, pairs, strict=True))
    assert np.allclose(learned.apply(7 * query), unit(moved), atol=1e-5)


def test_held_out_votes_improve_where_there_is_something_to_learn_and_other_queries_stay() -> None:
    shares = held_out(*made_up(60))
    assert shares is not None and shares[1] > shares[0] + 0.1
    learned = fit(*made_up(60))
    far = unit(np.eye(D)[5])
    assert np.allclose(learned.apply(far), far, atol=1e-6)
    good = [held_out(*made_up(40, seed, wrong=True)) for seed in range(8)]
    gains = [after - before for before, after in filter(None, good)]
    assert abs(float(np.mean(gains))) < 0.1  # nothing to learn: nothing won


def test_without_both_kinds_nothing_can_be_told() -> None:
    queries, pictures, votes, names = made_up(12)
    assert held_out(queries, pictures, np.ones_like(votes), names) is None


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    place = tmp_path_factory.mktemp("teach")
    draw_folder(place / "photos", 24)
    opened = Library.open(place / "library", Model(model_folder(), "cpu"))
    opened.build([place / "photos"], captions=False)
    return opened


def photos(library: Library) -> list[str]:
    return [hit.path for hit in library.search("dog", k=24, taught=False)]


def test_a_library_learns_searches_otherwise_and_forgets(library: Library) -> None:
    ranked = photos(library)
    assert library.vote("dog", ranked[:12], good=False) == (12, [])
    assert not library.teach().kept  # no votes of both kinds
    library.vote("the dog", ranked[12:])  # the same query
    assert {one.good for one in library.votes()} == {True, False} and len(library.votes()) == 24
    lesson = library.teach()
    assert lesson.kept and lesson.after is not None and lesson.before == 0.0 and lesson.after > lesson.before
    assert (lesson.votes, lesson.queries, library.taught()) == (24, 1, 24)
    assert photos(library) == ranked
    learned = [hit.path for hit in library.search("dog", k=24)]
    assert set(learned[:12]) & set(ranked[12:])  # what was voted to fit has come up
    with Database.open(library.path) as database:
        database.connection.execute("UPDATE meta SET value = 'another' WHERE key = 'taught'")
    assert [hit.path for hit in library.search("dog", k=24)] == ranked  # another model's is not used
    assert library.unteach() and not library.unteach() and library.taught() == 0
    assert len(library.votes()) == 24
    assert library.vote("dog", ranked, None) == (24, []) and library.votes() == []


def test_forget_takes_what_was_learned_along(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_folder(tmp_path / name, 12, first=20 * (name == "b"))
    opened = Library.open(tmp_path / "library", Model(model_folder(), "cpu"))
    opened.build([tmp_path / "a", tmp_path / "b"], captions=False)
    ranked = photos(opened)
    opened.vote("dog", ranked)
    with Database.open(opened.path) as database:
        database.taught.put(str(opened.identity), fit(*made_up(24)))
    assert opened.taught() == 24
    opened.forget([tmp_path / "a"])
    assert opened.taught() == 0 and len(opened.votes()) == 12


def test_what_does_not_help_is_not_kept(library: Library) -> None:
    ranked = photos(library)
    library.vote("dog", ranked[:12])
    library.vote("dog", ranked[12:], good=False)  # all in order as it is
    lesson = library.teach()
    assert not lesson.kept and lesson.before == 1.0 and library.taught() == 0
    library.vote("dog", ranked, None)
    assert library.teach().reason == "10 votes are needed"


def test_votes_need_words_and_photos_of_the_library(library: Library) -> None:
    with pytest.raises(QueryError, match="votes are kept for words"):
        library.vote("  ", photos(library)[:1])
    assert library.vote("dog", ["nowhere.jpg"]) == (0, ["nowhere.jpg"])


def test_the_commands(library: Library) -> None:
    ranked = photos(library)
    options = ["--library", str(library.path), "--model", str(model_folder())]
    assert call("vote", "dog", *ranked[:12], "--bad", *options).stdout == "12 votes kept\n"
    assert call("vote", "dog", *ranked[12:], *options).stdout == "12 votes kept\n"
    strange = call("vote", "dog", "nowhere.jpg", *options)
    assert strange.exit_code == 1 and "skipped nowhere.jpg: not in the library" in strange.stderr
    assert call("vote", "dog", ranked[0], "--bad", "--withdraw", *options).exit_code == 2
    listed = call("votes", *options[:2]).stdout.splitlines()
    assert listed[0] == f"- dog: {ranked[0]}" and listed[-1] == "24 votes"
    taught = call("teach", *options)
    assert taught.exit_code == 0
    assert taught.stdout.startswith("24 votes on 1 query; of pairs held out 0.0% were in order")
    assert "taught       by 24 votes" in call("info", *options).stdout
    without = call("search", "dog", "--no-taught", "--paths", "-k", "24", *options).stdout.splitlines()
    assert without == ranked != call("search", "dog", "--paths", "-k", "24", *options).stdout.splitlines()
    assert call("teach", "--undo", *options).stdout == "forgot what was learned from votes\n"
    assert call("teach", "--undo", *options).stdout == "nothing was learned\n"
    assert call("vote", "dog", *ranked, "--withdraw", *options).stdout == "24 votes withdrawn\n"
    none = call("teach", *options)
    assert none.exit_code == 1 and none.stdout == "0 votes on 0 queries: nothing learned, 10 votes are needed\n"
    assert Path(ranked[0]).exists()
