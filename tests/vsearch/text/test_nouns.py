"""Lists of nouns, and where they lie among the word vectors."""

from __future__ import annotations

import gc
import gzip
import importlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_wordnet
from tests.support.tiny_model import model_folder
from vsearch.errors import DataError, QueryError
from vsearch.text import wordnet as corpus
from vsearch.text.nouns import WORDNET_FILE, EmbeddedNouns, Noun, embed_nouns, imagenet, noun_vectors, read_nouns
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors
from vsearch.text.wordnet import Synset, synsets
from vsearch.text.wordnet import find as find_synset


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    """Of the tiny model, a fastText .bin: any word has a vector."""
    return PhraseSpace.load(model_folder())


@pytest.fixture
def table(tmp_path: Path) -> PhraseSpace:
    """Of a .vec of two dimensions: dog (1, 0), sea (0, 1), boat (.6, .8); each of weight 1, the mean 0."""
    (tmp_path / "words.vec").write_text("3 2\ndog 2 0\nsea 0 3\nboat 0.6 0.8\n")
    return PhraseSpace(WordVectors.load(tmp_path / "words.vec"), {}, 1.0, np.zeros(2, np.float32))


def test_a_noun_is_the_mean_of_its_lemmas(table: PhraseSpace) -> None:
    """dog; sea: (1, 0) + (0, 1). sea dog; dog: (1, 1) / sqrt 2 + (1, 0), of length sqrt(2 + sqrt 2)."""
    rows = noun_vectors(table, [["dog", "sea"], ["sea dog", "dog"], ["boat"]])
    half = np.sqrt(0.5)
    length = np.sqrt(2 + np.sqrt(2))
    assert rows == pytest.approx(np.array([[half, half], [(half + 1) / length, half / length], [0.6, 0.8]]), abs=1e-6)
    assert rows.dtype == np.float32
    assert noun_vectors(table, []).shape == (0, 2)


def test_marks_alone_are_no_lemma_and_no_vector_is_an_error(table: PhraseSpace) -> None:
    assert noun_vectors(table, [["!", "dog"]]) == pytest.approx(np.array([[1.0, 0.0]]))
    for lemmas in (["!"], ["whale"], ["dog", "whale"]):
        with pytest.raises(QueryError):
            noun_vectors(table, [["sea"], lemmas])


