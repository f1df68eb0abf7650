"""Hierarchical precision, by hand on a tree of seven nodes; hierarchies from files and from WordNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import tiny_wordnet
from vsearch.errors import DataError
from vsearch.metrics.hierarchy import (
    correct_sets,
    distances,
    hierarchical_precision,
    read_hierarchy,
    wordnet_parents,
)
from vsearch.metrics.retrieval import hit_at

#        thing
#       /     \
#   carnivore  boat
#    /     \
# canine  feline
#  /  \      |
# dog wolf  cat
PARENTS = {
    "dog": ["canine"], "wolf": ["canine"], "canine": ["carnivore"], "cat": ["feline"], "feline": ["carnivore"],
    "carnivore": ["thing"], "boat": ["thing"],
}  # fmt: skip
LABELS = ["dog", "wolf", "cat", "boat"]


def test_steps_through_the_nearest_common_ancestor() -> None:
    """dog to wolf: one up to canine, one down. Dog to cat: two up to carnivore, two down. Dog to boat: three up to
    thing, one down; the same from cat."""
    assert distances(LABELS, PARENTS).tolist() == [[0, 2, 4, 4], [2, 0, 4, 4], [4, 4, 0, 4], [4, 4, 4, 0]]


def test_a_label_may_be_an_ancestor_and_have_several_parents() -> None:
    """carnivore is two steps above dog. With feline as second parent of dog, cat is two steps away, not four."""
    assert distances(["dog", "carnivore"], PARENTS).tolist() == [[0, 2], [2, 0]]
    assert distances(["dog", "cat"], {**PARENTS, "dog": ["canine", "feline"]}).tolist() == [[0, 2], [2, 0]]


def test_a_common_descendant_is_no_way() -> None:
    """Only up and then down: a mule joins horse and donkey below, but nothing stands above both."""
    parents = {"mule": ["horse", "donkey"]}
    assert distances(["horse", "donkey"], parents).tolist() == [[0, np.inf], [np.inf, 0]]


def test_correct_sets_grow_by_whole_radii() -> None:
    """Of dog: {dog} at radius 0, {dog, wolf} at 2, and at 4 cat and boat come together. Of cat all come at 4."""
    distance = distances(LABELS, PARENTS)
    sizes = {k: correct_sets(distance, k).sum(1).tolist() for k in (1, 2, 3, 4, 9)}
    assert sizes == {1: [1, 1, 1, 1], 2: [2, 2, 4, 4], 3: [4, 4, 4, 4], 4: [4, 4, 4, 4], 9: [4, 4, 4, 4]}
    assert correct_sets(distance, 2)[0].tolist() == [True, True, False, False]


def test_what_cannot_be_reached_is_in_no_correct_set() -> None:
    distance = distances(["horse", "donkey"], {"horse": ["animal"], "donkey": ["beast"]})
    assert correct_sets(distance, 2).tolist() == [[True, False], [False, True]]


def test_precision_by_hand() -> None:
    """A dog: answers dog, boat, wolf, cat. At 2 the set is {dog, wolf}: 1 of 2. A boat: answers cat, dog, wolf, boat.
    At 2 its set is everything: 2 of 2. At 1: the dog is right, the boat is not."""
    similarity = np.array([[0.9, 0.5, 0.1, 0.7], [0.8, 0.5, 0.9, 0.1]])
    label, distance = np.array([0, 3]), distances(LABELS, PARENTS)
    assert hierarchical_precision(similarity, label, distance, 2) == pytest.approx(100 * (1 / 2 + 2 / 2) / 2)
    assert hierarchical_precision(similarity, label, distance, 1) == 50.0 == hit_at(similarity, label, 1)
    assert hierarchical_precision(similarity[:1], label[:1], distance, 4) == 100.0


def test_a_model_without_opinion_gains_nothing() -> None:
    """All tie: of dog's two answers the wrong ones, cat and boat, come first."""
    assert hierarchical_precision(np.zeros((1, 4)), np.array([0]), distances(LABELS, PARENTS), 2) == 0.0


def test_labels_that_the_hierarchy_lacks_are_named() -> None:
    with pytest.raises(DataError, match="lacks 1 classes, unicorn first"):
        distances(["dog", "unicorn"], PARENTS)


def test_a_file_of_child_and_parent(tmp_path: Path) -> None:
    file = tmp_path / "is_a.txt"
    file.write_text("# by hand\n\ndog canine\ndog\tpet\ncanine thing\n")
    assert read_hierarchy(file) == {"dog": ["canine", "pet"], "canine": ["thing"]}
    file.write_text("dog canine\ndog is a pet\n")
    with pytest.raises(DataError, match="line 2"):
        read_hierarchy(file)
    with pytest.raises(DataError, match="cannot read"):
        read_hierarchy(tmp_path / "none.txt")


def test_wordnets_own_hypernyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """toy_dog - dog - animal - entity - boat: one and three steps from dog."""
    numbers = tiny_wordnet.install(monkeypatch, tmp_path)
    parents = wordnet_parents()
    assert parents[numbers["toy_dog"]] == [numbers["dog"]] and parents[numbers["entity"]] == []
    labels = [numbers[name] for name in ("dog", "toy_dog", "boat")]
    assert distances(labels, parents)[0].tolist() == [0, 1, 3]


def test_without_wordnet_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wordnet.remove(monkeypatch, tmp_path)
    with pytest.raises(DataError, match="WordNet is not here") as caught:
        wordnet_parents()
    assert "nltk.downloader" in caught.value.hint and "file" in caught.value.hint
