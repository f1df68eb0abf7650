"""Queries are brought to the words of captions: function words, accents, full width, possessives, dashes, spelling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import QueryError
from vsearch.text import fold
from vsearch.text.phrase import PhraseSpace, Term, parse
from vsearch.text.vectors import WordVectors

WORDS = {
    "the": (1, 1, 0), "a": (1, 0, 1), "of": (0, 1, 1), "photo": (1, 1, 1), "dog": (5, 0, 0), "cat": (0, 5, 0),
    "fish": (0, 0, 5), "cafe": (3, 4, 0), "beach": (0, 3, 4), "in": (1, 2, 3), "elephant": (4, 0, 3), "côte": (1, 0, 4),
    "cote": (4, 1, 0), "elefant": (0, 4, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> PhraseSpace:
    path = tmp_path_factory.mktemp("words") / "words.vec"
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in WORDS.items()]
    path.write_text(f"{len(lines)} 3\n" + "\n".join(lines) + "\n")
    idf = {word: 2.0 for word in WORDS if word not in ("elefant", "elephant", "cote")}
    return PhraseSpace(WordVectors.load(path), idf | {"the": 0.9, "a": 0.2}, 8.0, np.array([0.1, 0.2, 0.1], np.float32))


def same(space: PhraseSpace, one: str, other: str) -> bool:
    return bool(np.array_equal(space.query(parse(one)).vector, space.query(parse(other)).vector))


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("the dog", "dog"), ("A dog.", "dog"), ("a photo of a dog", "dog"), ("photos of the dog", "dog"),
        ("a dog in the cafe", "dog cafe"), ("dog's", "dog"), ("the dog's beach", "dog beach"), ("dog’s", "dog"),
        ("\uff44\uff4f\uff47", "dog"), ("\ufb01sh", "fish"), ("caf\u00e9", "cafe"), ("cafe\u0301", "cafe"),
        ("CAF\u00c9", "cafe"), ("dog \u2013cat", "dog -cat"), ("dog \u2212cat", "dog -cat"),
        ("dog \u2014cat", "dog -cat"),
        ("dog \uff0dcat", "dog -cat"), ("dog \u2013 cat", "dog cat"), ("dog \u2014 cat", "dog cat"),
        ("\u20132*cat dog", "-2*cat dog"), ("\uff12\uff0acat dog", "2*cat dog"), ("-caf\u00e9 dog", "-cafe dog"),
        ('"the caf\u00e9"', '"the cafe"'), ("picture of photo", "photo"), ("an image of a dog", "dog"),
        ("picture showing the dog", "dog"), ("photos with a cat", "cat"), ("photo of my dog", "dog"),
    ],
)  # fmt: skip
def test_queries_that_mean_the_same(space: PhraseSpace, query: str, meant: str) -> None:
    assert same(space, query, meant)
    assert space.query(parse(query)).unknown == []


def test_what_counts_all_the_same(space: PhraseSpace) -> None:
    """A function word alone, in a label, with a minus or a weight; a photo that is looked for; accents of captions."""
    assert space.query(parse("the a")).known == ["the", "a"]
    assert space.query(parse('"the dog"')).known == ["the", "dog"] and not same(space, '"the dog"', "dog")
    assert not same(space, "dog -the", "dog") and not same(space, "dog 2*the", "dog")
    assert not same(space, "photo dog", "dog") and space.query(parse("photo")).known == ["photo"]
    assert space.query(parse("photo of")).known == ["photo"]
    assert not same(space, "c\u00f4te", "cote")


def test_vectors_of_plain_words_are_those_of_the_tokeniser(space: PhraseSpace) -> None:
    """What a model was trained with does not change: one word, or several without function words."""
    for words in (["dog"], ["cat", "fish"], ["beach", "cafe", "dog"]):
        assert space.query(parse(" ".join(words))).vector == pytest.approx(space.vector(words), abs=1e-6)


def test_a_misspelling_is_remarked(space: PhraseSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.text.phrase._RARELY", 3)
    monkeypatch.setattr("vsearch.text.phrase._USUAL", 9)
    ranked = ["elephant", *(f"word{n}" for n in range(20)), "elefant"]
    monkeypatch.setattr(space.vectors, "_words", ranked)
    assert space.meant(space.query(parse("elefant dog"))) == {"elefant": "elephant"}
    assert space.meant(space.query(parse("elephnat dog"))) == {"elephnat": "elephant"}
    assert space.meant(space.query(parse("dog cat"))) == {}
    with pytest.raises(QueryError) as refused:
        space.query(parse("elephnat xyzzy"))
    assert refused.value.hint == "did you mean elephant?"


SPELLED = {"dogg": "dog", "elefant": "elephant", "bycicle": "bicycle", "girafe": "giraffe", "dgo": None, "cow": None}
TWICE_SPELLED = {"tabl": {"table": 5.0, "tab": 9.0}, "dolfin": {"dolphin": 9.0, "doublin": 9.0}, "bridgs": {"bridge": 5.0, "bridges": 9.0}}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("word", SPELLED)
def test_spelled_alike(word: str) -> None:
    others = {"dog": 3.0, "elephant": 6.0, "bicycle": 5.0, "giraffe": 7.0}
    assert fold.spelled_alike(word, others.items()) == SPELLED[word]


def test_of_words_spelled_alike_the_usual_one_is_meant() -> None:
    """A change outweighs ten steps of idf; what sounds the same is half as far; the first letter stays."""
    for word, others in TWICE_SPELLED.items():
        assert fold.spelled_alike(word, others.items()) == next(iter(others))
        assert fold.spelled_alike(word, reversed(others.items())) == next(iter(others))
    assert fold.spelled_alike("cat", [("bat", 1.0)]) is None and fold.spelled_alike("house", [("mouse", 1.0)]) is None
    assert fold.spelled_alike("houseboat", [("houses", 1.0)]) is None
    assert fold.spelled_alike("hotels", [("hosted", 5.0)], most=1) is None
    assert fold.distance("on", "no", 2) == 1


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.text("abcdefgh", max_size=12))
def test_distance_is_a_metric(one: str, other: str) -> None:
    exact = fold.distance(one, other, 100)
    assert exact == fold.distance(other, one, 100) and (exact == 0) == (one == other)
    assert abs(len(one) - len(other)) <= exact <= max(len(one), len(other))
    assert fold.distance(one, other, 2) == exact if exact <= 2 else fold.distance(one, other, 2) > 2


# ---- the language of queries, as a whole


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(space: PhraseSpace, query: str) -> None:
    """Never another error: not even for half a surrogate pair, or a name without letters."""
    try:
        found = space.query(parse(query))
        assert found.vector.shape == (3,) and np.isfinite(found.vector).all()
    except QueryError as error:
        assert str(error) and error.hint


def printed(terms: list[Term]) -> str:
    return " ".join(f'{"-" * (term.weight < 0)}{abs(term.weight)!r}*"{" ".join(term.words)}"' for term in terms)


WORD = st.from_regex(r"[a-z]{1,8}|[0-9]{1,4}|caf\u00e9|\u72ac", fullmatch=True)
WEIGHT = st.sampled_from([1.0, 2.0, 0.5, -1.0, -3.25, 1e5])


@given(st.lists(st.builds(Term, st.lists(WORD, min_size=1, max_size=3).map(tuple), WEIGHT), min_size=1, max_size=6))
def test_what_is_printed_is_parsed_again(terms: list[Term]) -> None:
    assert parse(printed(terms)) == terms


@given(st.text(max_size=60))
def test_parsing_is_settled_after_once(query: str) -> None:
    try:
        terms = parse(query)
    except QueryError:
        return
    assert parse(printed(terms)) == terms


def test_every_word_of_the_lists_is_one_token() -> None:
    from vsearch.text.tokenise import tokenise

    for word in fold.FUNCTION_WORDS | fold.PICTURES:
        assert tokenise(word) == [word] and Path(word).name == word
