"""Singular and plural: the rule, its exceptions, and that no word has two partners."""

from __future__ import annotations

import doctest

import pytest

from training.data import plurals
from training.data.plurals import APART, IRREGULAR, Numbers, plural


def test_examples_hold() -> None:
    found = doctest.testmod(plurals)
    assert (found.failed, found.attempted) == (0, 3)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("airplane", "airplanes"), ("box", "boxes"), ("beach", "beaches"), ("bush", "bushes"), ("glass", "glasses"),
        ("puppy", "puppies"), ("boy", "boys"), ("fireman", "firemen"), ("human", "humans"), ("man", "men"),
        ("person", "people"), ("knife", "knives"), ("potato", "potatoes"), ("piano", "pianos"), ("quiz", "quizzes"),
    ],
)  # fmt: skip
def test_plurals_by_rule_and_by_exception(one: str, many: str) -> None:
    assert plural(one) == many


def test_words_in_s_that_are_no_plurals_have_no_singular() -> None:
    numbers = Numbers(["new", "news", "glass", "glasses", "bu", "bus", "tenni", "tennis", "gra", "gras", "grass", "it"])
    assert [numbers.singular(word) for word in ("news", "glasses", "bus", "tennis", "grass")] == [None] * 5
    assert numbers.pairs() == {"gra": "gras"}


def test_a_plural_of_two_words_is_that_of_the_more_frequent() -> None:
    assert Numbers(["horse", "horses", "hors"]).pairs() == {"horse": "horses"}
    assert Numbers(["sky", "skies", "skie"]).pairs() == {"sky": "skies"}
    assert Numbers(["skie", "skies", "sky"]).pairs() == {"skie": "skies"}
    assert Numbers(["skies"]).pairs() == {}


def test_every_word_has_one_partner_that_has_it_too() -> None:
    words = ["link", "links", "linkses", *IRREGULAR, *IRREGULAR.values(), "dog", "dogs", "glass", "glasses", "leave"]
    numbers = Numbers(words)
    pairs = numbers.pairs()
    partners = {word: numbers.partner(word) for word in words}
    assert {one for one, other in partners.items() if other is not None} == {*pairs, *pairs.values()}
    assert all(partners[many] == one and partners[one] == many for one, many in pairs.items())
    assert pairs["leaf"] == "leaves" and pairs["link"] == "links" and partners["linkses"] is None
    assert not APART & set(pairs.values())
