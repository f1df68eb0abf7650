"""One side of a translator: its language, vocabulary and, where it has them, pieces of words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsearch.errors import QueryError
from vsearch.text.vocab import END, Vocabulary
from vsearch.translation import sentence
from vsearch.translation.pieces import END_OF_WORD, Pieces, load_pieces

COMMON = 0.01  # share of a vocabulary's letters from which their script belongs to the language


@dataclass(frozen=True)
class Language:
    """Text to ids and back. `code` is one of `sentence.LANGUAGES`."""

    code: str
    vocabulary: Vocabulary
    pieces: Pieces | None = None

    @property
    def name(self) -> str:
        return sentence.LANGUAGES[self.code]

    def units(self, text: str) -> list[str]:
        """Return the tokens of a sentence, or their pieces: what has an id."""
        tokens = sentence.split(text, self.code)
        return tokens if self.pieces is None else self.pieces.split(tokens)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a sentence to translate, and the end mark."""
        return [*(self.vocabulary.id(unit) for unit in self.units(text)), END]

    def text(self, units: Sequence[str]) -> str:
        """Return units as a sentence."""
        return sentence.join(Pieces.join(units) if self.pieces is not None else units, self.code)

    def label(self, unit: str) -> str:
        """Return a unit for people; a piece that its word goes on after ends in a hyphen."""
        return unit.removesuffix(END_OF_WORD) if self.pieces is None or unit.endswith(END_OF_WORD) else f"{unit}-"

    def unknown(self, text: str) -> list[str]:
        """Return the words of `text` that are not in the vocabulary, in their order, each once."""
        tokens = (token for token in sentence.split(text, self.code) if any(map(str.isalnum, token)))
        parts = {t: [t] if self.pieces is None else self.pieces.split([t]) for t in tokens}
        return [token for token, own in parts.items() if not own or any(unit not in self.vocabulary for unit in own)]

    def check(self, text: str, longest: int) -> None:
        """Raise QueryError if there is no (known) word, a foreign letter, or more than `longest` units."""
        units = self.units(text)
        words = [token for token in sentence.split(text, self.code) if any(map(str.isalnum, token))]
        if not words:
            raise QueryError("there is no word to translate", f"write a sentence in {self.name}")
        if len(units) > longest:
            raise QueryError(
                f"a sentence of {len(units)} words and signs is too long: at most {longest}", "split it into sentences"
            )
        if foreign := foreign_letters(text, self.vocabulary.words):
            raise QueryError(f"{foreign[0]!r} is no letter of {self.name}", f"write all words in {self.name}")
        if len(self.unknown(text)) == len(set(words)):
            raise QueryError(f"not known: {', '.join(dict.fromkeys(words))}", "try other or simpler words")

    def save(self, folder: Path, side: str) -> None:
        """Write `side`.json, the words, and `side`.bpe.json, the pieces."""
        self.vocabulary.save(folder / f"{side}.json")
        (folder / f"{side}.bpe.json").unlink(missing_ok=True)
        if self.pieces is not None:
            (folder / f"{side}.bpe.json").write_text(self.pieces.to_json(), "utf-8")

    @classmethod
    def load(cls, folder: Path, side: str, code: str) -> Language:
        """Load what `save` wrote. Raises ModelError if it is missing or damaged, ConfigError for an unknown
        language."""
        vocabulary = Vocabulary.load(folder / f"{side}.json")
        return cls(sentence.check_language(code), vocabulary, load_pieces(folder / f"{side}.bpe.json"))


def foreign_letters(text: str, words: Iterable[str]) -> list[str]:
    """Return the letters of `text` in a script that `words` hardly use, as Cyrillic ones in French."""
    counts = Counter(_script(c) for word in words for c in word.removesuffix(END_OF_WORD) if c.isalpha())
    own = {script for script, n in counts.items() if n >= COMMON * counts.total()}
    return [c for c in text if c.isalpha() and _script(c) not in own]


def _script(letter: str) -> str:
    """Return the first word of a letter's name in Unicode: LATIN, GREEK, CYRILLIC, CJK ..."""
    return unicodedata.name(letter, "UNKNOWN").split()[0]
