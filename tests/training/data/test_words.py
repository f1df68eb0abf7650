"""Words that have to be in the dictionary however rare they are, and the cutting of a trained file to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_model import SENTENCES, words_file
from training.data.words import cut, needed, train_words
from vsearch.errors import DataError
from vsearch.text.fasttext_file import read_entries, read_layout
from vsearch.text.vectors import WordVectors


def test_entries_are_the_words_with_their_counts() -> None:
    entries = list(read_entries(words_file()))
    counts = {entry.word: entry.count for entry in entries}
    assert len(entries) == read_layout(words_file()).words
    assert counts["</s>"] == len(SENTENCES) and counts["dog"] == sum(line.split().count("dog") for line in SENTENCES)
    assert b"".join(entry.packed for entry in entries) in words_file().read_bytes()


@pytest.mark.parametrize("quantise", [False, True])
def test_cutting_keeps_frequent_and_named_words_and_lets_new_ones_in(tmp_path: Path, quantise: bool) -> None:
    before = WordVectors.load(words_file())
    cut(words_file(), tmp_path / "w.bin", 24, {"snow", "dogs", "trilobite"}, quantise=quantise)
    after = WordVectors.load(tmp_path / "w.bin")
    frequent = {entry.word for entry in read_entries(words_file()) if entry.count >= 24} - {"</s>"}
    assert "dog" in frequent and "snow" not in frequent and "beach" not in frequent
    assert set(after.words) == {*frequent, "snow", "dogs", "trilobite"}
    for word in ("dog", "snow", "dogs", "trilobite", "beached"):  # new ones as their letters have it, like unseen ones
        np.testing.assert_allclose(after.vector(word), before.vector(word), atol=3e-3 if quantise else 1e-6)
    assert read_layout(tmp_path / "w.bin").quantised == quantise


def test_needed_words_bring_their_plurals_and_singulars(tmp_path: Path) -> None:
    found = needed(words_file(), [["the", "boat", "runs"], ["children"]], ["Hot dog", "brush, comb"])
    assert found == {"the", "boat", "runs", "children", "hot", "dog", "brush", "comb", "dogs", "combs"}


def test_named_words_and_those_of_captions_get_vectors_however_rare(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join([*SENTENCES, "one armadillo", "two zebras", "a rare bystander"]))
    captions = ["A giraffe .", "The boats , two boats ."]
    settings = {"dim": 8, "min_count": 3, "bucket": 100, "epochs": 1, "threads": 1}
    train_words(tmp_path / "text.txt", captions, tmp_path / "named", **settings, named=["armadillo", "tench"])  # type: ignore[arg-type]
    train_words(tmp_path / "text.txt", captions, tmp_path / "plain", **settings)  # type: ignore[arg-type]
    named, plain = (WordVectors.load(tmp_path / name / "words.bin") for name in ("named", "plain"))
    assert set(named.words) - set(plain.words) == {
        "giraffe", "boats", "armadillo", "armadillos", "tench", "tenches",
    }  # fmt: skip
    assert "bystander" not in named and "zebras" not in named


def test_a_quantised_file_is_not_cut(tmp_path: Path) -> None:
    cut(words_file(), tmp_path / "w.bin", 1, set(), quantise=True)
    with pytest.raises(DataError, match="quantised already"):
        cut(tmp_path / "w.bin", tmp_path / "again.bin", 1, set())
