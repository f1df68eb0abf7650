"""Word vectors: a fastText .bin, whose subwords give unseen words a vector too, or a .vec table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch import files
from vsearch.errors import WordsError
from vsearch.text.fasttext_file import read_layout
from vsearch.text.tokenise import tokenise

END_OF_LINE = "</s>"  # fastText counts line ends as a word; nobody can ask for it
Floats = NDArray[np.float32]


class _Source(Protocol):
    """Where vectors come from; named as fastText names them."""

    def get_dimension(self) -> int: ...
    def get_words(self) -> list[str]: ...
    def get_word_id(self, word: str) -> int: ...
    def get_word_vector(self, word: str) -> Floats: ...


class _Table:
    """A .vec table held in memory; a word outside it is all zeros."""

    def __init__(self, words: list[str], rows: Floats) -> None:
        self._words, self._rows = words, rows
        self._ids = {word: i for i, word in enumerate(words)}

    def get_dimension(self) -> int:
        return int(self._rows.shape[1])

    def get_words(self) -> list[str]:
        return self._words

    def get_word_id(self, word: str) -> int:
        return self._ids.get(word, -1)

    def get_word_vector(self, word: str) -> Floats:
        index = self._ids.get(word)
        return np.zeros(self.get_dimension(), np.float32) if index is None else self._rows[index]


class WordVectors:
    """Vectors of D float32 values for words, as `tokenise` spells them."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.dim = source.get_dimension()
        self._words: list[str] | None = None
        self._ranked: tuple[list[str], Floats] | None = None

    @classmethod
    def load(cls, path: Path, sha256: str | None = None) -> WordVectors:
        """Read a fastText .bin (plain or quantised) or a .vec table.

        A file that is damaged, or made to do harm, must not reach fastText, which loads it in silence or ends the
        process: its layout is checked first, whatever the `sha256` (hexadecimal) says that comes with it.
        WordsError when the file is missing, damaged, or neither kind.
        """
        if not path.is_file():
            raise WordsError(f"there are no word vectors at {path}")
        if sha256:
            found = checksum(path)
            if found != sha256.lower():
                raise WordsError(f"{path} is damaged or of another model: sha256 {found[:12]}, not {sha256[:12]}")
        if path.suffix == ".vec":
            return cls(_read_table(path))
        read_layout(path)
        return cls(_open_binary(path))

    @property
    def words(self) -> list[str]:
        """Every word of the dictionary, the most frequent first. Listing them is slow: test with `in` instead."""
        if self._words is None:
            try:
                self._words = [word for word in self._source.get_words() if word != END_OF_LINE]
            except UnicodeDecodeError:
                raise WordsError("the words of the dictionary are not in UTF-8") from None
        return self._words

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word != END_OF_LINE and self._source.get_word_id(word) >= 0

    def vector(self, word: str) -> Floats:
        """Return the vector (D,) of `word` as stored. Outside the dictionary: from its subwords (.bin), or zeros
        (.vec)."""
        return np.asarray(self._source.get_word_vector(word), np.float32)

    def unit(self, word: str) -> Floats:
        """Return `vector(word)` at length 1; zeros stay zeros, and what is not finite becomes zeros."""
        return _unit(self.vector(word))

    def label(self, text: str) -> Floats:
        """Return the unit vector (D,) of a label of one or several words: the mean of their unit vectors, none dropped.

        WordsError when no word of it has a vector.
        """
        words = tokenise(text)
        total = np.sum([self.unit(word) for word in words], axis=0) if words else np.zeros(self.dim, np.float32)
        if not np.any(total):
            raise WordsError(f"no word of {text!r} has a vector")
        return _unit(total)

    def nearest(self, vector: Floats, k: int, words: Sequence[str] | None = None) -> list[tuple[str, float]]:
        """Return the `k` words nearest to `vector` (D,), with their cosines, best first.

        words: labels to choose among, of one or several words each; None is the whole dictionary. The unit vectors of
        the last list asked for are kept (4 D bytes a word), so keep asking for the same list.
        """
        names, table = self._table(words)
        if k < 1 or not names:
            return []
        scores = table @ _unit(np.asarray(vector, np.float32))  # (W,)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(names[i], float(scores[i])) for i in best]

    def _table(self, words: Sequence[str] | None) -> tuple[list[str], Floats]:
        names = self.words if words is None else list(words)
        if self._ranked is None or self._ranked[0] != names:
            rows = [self.unit(name) for name in names] if words is None else [self.label(name) for name in names]
            self._ranked = names, np.array(rows, np.float32).reshape(len(names), self.dim)
        return self._ranked


def checksum(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal. Raises WordsError if it cannot be read."""
    try:
        return files.sha256(path)
    except OSError as error:
        raise WordsError(f"cannot read the word vectors {path}: {error.strerror}") from None


def _unit(vector: Floats) -> Floats:
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector))
    if not np.isfinite(length):  # a damaged file: as good as no vector
        return np.zeros_like(vector)
    return vector / np.float32(length) if length > 0 else vector


def _open_binary(path: Path) -> _Source:
    from fasttext import FastText

    try:
        # What fasttext.load_model returns; called directly, because load_model prints a warning that is none to stderr.
        source: _Source = FastText._FastText(model_path=str(path))
    except ValueError as error:
        raise WordsError(f"fastText cannot read {path}: {error}") from None
    return source


def _read_table(path: Path) -> _Table:
    """Read a .vec: a line `words D`, then a word and D numbers a line, the most frequent word first."""
    words: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            count, dim = (int(part) for part in file.readline().split())
            if count < 0 or dim < 1 or 2 * count * dim > path.stat().st_size:  # a number takes two bytes at least
                raise ValueError("it says that it has more numbers than it can have")
            rows = np.empty((count, dim), np.float32)
            for i in range(count):
                parts = file.readline().rstrip(" \n").rsplit(" ", dim)
                if len(parts) != dim + 1:
                    raise ValueError(f"line {i + 2} does not hold a word and {dim} numbers")
                words.append(parts[0])
                rows[i] = np.array(parts[1:], np.float32)
            if file.read(1) or not np.isfinite(rows).all():
                raise ValueError("lines left over, or values that are not numbers")
    except (ValueError, OSError, MemoryError) as error:
        raise WordsError(f"{path} is not a .vec table of word vectors, or is cut short: {error}") from None
    return _Table(words, rows)
