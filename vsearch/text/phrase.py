"""Phrases and queries: from words to one unit vector in the space where pictures live.

Alphabet: D word-vector size, M phrases. A phrase is the idf-weighted mean of its words' unit vectors, minus the mean
caption vector, at length 1. With weights w_i that is, up to length, the sum of w_i (unit(v_i) - mean), which is also
right for words taken away (w_i < 0).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.config import WordsConfig, from_dict
from vsearch.errors import ModelError, QueryError
from vsearch.files import MODEL_JSON, read_table, write_json
from vsearch.text.fold import DASHES, known_form, plain, spelled_alike, telling
from vsearch.text.tokenise import tokenise
from vsearch.text.vectors import Floats, WordVectors

RARE = 5  # words in fewer captions than this weigh as much as if in this many: their true rarity is unknown
_LARGEST = 1e6  # no weight of a word, nor a number of the mean, comes near it
_RARELY = 30_000  # words of the dictionary, the most frequent first, after which one may be a misspelling
_USUAL = 20_000  # words of the dictionary that may have been meant though no caption has them,
_WRITTEN = 60_000  # and if some have: behind them stand words that only captions have, most of them misspelt
_SELDOM = 9.0  # idf of a word of the captions from which on it may be a misspelling, in one of 8,000
_STEPS = 2.0  # how much lower the idf of what was meant must be where the captions have the misspelling, too
BLOCK = 8192  # phrases embedded at once
EXAMPLE = 'write it as in: boat engine -sail 2*red "hot dog"'


@dataclass(frozen=True)
class Term:
    """One part of a query: the words of a label, averaged as one, and its weight, negative to take it away."""

    words: tuple[str, ...]
    weight: float


@dataclass(frozen=True)
class Query:
    """A query as a unit vector (D,) float32, and its words: without and with an entry in the dictionary."""

    vector: Floats
    unknown: list[str]
    known: list[str]


@dataclass(frozen=True)
class Parts:
    """What T terms add to a query, float32 (T, D), and their words: without and with an entry in the dictionary."""

    vectors: Floats
    unknown: list[str]
    known: list[str]


class PhraseSpace:
    """Word vectors, how much each word weighs, and the mean caption that is taken off."""

    def __init__(self, vectors: WordVectors, idf: Mapping[str, float], default_idf: float, mean: Floats) -> None:
        """Take idf, the weight by word; default_idf, the weight of all other words; mean (D,)."""
        self.vectors = vectors
        self.idf = dict(idf)
        self.default_idf = default_idf
        self.mean: Floats = np.asarray(mean, np.float32)
        if self.mean.shape != (vectors.dim,):
            raise ModelError(f"the phrase space has {self.mean.size} dimensions, the word vectors {vectors.dim}")
        self._units: dict[str, Floats] = {}

    @classmethod
    def fit(cls, vectors: WordVectors, captions: Sequence[Sequence[str]]) -> PhraseSpace:
        """Fit weights and mean to the tokenised captions of the training split.

        idf(w) = ln((N + 1) / (n_w + 1/2)) with N captions, n_w of them holding w, but at least RARE of them (or N);
        a word in no caption weighs as the rarest do. mean: the mean over captions of their idf-weighted means.
        """
        count = len(captions)
        holding = Counter(word for tokens in captions for word in set(tokens))
        floor = min(RARE, count)
        idf = {word: round(math.log((count + 1) / (max(n, floor) + 0.5)), 4) for word, n in sorted(holding.items())}
        space = cls(vectors, idf, round(math.log((count + 1) / (floor + 0.5)), 4), np.zeros(vectors.dim, np.float32))
        means = [total / weight for total, weight in map(space._sum, captions) if weight > 0]
        if means:
            space.mean = np.array(np.mean(means, axis=0, dtype=np.float64), np.float32)
        return space

    @classmethod
    def load(cls, folder: Path) -> PhraseSpace:
        """Read config.json (for the words' file and checksum), phrase.json and the word vectors of a model folder.

        A folder of words only, as `prepare words` writes it, has words.bin and no config.json.
        ModelError, or WordsError for the vectors, when one is missing or damaged.
        """
        alone = (folder / WordsConfig.file).is_file() and not (folder / "config.json").exists()
        config = {} if alone else _read_table(folder / "config.json").get("words")
        if config is None:
            raise ModelError(f"the model in {folder} has no words", "choose a model that was trained with word vectors")
        words = from_dict(WordsConfig, config, "words")
        if Path(words.file).name != words.file:
            raise ModelError(f"the words of the model in {folder} lie outside it: {words.file}")
        table = _read_table(folder / "phrase.json")
        try:
            idf = {str(word): float(value) for word, value in table["idf"].items()}
            default, mean = float(table["default_idf"]), np.array(table["mean"], np.float32)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder / 'phrase.json'} is damaged: {error!r}") from None
        values = np.array([default, *idf.values(), *np.ravel(mean)], np.float64)
        if not (np.abs(values) < _LARGEST).all():  # NaN is not below it
            raise ModelError(f"{folder / 'phrase.json'} is damaged: it holds values that are not numbers, or too large")
        return cls(WordVectors.load(folder / words.file, words.sha256 or None), idf, default, mean)

    def save(self, folder: Path) -> None:
        """Write phrase.json into `folder`: {"idf": {word: weight}, "default_idf": weight, "mean": [D values]}."""
        mean = [float(f"{value:.8g}") for value in self.mean]
        table = {"idf": self.idf, "default_idf": self.default_idf, "mean": mean}
        write_json(folder / "phrase.json", table, indent=None)

    def vector(self, tokens: Sequence[str]) -> Floats:
        """Return the unit vector (D,) float32 of one tokenised phrase; QueryError when none of its words has a
        vector."""
        total, weight = self._sum(tokens)
        return self._finish(total - weight * self.mean, " ".join(tokens))

    def vectors_of(self, phrases: Iterable[Sequence[str]]) -> Floats:
        """Return `vector` of M phrases: (M, D)."""
        listed = [list(tokens) for tokens in phrases]
        rows = [self._vectors(listed[start : start + BLOCK]) for start in range(0, len(listed), BLOCK)]
        return np.concatenate(rows) if rows else np.zeros((0, self.vectors.dim), np.float32)

    def _vectors(self, phrases: Sequence[Sequence[str]]) -> Floats:
        """Embed all phrases at once: the weighted, centred vectors of the words there are, summed by phrase."""
        words = {word: n for n, word in enumerate(dict.fromkeys(word for tokens in phrases for word in tokens))}
        units = np.array([self._unit(word) for word in words], np.float32).reshape(len(words), self.vectors.dim)
        weights = np.array([self.idf.get(word, self.default_idf) for word in words], np.float32) * units.any(1)
        parts = weights[:, None] * (units - self.mean)  # (words, D)
        lengths = np.array([len(tokens) for tokens in phrases])
        flat = np.array([words[word] for tokens in phrases for word in tokens], np.int64)
        total = np.zeros((len(phrases), self.vectors.dim), np.float32)  # (M, D)
        if len(flat):
            total[lengths > 0] = np.add.reduceat(parts[flat], (np.cumsum(lengths) - lengths)[lengths > 0])
        norms = np.linalg.norm(total, axis=1)
        for row in np.flatnonzero(~(norms > 1e-6))[:1]:
            self._finish(total[row], " ".join(phrases[row]))
        return np.asarray(total / norms[:, None], np.float32)

    def query(self, terms: Sequence[Term]) -> Query:
        """Return the unit vector of what `parse` returned. A label of several words weighs as its words do on average.

        A word outside the dictionary has only a guess from its letters for a vector, or none (.vec): it weighs as the
        known words of the query do on average, not as the rare word it would be.
        Function words carry no weight, accents and a possessive 's may be left out: see `vsearch.text.fold`.
        QueryError when no word has an entry in the dictionary, or the terms cancel each other out.
        """
        terms = self.folded(terms)
        parts = self.parts(terms)
        total = np.zeros(self.vectors.dim, np.float32)
        for term, part in zip(terms, parts.vectors, strict=True):
            total += np.float32(term.weight) * part
        return Query(self._finish(total, "the query"), parts.unknown, parts.known)

    def parts(self, terms: Sequence[Term]) -> Parts:
        """Return what each term adds to the vector of `query`, before its own weight, and before the length is made 1.

        So the vector is linear in the weights of the terms, up to its length. Raises QueryError when no word is known.
        """
        words = list(dict.fromkeys(word for term in terms for word in term.words))
        unknown = [word for word in words if word not in self.vectors]
        known = [word for word in words if word in self.vectors]
        if not known:
            meant = [other for word in unknown if (other := self.spelled(word))]
            remedy = f"did you mean {' '.join(meant)}?" if meant else "try other or simpler words"
            raise QueryError(f"not known: {', '.join(unknown)}" if unknown else "the query is empty", remedy)
        weights = {word: self.idf.get(word, self.default_idf) for word in known}
        weights |= dict.fromkeys(unknown, float(np.mean(list(weights.values()))))
        rows = np.zeros((len(terms), self.vectors.dim), np.float32)
        for row, term in zip(rows, terms, strict=True):
            units = [unit for unit in map(self._unit, term.words) if np.any(unit)]
            label = np.sum(units, axis=0, dtype=np.float32) if units else self.mean
            length = float(np.linalg.norm(label))
            if units and length > 0:  # a .vec has no vector at all for an unknown word
                weight = np.float32(np.mean([weights[word] for word in term.words]))
                row[:] = weight * (label / np.float32(length) - self.mean)
        return Parts(rows, unknown, known)

    def folded(self, terms: Sequence[Term]) -> list[Term]:
        """Return the terms that count, their words by the names that captions or the dictionary know them by."""
        plain = [len(term.words) == 1 and term.weight == 1 for term in terms]
        counts = iter(telling([term.words[0] for term, one in zip(terms, plain, strict=True) if one]))
        kept = [term for term, one in zip(terms, plain, strict=True) if not one or next(counts)]
        know = self.idf.__contains__, self.vectors.__contains__
        return [Term(tuple(known_form(word, *know) for word in term.words), term.weight) for term in kept]

    def meant(self, query: Query) -> dict[str, str]:
        """Return, for words that the dictionary hardly knows or not at all, a usual one spelled alike."""
        found = {word: self.spelled(word) for word in [*query.unknown, *query.known]}
        return {word: other for word, other in found.items() if other is not None}

    def spelled(self, word: str) -> str | None:
        """Return the usual word that was meant by a misspelling; None for a usual word, or if none is spelled alike."""
        bound, most = math.inf, 2
        if word in self.vectors:
            own = self.idf.get(word, self.default_idf + _STEPS)
            if own < _SELDOM or self.vectors.words.index(word) < _RARELY:
                return None
            bound, most = own - _STEPS, 1
        names = [one for n, one in enumerate(self.vectors.words[:_WRITTEN]) if n < _USUAL or one in self.idf]
        rarity = ((one, self.idf.get(one, self.default_idf)) for one in names)
        return spelled_alike(word, (pair for pair in rarity if pair[1] <= bound), most)

    def _sum(self, tokens: Sequence[str]) -> tuple[Floats, float]:
        """Return the weighted sum (D,) of the words' unit vectors, and the sum of the weights; words without one left
        out."""
        units = [(self.idf.get(word, self.default_idf), self._unit(word)) for word in tokens]
        units = [(weight, unit) for weight, unit in units if np.any(unit)]
        if not units:
            return np.zeros(self.vectors.dim, np.float32), 0.0
        weights = np.array([weight for weight, _ in units], np.float32)
        return weights @ np.array([unit for _, unit in units]), float(weights.sum())  # (D,)

    def _unit(self, word: str) -> Floats:
        if word not in self._units:
            self._units[word] = self.vectors.unit(word)
        return self._units[word]

    def _finish(self, total: Floats, what: str) -> Floats:
        length = float(np.linalg.norm(total))
        if not length > 1e-6:
            raise QueryError(f"nothing is left to look for in {what!r}", "add a word, or subtract one less")
        return (total / np.float32(length)).astype(np.float32)


_PART = re.compile(
    r'(?P<sign>[-\u2010-\u2015\u2212]?)(?:(?P<weight>[^\s"*]*)\*)?(?:"(?P<label>[^"]*)"|(?P<words>[^\s"]*))'
)
_MINUS = ("-", "\u2212")
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})


def parse(query: str) -> list[Term]:
    """Parse the terms of a query: words; `-word` taken away; `2*word` weighted; `"two words"` as one label; `-2*"two
    words"`.

    A word that parts into several ("t-shirt") gives a term for each. Punctuation alone is passed over. Any dash is a
    minus, but a long one between blanks is punctuation.
    QueryError, with the remedy, for a quote left open, a weight that is no number above 0, and an empty query.
    """
    text, terms, at = plain(query).translate(_QUOTES), list[Term](), 0
    if text.count('"') % 2:
        raise QueryError("a quote is left open", 'close it, as in "hot dog", or leave it out')
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        part = _PART.match(text, at)
        if part is None or part.end() == at:
            raise QueryError(f"cannot read {text[at:]!r}", EXAMPLE)
        terms.extend(_terms(part))
        at = part.end()
    if not terms:
        given = query.strip()
        raise QueryError(f"there is no word in {given!r}" if given else "the query is empty", EXAMPLE)
    return terms


def _terms(part: re.Match[str]) -> list[Term]:
    weight = _weight(part) * (-1 if part["sign"] else 1)
    label = part["label"]
    words = tokenise(part["words"] if label is None else label)
    if label is None and part["words"].translate(DASHES).startswith("-") and words:
        raise QueryError(f"one minus too many in {part[0]!r}", "put a single minus first, as in -sail or -2*sail")
    if not words and (label is not None or part["sign"] in _MINUS or part["weight"] is not None):
        raise QueryError(f"there is no word in {part[0]!r}", EXAMPLE)
    return [Term((word,), weight) for word in words] if label is None else [Term(tuple(words), weight)]


def _weight(part: re.Match[str]) -> float:
    if part["weight"] is None:
        return 1.0
    if not part["weight"]:
        raise QueryError(
            "no weight stands before the star", "put a number above 0 before it, as in 2*boat or -0.5*sail"
        )
    value = float(part["weight"]) if _NUMBER.fullmatch(part["weight"]) else 0.0
    if not 0 < value < 1e6:
        raise QueryError(
            f"{part['weight']!r} is no weight", "put a number above 0 before the star, as in 2*boat or -0.5*sail"
        )
    return value


def _read_table(path: Path) -> dict[str, Any]:
    missing = ModelError(f"{path.parent} is not a model folder: {path.name} is missing")
    return read_table(path, ModelError, missing=missing, limit=MODEL_JSON)
