"""How the words of a query are brought to those of the captions: which count, and by what name they are known.

Only queries are folded. Captions, labels and training texts pass through `tokenise` alone, so no vector changes by it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

# Words that carry no weight in a query where others stand next to them: "the dog" asks for what "dog" asks for. With a
# weight or a minus of its own, or in a label of several words in double quotes, every word counts.
FUNCTION_WORDS = frozenset(
    "a an the this that these those some any of in on at to into onto from by with for and or as while is are was were "
    "be been being it its he him his she her they them their there here my our your".split()
)
# "a photo of a dog", "picture showing a dog": so people begin, though all are photos.
PICTURES = frozenset("photo photos photograph photographs picture pictures image images".split())
SHOWING = frozenset("showing shows depicting containing".split())

DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"))

_SHORTEST = 4  # letters of a word for which another spelling is looked for
_RARITY = 0.1  # changes of a word that one step of idf weighs as much as


def plain(text: str) -> str:
    """Return text in NFKC: full-width letters, ligatures and their like become the letters they stand for."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def forms(word: str) -> list[str]:
    """Return the names that a word may be known by, the given one first: without accents, without a possessive 's."""
    bare = word.removesuffix("'s")
    marks = unicodedata.normalize("NFD", bare)
    letters = "".join(letter for letter in marks if not unicodedata.combining(letter))
    return list(dict.fromkeys([word, bare, letters]))


def known_form(word: str, in_captions: Callable[[str], bool], in_dictionary: Callable[[str], bool]) -> str:
    """Return the name of a word that captions use, else one that the dictionary has, else the word itself.

    A possessive counts as its noun: "dog's" is "dog", whether the dictionary has it or not.
    """
    candidates = forms(word)
    if word.endswith("'s"):
        candidates = [*candidates[1:], word]
    for knows in (in_captions, in_dictionary):
        for one in candidates:
            if knows(one):
                return one
    return word


def telling(words: Sequence[str]) -> list[bool]:
    """Tell of each word of a query whether it counts; if none would, all do."""
    counts = [word not in FUNCTION_WORDS for word in words]
    first = next((at for at, one in enumerate(counts) if one), 0)
    if words[first : first + 1] and words[first] in PICTURES:
        after = next(iter(words[first + 1 : first + 2]), "")
        rest = first + 1 + (after in SHOWING)
        if (after in ("of", "with") or after in SHOWING) and any(counts[rest:]):
            counts[first:rest] = [False] * (rest - first)
    return counts if any(counts) else [True] * len(words)


def spelled_alike(word: str, others: Iterable[tuple[str, float]], most: int = 2) -> str | None:
    """Return the word among `others`, pairs of a word and its rarity (idf), that was most likely meant by `word`.

    That is the one with the fewest changes, of how it is written and of how it sounds in equal parts, where a word that
    is e times as rare must be a tenth of a change nearer. None if none is close: `most` changes, one in words of four
    letters; the first letter stays. Words of less than four letters have too many neighbours.
    """
    if len(word) < _SHORTEST:
        return None
    written = 1 if len(word) == _SHORTEST else 2
    best, least, heard = None, math.inf, _sound(word)
    for other, rarity in others:
        if other[:1] != word[:1] or other == word or abs(len(other) - len(word)) > written:
            continue
        changes = distance(word, other, written)
        if changes > written or changes / 2 + _RARITY * rarity >= least:
            continue
        both = (changes + distance(heard, _sound(other), written)) / 2
        if both <= most and both + _RARITY * rarity < least:
            best, least = other, both + _RARITY * rarity
    return best


def _sound(word: str) -> str:
    """Return a word as one writes it by ear: f for ph, k for c and ck, s for z, i for y, each letter once."""
    for written, heard in (("ph", "f"), ("ck", "k"), ("c", "k"), ("z", "s"), ("y", "i")):
        word = word.replace(written, heard)
    return re.sub(r"(.)\1+", r"\1", word)


def distance(one: str, other: str, most: int) -> int:
    """Return the least number of letters to insert, delete, replace, or swap with the next; above `most`, any number
    above it."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one):
        last, before, row = before, row, [i + 1]
        for j, mine in enumerate(other):
            cost = min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != mine))
            if i and j and letter == other[j - 1] and mine == one[i - 1]:
                cost = min(cost, last[j - 1] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
