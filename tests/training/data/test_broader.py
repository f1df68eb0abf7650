"""Broader terms of classes: the shipped ones of ImageNet, and a file of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_model import words_file
from training.data.classifier import prepare_classifier, read_classifier
from training.data.sources.broader import Broader, read_broader, read_classes
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors


def test_the_shipped_names_and_terms_are_those_of_imagenet() -> None:
    classes = read_classes("imagenet")
    assert len(classes) == 1000 and classes[0] == ("n01440764", ["tench", "Tinca tinca"])
    terms = {term.lemmas[0]: term.classes for term in read_broader("imagenet")}
    assert terms["dog"] == list(range(151, 269))  # from Chihuahua to the Mexican hairless
    assert [classes[i][1][0] for i in terms["bird of prey"]] == ["kite", "bald eagle", "vulture", "great grey owl"]
    assert all(2 <= len(covered) == len(set(covered)) <= 230 and max(covered) < 1000 for covered in terms.values())


def test_a_file_of_terms_and_a_list_of_classes(tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("# remark\n0-1\tanimal, beast\n\n2,0\tthing\n")
    assert read_broader(str(tmp_path / "terms.tsv")) == [
        Broader(["animal", "beast"], [0, 1]),
        Broader(["thing"], [2, 0]),
    ]
    (tmp_path / "nouns.txt").write_text("n1\tdog, hound\nboat\n")
    assert read_classes(str(tmp_path / "nouns.txt")) == [("n1", ["dog", "hound"]), ("boat", ["boat"])]


@pytest.mark.parametrize("line", ["dog", "0-\tdog", "a\tdog", "1\t", "\tdog"])
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "terms.tsv").write_text(f"0\tcat\n{line}\n")
    with pytest.raises(DataError, match=r"terms\.tsv, line 2 is no"):
        read_broader(str(tmp_path / "terms.tsv"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the broader terms .*none\.tsv"):
        read_broader(str(tmp_path / "none.tsv"))


def test_terms_stand_beside_the_classes_but_for_words_that_nobody_knows(tmp_path: Path) -> None:
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    state = {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}
    classes = [("dog", ["dog"]), ("boat", ["boat"]), ("engine", ["engine"])]
    terms = [Broader(["hot dog", "zzyzx dog"], [0, 1]), Broader(["zzyzx"], [1]), Broader(["old engine"], [2])]
    prepare_classifier(state, classes, tmp_path / "k.h5", space, terms)
    found = read_classifier(tmp_path / "k.h5")
    np.testing.assert_array_equal(found.broader, [[True, False], [True, False], [False, True]])
    assert {"hot", "old"} <= set(found.words.words) and "zzyzx" not in found.words.words
    with pytest.raises(DataError, match="hot dog covers class 3, there are 3"):
        prepare_classifier(state, classes, tmp_path / "k.h5", space, [Broader(["hot dog"], [0, 3])])
