"""How the words of a query are brought to those of the captions: which count, and by what name they are known.

Only queries are folded. Captions, labels and training texts pass through `tokenise` alone, so no vector changes by it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence

# Words that carry no weight in a query where others stand next to them: "the dog" asks for what "dog" asks for. With a
# weight or a minus of its own, or in a label of several words in double quotes, every word counts.
FUNCTION_WORDS = frozenset(
    "a an the this that these those some any of in on at to into onto from by with for and or as while is are was were "
    "be been being it its he him his she her they them their there here".split()
)
# "a photo of a dog": so people begin, though all are photos.
PICTURES = frozenset("photo photos photograph photographs picture pictures image images".split())

DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"))

_SHORTEST = 4  # letters of a word for which another spelling is looked for


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
    if list(words[first + 1 : first + 2]) == ["of"] and words[first] in PICTURES and any(counts[first + 1 :]):
        counts[first] = False
    return counts if any(counts) else [True] * len(words)


def spelled_alike(word: str, others: Iterable[str]) -> str | None:
    """Return the word among `others`, the most usual first, that is spelled most like `word`; None if none is close.

    Close is one change of a letter, two in words of six letters and more; the first letter stays.
    """
    if len(word) < _SHORTEST:
        return None
    best, most = None, 2 if len(word) > 5 else 1
    for other in others:
        if other[:1] == word[:1] and other != word and abs(len(other) - len(word)) <= most:
            changes = distance(word, other, most)
            if changes <= most:
                best, most = other, changes - 1
                if most < 1:
                    break
    return best


def distance(one: str, other: str, most: int) -> int:
    """Return the least number of letters to insert, delete or replace; above `most`, any number above it."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, mine in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != mine))
        if min(row) > most:
            return most + 1
    return row[-1]
