"""The caption vocabulary: words to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from vsearch.errors import ConfigError, ModelError
from vsearch.files import MODEL_JSON, read_json, write_json

SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNK = range(len(SPECIALS))


class Vocabulary:
    """A fixed list of words. Ids 0 to 3 are <pad>, <start>, <end>, <unk>; `words[i]` has id i + 4.

    `len(vocabulary)` counts the four specials too: it is V, the width of a decoder's output.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: i for i, word in enumerate((*SPECIALS, *self.words))}
        if len(self._ids) != len(SPECIALS) + len(self.words):
            doubled = [word for word, n in Counter((*SPECIALS, *self.words)).items() if n > 1]
            raise ConfigError(f"words are twice in the vocabulary: {', '.join(doubled[:5])}")

    @classmethod
    def count(cls, captions: Iterable[Sequence[str]], min_freq: int) -> Vocabulary:
        """Build the vocabulary of the words with at least `min_freq` occurrences in tokenised captions, the most
        frequent first, then A to Z.

        Give it captions of the training split only.
        """
        counts = Counter(word for tokens in captions for word in tokens)
        kept = [word for word, n in counts.items() if n >= min_freq]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(SPECIALS) + len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids and word not in SPECIALS

    def id(self, word: str) -> int:
        """Return the id of `word`, or that of <unk>."""
        return self._ids.get(word, UNK)

    def word(self, index: int) -> str:
        """Return the word, or special, of an id in [0, len)."""
        return SPECIALS[index] if index < len(SPECIALS) else self.words[index - len(SPECIALS)]

    def encode(self, tokens: Sequence[str], max_len: int) -> list[int]:
        """Return <start>, the ids of the first `max_len` words, <end>: at most max_len + 2 ids, no padding."""
        return [START, *(self.id(word) for word in tokens[:max_len]), END]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words up to the first <end>; <start> and <pad> are left out, <unk> stays."""
        words: list[str] = []
        for index in ids:
            if index == END:
                break
            if index not in (PAD, START):
                words.append(self.word(int(index)))
        return words

    def save(self, path: Path) -> None:
        """Write the words, without the specials, as a JSON list."""
        write_json(path, self.words, indent=0)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote. Raises ModelError if the file is missing or is no list of different words."""
        words = read_json(path, ModelError, what="the vocabulary ", limit=MODEL_JSON)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ModelError(f"the vocabulary {path} is not a list of words")
        try:
            return cls(words)
        except ConfigError as error:
            raise ModelError(f"{path}: {error}") from None