def test_many_nouns_are_as_one_by_one(space: PhraseSpace) -> None:
    """The quick way against the mean of single phrase vectors, over more phrases than are embedded at once."""
    lemmas = [["brown dog", "dog"], ["boat"], ["a hat in the snow", "zzzz", "engine"]] * 3000
    rows = noun_vectors(space, lemmas)
    for row, names in zip(rows[:3], lemmas, strict=False):
        mean = np.mean([space.vector(name.split()) for name in names], axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert np.array_equal(rows[:3], rows[-3:])


def test_nearest_nouns_are_ranked_by_cosine(table: PhraseSpace) -> None:
    found = embed_nouns([Noun(("sea",)), Noun(("boat", "ship")), Noun(("dog",))], table, guess=True)
    assert found.left_out == 1  # a .vec has no guess of "ship" either
    assert found.nearest(np.array([0.0, 1.0], np.float32), 2) == [
        (Noun(("sea",)), 1.0),
        (Noun(("boat",)), pytest.approx(0.8)),
    ]


def test_without_guesses_only_lemmas_with_a_word_of_the_dictionary_stay(space: PhraseSpace) -> None:
    nouns = [Noun(("dog", "Xzqwv vzzxq"), "n1"), Noun(("zzvqx",), "n2"), Noun(("zzvqx boat",), "n3")]
    strict = embed_nouns(nouns, space, guess=False)
    assert [(noun.wnid, noun.lemmas) for noun in strict.nouns] == [("n1", ("dog",)), ("n3", ("zzvqx boat",))]
    assert strict.left_out == 2
    loose = embed_nouns(nouns, space, guess=True)
    assert (loose.nouns, loose.left_out) == (nouns, 0)
    with pytest.raises(DataError, match="none of the nouns"):
        embed_nouns(nouns[1:2], space, guess=False)


def test_imagenet_comes_with_torchvision() -> None:
    names = [noun.lemmas[0] for noun in read_nouns("imagenet")]
    assert len(names) == 1000
    assert (names[0], names[-1]) == ("tench", "toilet tissue")


def test_files_plain_and_packed(tmp_path: Path) -> None:
    text = "dog\n\nhot dog\nn02084071\tdog, domestic dog\ndog\n , \nsalt, pepper\n"
    expected = [Noun(("dog",)), Noun(("hot dog",)), Noun(("dog", "domestic dog"), "n02084071"), Noun(("salt, pepper",))]
    (tmp_path / "nouns.txt").write_text(text)
    (tmp_path / "nouns.tsv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("nouns.txt", "nouns.tsv.gz"):
        assert read_nouns(str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.txt", lambda path: None, "no list of nouns at"),
        ("empty.txt", lambda path: path.write_text("\n\t\n"), "holds no noun"),
        ("bad.txt", lambda path: path.write_bytes(b"\xff\xfe\xff"), "is no list of nouns"),
        ("bad.gz", lambda path: path.write_bytes(b"dog"), "is no list of nouns"),
        ("cut.gz", lambda path: path.write_bytes(gzip.compress(b"dog\n" * 99)[:-12]), "is no list of nouns"),
    ],
)
def test_files_that_are_none_are_named(name: str, make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=message):
        read_nouns(str(tmp_path / name))


def test_wordnet_comes_from_nltk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = tiny_wordnet.install(monkeypatch, tmp_path)
    nouns = read_nouns("wordnet")
    assert [noun.wnid for noun in nouns] == list(numbers.values())
    assert nouns[2].lemmas == ("dog", "domestic dog", "Xzqwv vzzxq")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NLTK leaves its files open
def test_our_reader_of_wordnet_agrees_with_nltks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk
    from nltk.corpus.reader import CorpusReader, WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader
    from nltk.data import FileSystemPathPointer

    tiny_wordnet.install(monkeypatch, tmp_path)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    other = LazyCorpusLoader("omw-1.4", CorpusReader, r".*/wn-data-.*\.tab")
    reader = WordNetCorpusReader(FileSystemPathPointer(str(tmp_path / "corpora" / "wordnet")), other)
    theirs = [
        (
            f"n{synset.offset():08d}",
            tuple(lemma.replace("_", " ") for lemma in synset.lemma_names()),
            tuple(f"n{above.offset():08d}" for above in synset.hypernyms()),
        )
        for synset in reader.all_synsets("n")
    ]
    del reader
    gc.collect()
    assert [(ours.wnid, ours.lemmas, ours.hypernyms) for ours in synsets().values()] == theirs


def test_one_synset_is_found_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any part of speech; a number that is no line's place is of none. Adjectives lose what tells their place."""
    numbers = tiny_wordnet.install(monkeypatch, tmp_path)
    assert [find_synset(number) for number in numbers.values()] == list(synsets().values())
    assert find_synset(f"n{int(numbers['dog'][1:]) + 1:08d}") is find_synset("n99999999") is None
    adjectives = tmp_path / "corpora" / "wordnet" / "data.adj"
    adjectives.write_text("00000000 00 s 02 galore(ip) 0 well_off 0 000 | many\n")
    assert find_synset("s00000000") == Synset("s00000000", ("galore", "well off"), ())
    adjectives.write_text("00000000 00 s 02 galore\n")
    with pytest.raises(DataError, match="WordNet is damaged"):
        find_synset("a00000000")
    tiny_wordnet.remove(monkeypatch, tmp_path / "none")
    with pytest.raises(LookupError):
        find_synset(numbers["dog"])


def test_else_wordnet_comes_from_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wordnet.remove(monkeypatch, tmp_path)
    monkeypatch.setattr("platformdirs.user_data_path", lambda *names, **more: tmp_path)
    with pytest.raises(DataError, match="WordNet is not here") as caught:
        read_nouns("wordnet")
    assert "nltk.downloader wordnet" in caught.value.hint
    assert str(tmp_path / WORDNET_FILE) in caught.value.hint
    (tmp_path / WORDNET_FILE).write_bytes(gzip.compress(b"n00001740\tentity, thing\n"))
    assert read_nouns("wordnet") == [Noun(("entity", "thing"), "n00001740")]


def test_a_damaged_wordnet_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wordnet.install(monkeypatch, tmp_path)
    (tmp_path / "corpora" / "wordnet" / "data.noun").write_text("00000000 03 n zz\n")
    with pytest.raises(DataError, match="damaged"):
        read_nouns("wordnet")


def test_placed_keeps_the_order_of_ties() -> None:
    nouns = [Noun(("a",)), Noun(("b",)), Noun(("c",))]
    found = EmbeddedNouns(nouns, np.array([[1, 0], [0, 1], [1, 0]], np.float32), 0)
    assert [noun.lemmas[0] for noun, _ in found.nearest(np.array([1, 0], np.float32), 3)] == ["a", "c", "b"]


def test_wordnet_is_looked_for_where_nltk_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import nltk.data

    monkeypatch.setenv("NLTK_DATA", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    theirs = importlib.reload(nltk.data).path  # it reads the variable when it is imported
    assert [str(place) for place in corpus.places()] == theirs


def test_wordnet_may_be_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NLTK's downloader leaves it."""
    numbers = tiny_wordnet.write(tmp_path / "wordnet")
    tiny_wordnet.remove(monkeypatch, tmp_path)
    (tmp_path / "corpora").mkdir()
    packed = tmp_path / "corpora" / "wordnet.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "wordnet" / "data.noun", "wordnet/data.noun")
    assert [noun.wnid for noun in read_nouns("wordnet")] == list(numbers.values())
    found = find_synset(numbers["dog"])
    assert found is not None and found.lemmas[0] == "dog"
    corpus._unpacked.cache_clear()
    packed.write_bytes(b"no archive")
    with pytest.raises(DataError, match="damaged"):
        read_nouns("wordnet")


def test_the_names_of_imagenet_are_those_of_torchvision() -> None:
    from vsearch.torchvision import torchvision

    theirs = torchvision().models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert [noun.lemmas for noun in imagenet()] == [(name,) for name in theirs]
