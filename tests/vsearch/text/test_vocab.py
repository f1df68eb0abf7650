from __future__ import annotations

from pathlib import Path

import pytest

from vsearch.errors import ConfigError, ModelError
from vsearch.text.vocab import END, PAD, START, UNK, Vocabulary


def test_specials_come_first_and_words_start_at_four() -> None:
    vocabulary = Vocabulary(["dog", "runs"])
    assert (PAD, START, END, UNK) == (0, 1, 2, 3)
    assert [vocabulary.word(i) for i in range(6)] == ["<pad>", "<start>", "<end>", "<unk>", "dog", "runs"]
    assert len(vocabulary) == 6
    assert "dog" in vocabulary and "cat" not in vocabulary and "<pad>" not in vocabulary


def test_count_orders_by_frequency_then_spelling_and_drops_the_rare() -> None:
    captions = [["b", "a", "a"], ["c", "b", "d"], ["c"]]  # a 2, b 2, c 2, d 1
    assert Vocabulary.count(captions, 2).words == ["a", "b", "c"]
    assert Vocabulary.count(captions, 1).words == ["a", "b", "c", "d"]
    assert Vocabulary.count([["x", "z", "z"]], 1).words == ["z", "x"]


def test_encode_cuts_to_max_len_words_and_marks_the_unknown() -> None:
    vocabulary = Vocabulary(["a", "dog", "runs"])
    assert vocabulary.encode(["a", "cat", "runs"], 5) == [START, 4, UNK, 6, END]
    assert vocabulary.encode(["a", "dog", "runs"], 2) == [START, 4, 5, END]
    assert vocabulary.encode([], 5) == [START, END]


def test_decode_stops_at_the_end() -> None:
    vocabulary = Vocabulary(["a", "dog", "runs"])
    assert vocabulary.decode([START, 4, UNK, 5, END, 6, PAD]) == ["a", "<unk>", "dog"]
    assert vocabulary.decode([4, PAD, PAD]) == ["a"]
    tokens = ["runs", "a", "dog"]
    assert vocabulary.decode(vocabulary.encode(tokens, 9)) == tokens


def test_a_word_that_stands_for_a_special_in_text_is_not_the_special() -> None:
    with pytest.raises(ConfigError, match="<end>"):
        Vocabulary(["a", "<end>"])


def test_doubled_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="dog"):
        Vocabulary(["dog", "cat", "dog"])


def test_save_and_load(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["dog", "café", "don't"])
    vocabulary.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json").words == vocabulary.words


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"dog": 4}', '["dog", "dog"]', '["do'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ModelError, match=r"vocab\.json"):
        Vocabulary.load(tmp_path / "vocab.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vocab\.json"):
        Vocabulary.load(tmp_path / "vocab.json")
