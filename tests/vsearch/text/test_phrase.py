"""Phrases and queries over a two-dimensional table, where every value can be worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vsearch.errors import ModelError, QueryError, WordsError
from vsearch.text.phrase import PhraseSpace, Term, parse
from vsearch.text.vectors import WordVectors, checksum

TABLE = "4 2\ndog 2 0\nsea 0 3\nboat 3 4\ndown 0 -1\n"  # units: (1, 0), (0, 1), (.6, .8), (0, -1)


@pytest.fixture
def vectors(tmp_path: Path) -> WordVectors:
    (tmp_path / "words.vec").write_text(TABLE)
    return WordVectors.load(tmp_path / "words.vec")


def space(vectors: WordVectors, mean: tuple[float, float] = (0.0, 0.0)) -> PhraseSpace:
    return PhraseSpace(vectors, {"dog": 1.0, "sea": 2.0}, 4.0, np.array(mean, np.float32))


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("boat engine", [("boat", 1), ("engine", 1)]),
        ("boat -sail", [("boat", 1), ("sail", -1)]),
        ("2*boat", [("boat", 2)]),
        ("-0.5*Boat .5*sea 3.*dog", [("boat", -0.5), ("sea", 0.5), ("dog", 3)]),
        ('a "Hot  Dog"', [("a", 1), ("hot dog", 1)]),
        ('-2*"hot dog"', [("hot dog", -2)]),
        ("“hot dog” \u2212sea", [("hot dog", 1), ("sea", -1)]),
        ('"hot dog"sea', [("hot dog", 1), ("sea", 1)]),
        ("-t-shirt", [("t", -1), ("shirt", -1)]),
        ("dogs, in the sea !", [("dogs", 1), ("in", 1), ("the", 1), ("sea", 1)]),
        ("\tdog\n", [("dog", 1)]),
        ("don't", [("don't", 1)]),
    ],
)
def test_parse(query: str, terms: list[tuple[str, float]]) -> None:
    assert parse(query) == [Term(tuple(words.split()), weight) for words, weight in terms]


@pytest.mark.parametrize(
    ("query", "what", "remedy"),
    [
        ("", "empty", "boat engine"),
        (" ., !", "there is no word in", "boat engine"),
        ('hot "dog', "quote is left open", "close it"),
        ('""', "no word", "boat engine"),
        ('"."', "no word", "boat engine"),
        ("dog -", "no word", "boat engine"),
        ("2* dog", "no word", "boat engine"),
        ("--dog", "minus", "-sail"),
        ("x*dog", "'x' is no weight", "2*boat"),
        ("0*dog", "'0' is no weight", "2*boat"),
        ("2,5*dog", "'2,5' is no weight", "2*boat"),
        ("nan*dog", "'nan' is no weight", "2*boat"),
        ("*dog", "no weight stands before the star", "2*boat"),
        ("*", "no weight stands before the star", "2*boat"),
        ("😀", "there is no word in '😀'", "boat engine"),
        (" ", "the query is empty", "boat engine"),
        ("9999999*dog", "is no weight", "2*boat"),
        ("2*-dog", "minus", "-2*sail"),
    ],
)
def test_parse_names_the_mistake_and_the_remedy(query: str, what: str, remedy: str) -> None:
    with pytest.raises(QueryError, match=what.replace("*", r"\*")) as caught:
        parse(query)
    assert remedy in caught.value.hint


def test_a_phrase_is_the_idf_weighted_mean_of_unit_vectors(vectors: WordVectors) -> None:
    # 1 (1, 0) + 2 (0, 1) + 1 (1, 0) = (2, 2); the lengths 2 and 3 in the table do not matter
    assert space(vectors).vector(["dog", "sea", "dog"]) == pytest.approx([math.sqrt(0.5)] * 2)
    # boat has no idf: 4 (.6, .8) + 1 (1, 0) = (3.4, 3.2), of length sqrt(21.8)
    assert space(vectors).vector(["boat", "dog"]) == pytest.approx([3.4 / math.sqrt(21.8), 3.2 / math.sqrt(21.8)])


def test_the_mean_is_taken_off_the_weighted_mean(vectors: WordVectors) -> None:
    # (1 (1, 0) + 2 (0, 1)) / 3 - (1/3, 0) = (0, 2/3)
    assert space(vectors, (1 / 3, 0)).vector(["dog", "sea"]) == pytest.approx([0, 1], abs=1e-6)


def test_words_without_a_vector_do_not_count(vectors: WordVectors) -> None:
    # were the unknown word counted, the mean would be taken off with its weight too
    one = space(vectors, (0.5, 0.5))
    assert one.vector(["dog", "whale"]) == pytest.approx(one.vector(["dog"]))
    assert one.vector(["dog"]) == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    for tokens in ([], ["whale"]):
        with pytest.raises(QueryError, match="nothing is left"):
            one.vector(tokens)


def test_many_phrases_are_rows(vectors: WordVectors) -> None:
    one = space(vectors)
    rows = one.vectors_of([["dog", "sea"], ["boat"]])
    assert rows.shape == (2, 2) and rows.dtype == np.float32
    assert np.array_equal(rows[0], one.vector(["dog", "sea"]))
    assert one.vectors_of([]).shape == (0, 2)


def test_fit(vectors: WordVectors) -> None:
    captions = [["dog", "dog", "sea"]] + [["dog"]] * 6 + [["boat", "sea"]]  # N = 8; dog in 7, sea 2, boat 1
    fitted = PhraseSpace.fit(vectors, captions)
    dog, rare = math.log(9 / 7.5), math.log(9 / 5.5)  # sea and boat count as if in 5 captions
    assert fitted.idf == pytest.approx({"boat": rare, "dog": dog, "sea": rare}, abs=1e-4)
    assert fitted.default_idf == pytest.approx(rare, abs=1e-4)
    # the caption means: (2 dog, rare) / (2 dog + rare); (1, 0) six times; ((.6, .8) + (0, 1)) / 2
    x = (2 * dog / (2 * dog + rare) + 6 + 0.3) / 8
    y = (rare / (2 * dog + rare) + 0.9) / 8
    assert fitted.mean == pytest.approx([x, y], abs=1e-4)


def test_fit_leaves_no_weight_at_zero(vectors: WordVectors) -> None:
    fitted = PhraseSpace.fit(vectors, [["dog"], ["dog", "sea"]])  # fewer captions than RARE
    assert min(fitted.idf.values()) > 0 and fitted.default_idf > 0


def test_the_mean_caption_after_fitting_is_at_the_origin(vectors: WordVectors) -> None:
    captions = [["dog", "sea"], ["boat"], ["down", "dog"]]
    fitted = PhraseSpace.fit(vectors, captions)
    left = [fitted._sum(tokens) for tokens in captions]
    assert np.mean([total / weight - fitted.mean for total, weight in left], axis=0) == pytest.approx([0, 0], abs=1e-6)


def test_a_query_weighs_and_takes_away(vectors: WordVectors) -> None:
    # 3 x 1 (1, 0) - 1 x 2 (0, 1) = (3, -2), and (3 - 2) times the mean (.5, 0) comes off: (2.5, -2)
    got = space(vectors, (0.5, 0)).query(parse("3*dog -sea"))
    assert got.vector == pytest.approx(np.array([2.5, -2]) / math.sqrt(10.25))
    assert got.vector.dtype == np.float32
    assert got.known == ["dog", "sea"] and got.unknown == []


def test_a_plain_query_is_the_phrase(vectors: WordVectors) -> None:
    one = space(vectors, (0.1, 0.2))
    assert one.query(parse("dog sea boat")).vector == pytest.approx(one.vector(["dog", "sea", "boat"]))


def test_a_label_is_averaged_before_it_is_weighed(vectors: WordVectors) -> None:
    # "dog sea" is the unit vector (1, 1)/sqrt 2 with weight (1 + 2)/2; as two words it would be (1, 2)/sqrt 5
    got = space(vectors).query(parse('"dog sea" -dog'))
    expected = 1.5 * math.sqrt(0.5) * np.array([1, 1]) - [1, 0]
    assert got.vector == pytest.approx(expected / np.linalg.norm(expected))


def test_unknown_words_are_named_once_and_something_must_be_known(vectors: WordVectors) -> None:
    got = space(vectors).query(parse("whale dog whale -squid dog"))
    assert got.unknown == ["whale", "squid"] and got.known == ["dog"]
    assert got.vector == pytest.approx([1, 0])
    with pytest.raises(QueryError, match="whale, squid"):
        space(vectors).query(parse("whale squid"))
    with pytest.raises(QueryError, match="empty"):
        space(vectors).query([])


class Guessing:
    """A source as a .bin is one: a vector for every word, (0, 1) for those outside the dictionary."""

    def get_dimension(self) -> int:
        return 2

    def get_words(self) -> list[str]:
        return ["dog", "boat"]

    def get_word_id(self, word: str) -> int:
        return self.get_words().index(word) if word in self.get_words() else -1

    def get_word_vector(self, word: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.array([1, 0] if word in self.get_words() else [0, 1], np.float32)


def test_a_guessed_vector_weighs_as_the_known_words_do() -> None:
    # dog 1 and boat 4 weigh 2.5 on average: 1 (1, 0) + 4 (1, 0) + 2.5 (0, 1) = (5, 2.5)
    got = space(WordVectors(Guessing())).query(parse("dog boat whale"))
    assert got.unknown == ["whale"]
    assert got.vector == pytest.approx(np.array([2, 1]) / math.sqrt(5))


def test_terms_that_cancel_are_an_error(vectors: WordVectors) -> None:
    for query in ("dog -dog", '"sea down"'):
        with pytest.raises(QueryError, match="nothing is left"):
            space(vectors).query(parse(query))


def model_folder(folder: Path, vectors: WordVectors, **words: str) -> PhraseSpace:
    settings = {"file": "words.vec", "sha256": checksum(folder / "words.vec"), "dim": 2, **words}
    (folder / "config.json").write_text(json.dumps({"words": settings, "format": 1}))
    one = space(vectors, (0.125, -0.3))
    one.save(folder)
    return one


def test_save_and_load(vectors: WordVectors, tmp_path: Path) -> None:
    saved = model_folder(tmp_path, vectors)
    loaded = PhraseSpace.load(tmp_path)
    assert (loaded.idf, loaded.default_idf) == (saved.idf, saved.default_idf)
    assert np.array_equal(loaded.mean, saved.mean)
    assert np.array_equal(loaded.vector(["boat", "dog"]), saved.vector(["boat", "dog"]))
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_model_folder_is_refused(vectors: WordVectors, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        PhraseSpace.load(tmp_path)
    model_folder(tmp_path, vectors, file="../words.vec")
    with pytest.raises(ModelError, match="outside"):
        PhraseSpace.load(tmp_path)
    model_folder(tmp_path, vectors, sha256="0" * 64)
    with pytest.raises(WordsError, match="damaged"):
        PhraseSpace.load(tmp_path)
    model_folder(tmp_path, vectors)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no words"):
        PhraseSpace.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"idf": {}, "default_idf": 1}',
        '{"idf": [], "default_idf": 1, "mean": [0, 0]}',
        '{"idf": {"dog": "x"}, "default_idf": 1, "mean": [0, 0]}',
        '{"idf": {}, "default_idf": NaN, "mean": [0, 0]}',
        '{"idf": {}, "default_idf": 1, "mean": [0, 0, 0]}',
    ],
)
def test_a_damaged_phrase_file_is_refused(vectors: WordVectors, tmp_path: Path, content: str) -> None:
    model_folder(tmp_path, vectors)
    (tmp_path / "phrase.json").write_text(content)
    with pytest.raises(ModelError, match="phrase"):
        PhraseSpace.load(tmp_path)


def test_a_query_needs_no_torch(vectors: WordVectors, tmp_path: Path) -> None:
    model_folder(tmp_path, vectors)
    program = (
        "import sys; from pathlib import Path; from vsearch.text.phrase import PhraseSpace, parse\n"
        "PhraseSpace.load(Path(sys.argv[1])).query(parse('dog -sea')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
