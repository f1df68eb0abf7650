"""Captions without photos: what is read, what is left out, and what the prepared file holds."""

from __future__ import annotations

import doctest
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_model import words_file
from tests.support.training_data import flickr8k
from training.data import texts
from training.data.captions import prepare_captions, read_flickr8k
from training.data.prepared import open_prepared
from training.data.sources.captions import read_captions
from training.data.sources.jsonl import read_texts
from training.data.texts import Told, apart, names_of, read_table
from training.data.word_table import read_words
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import Vocabulary

LINES: list[dict[str, object]] = [
    {"id": 9, "captions": ["A giraffe, standing.", "Two of them"], "image": "COCO_train2014_000000000009.jpg"},
    {"id": 25, "captions": ["A dog on a boat."]},
    {"image": "1000268201.jpg", "captions": ["A girl in a red dress."], "in_flickr8k_train": True},
]  # fmt: skip


def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


def written(path: Path, lines: list[dict[str, object]] = LINES) -> Path:
    content = "".join(json.dumps(line) + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, "utf-8")
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_lines_are_read_with_all_names_of_their_photo(tmp_path: Path, name: str) -> None:
    told = read_texts(written(tmp_path / name))
    assert [t.captions for t in told] == [line["captions"] for line in LINES]
    assert [t.names for t in told] == [{"9", "COCO_train2014_000000000009"}, {"25"}, {"1000268201"}]


def test_examples_of_names_hold() -> None:
    assert doctest.testmod(texts).failed == 0 and doctest.testmod(texts).attempted == 1
    assert names_of("folder/dog.jpg") == {"dog"}


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"captions": ["a"]}\n{"image": "x"}\n', "line 2: 'captions' is missing"), ("a dog\n", "line 1 is not JSON")],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / "t.jsonl")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"captions": []}\n')[:-9])
    for name in ("none.jsonl", "broken.jsonl.gz"):
        with pytest.raises(DataError, match=name):
            read_texts(tmp_path / name)


@pytest.mark.parametrize(
    "photo",
    ["coco/COCO_train2014_000000000009.jpg", "000000000009.jpg", "1000268201_693b08cb0e.jpg"],
)
def test_what_is_said_of_a_photo_of_the_set_is_left_out_by_any_of_its_names(tmp_path: Path, photo: str) -> None:
    told = read_texts(written(tmp_path / "t.jsonl"))
    gone = 2 if photo.startswith("1000") else 0
    assert apart(told, ["dog.jpg", photo]) == [t for i, t in enumerate(told) if i != gone]


def test_the_prepared_file_holds_them_next_to_the_photos(tmp_path: Path) -> None:
    photos, made = read_flickr8k(flickr8k(tmp_path / "f")), space()
    told = [
        Told(frozenset({"1"}), ["A brown dog runs!", "a very long one " * 3, "Grass, water and sand."]),
        Told(frozenset({"test1"}), ["A secret of the test split."]),
        Told(frozenset(), ["The zzyzx of qqq"]),
        Told(frozenset({"3"}), ["a boat"]),
    ]
    report = prepare_captions(photos, tmp_path / "c.h5", made, 1, 8, texts=told)
    assert report.texts == 4
    with open_prepared(tmp_path / "c.h5", "captions") as file:
        found, vocabulary = read_table(file), Vocabulary(json.loads(file.attrs["vocabulary"]))
        table = read_words(file)
    lines = ["a brown dog runs", "grass water and sand", "the zzyzx of qqq", "a boat"]
    assert [" ".join(words) for words in found.words] == lines
    assert [" ".join(vocabulary.decode(row.tolist())) for row in found.ids] == lines
    assert found.lengths.tolist() == [6, 6, 6, 4]
    assert found.photo.tolist() == [0, 0, 1, 2]
    assert np.allclose(found.vectors, made.vectors_of([line.split() for line in lines]), atol=1e-3)
    assert {"zzyzx", "sand", "dog"} <= set(table.words) and "secret" not in table.words
    assert "secret" not in vocabulary.words


def test_without_texts_the_file_is_as_before(tmp_path: Path) -> None:
    photos = read_flickr8k(flickr8k(tmp_path / "f"))
    assert prepare_captions(photos, tmp_path / "c.h5", space(), 1, 8).texts == 0
    with (
        open_prepared(tmp_path / "c.h5", "captions") as file,
        pytest.raises(DataError, match="no captions without photos"),
    ):
        read_table(file)


def test_json_lines_with_photos_are_a_caption_set(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = (
        '{"id": 1, "image": "a.jpg", "captions": ["A dog."]}\n\n{"image": "b.jpg", "captions": ["A cat.", "One."]}\n'
    )
    (tmp_path / "captions.jsonl").write_text(lines)
    (tmp_path / "dev.jsonl").write_text('{"image": "c.jpg", "captions": ["A boat."]}\n')
    photos = read_captions(tmp_path / "captions.jsonl", dev=tmp_path / "dev.jsonl")
    found = [(p.path.relative_to(tmp_path).as_posix(), p.split, p.captions) for p in photos]
    assert found == [
        ("images/a.jpg", "train", ["A dog."]),
        ("images/b.jpg", "train", ["A cat.", "One."]),
        ("images/c.jpg", "dev", ["A boat."]),
    ]
    elsewhere = read_captions(tmp_path / "captions.jsonl", images=tmp_path / "other")
    assert [p.path for p in elsewhere] == [tmp_path / "other" / "a.jpg", tmp_path / "other" / "b.jpg"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"captions": []}', "line 1: 'image' is missing"),
        ("{", "line 1 is not JSON"),
        ('{"image": "a.jpg"}', "captions"),
    ],
)
def test_a_line_of_a_caption_set_that_does_not_fit_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "captions.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_captions(tmp_path / "captions.jsonl")
