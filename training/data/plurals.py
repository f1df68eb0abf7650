"""Singular and plural of English nouns, by rule: which two words of a dictionary are one thing and several of it.

Verbs in -s ("runs") follow the same rule and are paired as well: a man runs, men run.
"""

from __future__ import annotations

from collections.abc import Iterable

IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "grandchild": "grandchildren",
    "foot": "feet", "tooth": "teeth", "goose": "geese", "mouse": "mice", "ox": "oxen", "louse": "lice",
    "penny": "pence", "leaf": "leaves", "knife": "knives", "wife": "wives", "housewife": "housewives",
    "life": "lives", "wolf": "wolves", "shelf": "shelves", "half": "halves", "calf": "calves", "loaf": "loaves",
    "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "elf": "elves", "self": "selves",
    "cactus": "cacti", "fungus": "fungi", "nucleus": "nuclei", "larva": "larvae", "crisis": "crises",
    "oasis": "oases", "medium": "media", "bacterium": "bacteria", "criterion": "criteria", "quiz": "quizzes",
    "bus": "buses", "gas": "gases", "lens": "lenses", "potato": "potatoes", "tomato": "tomatoes",
    "hero": "heroes", "echo": "echoes", "mango": "mangoes", "mosquito": "mosquitoes", "volcano": "volcanoes",
    "buffalo": "buffaloes", "domino": "dominoes", "tornado": "tornadoes", "torpedo": "torpedoes",
    "cargo": "cargoes", "menu": "menus", "ski": "skis", "taxi": "taxis", "kiwi": "kiwis", "emu": "emus",
    "guru": "gurus", "bikini": "bikinis", "alibi": "alibis", "octopus": "octopuses", "walrus": "walruses",
    "cello": "cellos",
}  # fmt: skip
NO_MEN = frozenset(["human", "german", "roman", "ottoman", "norman", "talisman", "caiman", "shaman", "batman"])

# Words in -s that are no plural, or whose meaning is another one than the singular's.
APART = frozenset(
    """
    news glasses customs goods species series means physics mathematics politics economics athletics gymnastics
    pants shorts jeans tights clothes arms woods spirits contents works grounds hers ours yours theirs its his
    this was has does goes thats whats less perhaps always besides sometimes afterwards towards lens mess pass
    plus thus yes times theses mets sans mars moses wales james charles paris texas jones williams adams andrews
    hughes rogers edwards richards stephens matthews
    """.split()
)


def plural(word: str) -> str:
    """Return the plural of a noun by the rule of its ending.

    >>> [plural(word) for word in ("dog", "bus", "church", "pony", "day", "fisherman", "child")]
    ['dogs', 'buses', 'churches', 'ponies', 'days', 'fishermen', 'children']
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("man") and len(word) > 4 and word not in NO_MEN:
        return word[:-3] + "men"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and len(word) > 2 and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


_SINGULAR = {many: one for one, many in IRREGULAR.items()}
ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("men", "man"))


class Numbers:
    """Which words of a dictionary, given the most frequent first, are singular and plural of each other.

    Each word has one partner at most, and is the partner of that. Where two words have the same plural ("skies") it is
    that of the more frequent one.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.rank = {word: place for place, word in enumerate(words)}

    def singular(self, word: str) -> str | None:
        """Return the word whose plural `word` is; None where the dictionary has none.

        >>> numbers = Numbers(["sky", "dog", "glass", "bus", "skie"])
        >>> [numbers.singular(word) for word in ("dogs", "buses", "skies", "glasses", "glass")]
        ['dog', 'bus', 'sky', None, None]
        """
        if word in APART or (word.endswith(("ss", "us", "is")) and word not in _SINGULAR):
            return None
        if word in _SINGULAR:
            found = [_SINGULAR[word]]
        else:
            stems = [word[: -len(end)] + rest for end, rest in ENDINGS if word.endswith(end)]
            found = [stem for stem in stems if len(stem) > 2 and plural(stem) == word]
        found = [stem for stem in found if stem in self.rank and stem not in APART]
        return min(found, key=self.rank.__getitem__, default=None)

    def partner(self, word: str) -> str | None:
        """Return the plural of a singular, or the singular of a plural; None where the dictionary has none."""
        one = self.singular(word)
        if one is not None:
            return one if self.singular(one) is None else None
        many = plural(word)
        return many if many in self.rank and self.singular(many) == word else None

    def pairs(self) -> dict[str, str]:
        """Return all plurals of the dictionary by their singular."""
        found = {word: self.partner(word) for word in self.rank if self.singular(word) is None}
        return {one: many for one, many in found.items() if many is not None}
