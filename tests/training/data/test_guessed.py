"""Photos that a model captioned: read as `vsearch caption --json` writes them, marked in the prepared file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_model import words_file
from tests.support.training_data import draw, flickr8k
from training.data.caption_set import read_caption_set
from training.data.captions import Photo, prepare_captions, read_flickr8k
from training.data.prepared import open_prepared
from training.data.sources.guessed import read_guessed
from training.data.texts import Told, names_of
from vsearch.commands.caption import caption_row
from vsearch.errors import DataError
from vsearch.model import Caption
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

GUESSES = ("a boat on a boat", "a dog with a boat", "a boat", "the boat")


def written(folder: Path) -> Path:
    """A photo and what the command `caption` writes of it as JSON."""
    draw(folder / "sea.jpg", "blue")
    best, *others = [Caption(text, -1.0, tuple(text.split())) for text in GUESSES]
    row = caption_row(folder / "sea.jpg", Caption(best.text, -1.0, best.words, runner_ups=tuple(others)))
    (folder / "guessed.json").write_text(json.dumps([row]))
    return folder / "guessed.json"


def test_the_best_captions_are_read_with_their_photo(tmp_path: Path) -> None:
    assert read_guessed(written(tmp_path)) == [Photo(tmp_path / "sea.jpg", "train", [*GUESSES[:3]], guessed=True)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"path": "a.jpg"}', "no list of captioned photos"),
        ('[{"path": "a.jpg", "runner_ups": []}]', r"\[0\]: 'caption' is missing"),
        ('[{"path": "a.jpg", "caption": "x", "runner_ups": [{}]}]', r"\[0\]: 'caption' is missing"),
        ("[", "is not JSON"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "g.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_guessed(tmp_path / "g.json")


def test_guessed_captions_are_marked_and_give_no_words(tmp_path: Path) -> None:
    """Their photo is one to train on, their words count for nothing, and what people said of it stays a text."""
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    photos = [*read_flickr8k(flickr8k(tmp_path / "f", 2)), *read_guessed(written(tmp_path))]
    said = Told(frozenset(names_of("sea.jpg")), ["mustard on a plate"])
    prepare_captions(photos, tmp_path / "c.h5", space, 1, 8, texts=[said])
    found = read_caption_set(tmp_path / "c.h5")
    assert found.guessed.tolist() == [False] * 6 + [True]
    assert found.split.tolist() == [0, 0, 1, 1, 2, 2, 0]
    assert [" ".join(text) for text in found.texts[-3:]] == [*GUESSES[:3]]
    assert "with" not in found.vocabulary.words and "mustard" in found.vocabulary.words
    assert len(found.captions("train", 10)) == 3


def test_a_file_without_marks_has_no_guesses(tmp_path: Path) -> None:
    import h5py

    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    prepare_captions(read_flickr8k(flickr8k(tmp_path / "f", 2)), tmp_path / "c.h5", space, 1, 8)
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["pictures/guessed"]
    with open_prepared(tmp_path / "c.h5", "captions"):
        assert not read_caption_set(tmp_path / "c.h5").guessed.any()
