"""Parallel text -> one HDF5 file of sentence pairs, as ids, for training a translator.

In the prepared file, kind "pairs" (M pairs, S and T the longest source and target, V words of a vocabulary):

    attrs: source_language, target_language; source_vocabulary, target_vocabulary (JSON lists);
           source_pieces, target_pieces (JSON of byte-pair merges, "" where there are none)
    pairs/source  (M, S) int32   w1 ... wn <end> <pad> ...        pairs/target  (M, T) int32   <start> w1 ... <end> ...
    pairs/split   (M,) uint8     index into SPLITS                pairs/text    (M, 2) str     the two as given
    vectors/source, vectors/target  (V, D) float32   word vectors of unit spread, zero where a word has none
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import SPLITS, PreparedWriter, open_prepared
from vsearch.errors import ConfigError, DataError
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import SPECIALS, START, Vocabulary
from vsearch.translation.language import Language
from vsearch.translation.pieces import Pieces
from vsearch.translation.sentence import check_language, split

Pair = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """How pairs become ids; the settings of `prepare pairs`."""

    source: str = "fr"
    target: str = "en"
    vocabulary: int = 30_000  # words of each side, at most
    min_freq: int = 2
    max_percentile: float = 100.0  # training pairs with a side longer than this percentile of its lengths are left out
    bpe: int = 0  # pieces of each side; 0: whole words

    def __post_init__(self) -> None:
        check_language(self.source)
        check_language(self.target)
        if self.source == self.target:
            raise ConfigError(f"both sides are {self.source!r}", "name two languages")
        if not 0 < self.max_percentile <= 100:
            raise ConfigError(f"a percentile cannot be {self.max_percentile:g}", "give one above 0, up to 100")


@dataclass(frozen=True)
class Parallel:
    """What a training reads of the file: ids, splits, sentences as given, and the languages of the two sides."""

    source: NDArray[np.int64]  # (M, S)
    target: NDArray[np.int64]  # (M, T)
    split: NDArray[np.uint8]  # (M,)
    texts: list[Pair]
    languages: tuple[Language, Language]
    vectors: dict[str, NDArray[np.float32]]  # of "source", "target", where there are any

    def rows(self, name: str) -> NDArray[np.int64]:
        """Return the pairs of the split `name`. Raises DataError if it has none."""
        rows = np.flatnonzero(self.split == SPLITS.index(name))
        if not len(rows):
            raise DataError(f"there is no pair in the split {name!r}", "prepare the pairs again, with such a file")
        return rows


def read_pairs(files: Sequence[Path], swap: bool = False) -> list[Pair]:
    """Read sentence pairs of two files of lines, or of one with a tab between the two (what follows a second tab is
    passed over, as in Tatoeba's); plain or .gz. `swap`: in the one file the target stands first. Pairs with an empty
    side are left out.

    Raises DataError for files that are missing, no text, or of different length, and for a line without a tab.
    """
    if len(files) == 2:
        sides = [read_lines(file) for file in files]
        if len(sides[0]) != len(sides[1]):
            raise DataError(
                f"{files[0]} has {len(sides[0])} lines, {files[1]} {len(sides[1])}", "name files whose lines correspond"
            )
        return [(a.strip(), b.strip()) for a, b in zip(*sides, strict=True)]
    if len(files) != 1:
        raise DataError(f"{len(files)} files of text", "name one with tabs, or two of lines")
    pairs = []
    for number, line in enumerate(read_lines(files[0]), 1):
        parts = line.split("\t")
        if len(parts) < 2:
            raise DataError(
                f"{files[0]}, line {number}: no tab", "put a tab between the two sentences, or name two files"
            )
        pairs.append((parts[1], parts[0]) if swap else (parts[0], parts[1]))
    return [(a.strip(), b.strip()) for a, b in pairs]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, .gz or plain, UTF-8. Raises DataError if it cannot be read."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "name a text file in UTF-8, plain or .gz") from error
    lines = text.split("\n")  # not splitlines: a sentence may hold other separators, and lines must correspond
    return lines[:-1] if lines[-1] == "" else lines


def without(pairs: list[Pair], names: Path, exclude: Path) -> list[Pair]:
    """Return the pairs whose photo, named by the same line of the file `names`, is not among the lines of `exclude`.

    Names agree where they do up to the first dot or underscore: Flickr8k's 123_abc.jpg is Multi30k's 123.jpg.
    """
    left_out, own = {_stem(n) for n in read_lines(exclude)}, read_lines(names)
    if len(own) != len(pairs):
        raise DataError(f"{names} has {len(own)} lines for {len(pairs)} pairs", "name the file with a photo a line")
    return [pair for pair, name in zip(pairs, own, strict=True) if _stem(name) not in left_out]


def only(pairs: list[Pair], pattern: str) -> list[Pair]:
    """Return the pairs whose target begins like the regular expression. Raises ConfigError if it is none."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}") from None
    return [pair for pair in pairs if wanted.match(pair[1])]


def part(pairs: list[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into training and dev: about `share` of the targets go to dev with all their sources, the same in
    every run."""
    bound = share * 2**32
    is_dev = [zlib.crc32(target.lower().encode()) < bound for _, target in pairs]
    return [p for p, d in zip(pairs, is_dev, strict=True) if not d], [
        p for p, d in zip(pairs, is_dev, strict=True) if d
    ]


def prepare_pairs(
    splits: dict[str, list[Pair]], output: Path, settings: Settings, words: dict[str, Path] | None = None
) -> dict[str, int]:
    """Write the file `output` from the pairs of "train", "dev" and perhaps "test"; the vocabularies count only train.

    `words`: word vectors, by side ("source", "target"), from which embeddings may start. Returns the pairs of each
    split and the words of each side. Raises DataError if no training or dev pair is left.
    """
    kept = {name: [p for p in pairs if all(p)] for name, pairs in splits.items()}
    tokens = [
        [split(p[side], code) for p in kept["train"]] for side, code in enumerate((settings.source, settings.target))
    ]
    fit = np.ones(len(kept["train"]), np.bool_)
    for side in tokens:
        lengths = np.array([len(t) for t in side])
        fit &= (lengths > 0) & (lengths <= np.percentile(lengths, settings.max_percentile) if len(lengths) else fit)
    kept["train"] = [p for p, fits in zip(kept["train"], fit, strict=True) if fits]
    for name in ("train", "dev"):
        if not kept.get(name):
            raise DataError(f"there is no pair in the split {name!r}", "name files with sentences for it")
    languages = [
        _learn(code, [t for t, fits in zip(side, fit, strict=True) if fits], settings)
        for code, side in zip((settings.source, settings.target), tokens, strict=True)
    ]
    rows = [(name, pair) for name in SPLITS for pair in kept.get(name, [])]
    _write(output, rows, (languages[0], languages[1]), words or {})
    counts = {name: len(pairs) for name, pairs in kept.items()}
    return {**counts, "source": len(languages[0].vocabulary), "target": len(languages[1].vocabulary)}


def read_parallel(data: Path) -> Parallel:
    """Read a prepared file of pairs. Raises DataError if `data` is none."""
    with open_prepared(data, "pairs") as file:
        languages = [
            Language(
                file.attrs[f"{side}_language"],
                Vocabulary(json.loads(file.attrs[f"{side}_vocabulary"])),
                Pieces(file.attrs[f"{side}_pieces"]) if file.attrs[f"{side}_pieces"] else None,
            )
            for side in ("source", "target")
        ]
        vectors = {side: file[f"vectors/{side}"][:] for side in ("source", "target") if f"vectors/{side}" in file}
        texts = [(a.decode(), b.decode()) for a, b in file["pairs/text"][:]]
        ids = [file[f"pairs/{side}"][:].astype(np.int64) for side in ("source", "target")]
        return Parallel(ids[0], ids[1], file["pairs/split"][:], texts, (languages[0], languages[1]), vectors)


def _stem(name: str) -> str:
    return re.split(r"[_.]", name.strip())[0]


def _learn(code: str, sentences: list[list[str]], settings: Settings) -> Language:
    """Learn vocabulary and pieces of one side from its tokenised training sentences."""
    pieces = Pieces.train(sentences, settings.bpe) if settings.bpe else None
    units = sentences if pieces is None else [pieces.split(tokens) for tokens in sentences]
    counted = Vocabulary.count(units, settings.min_freq if pieces is None else 1)
    return Language(code, Vocabulary(counted.words[: settings.vocabulary]), pieces)


def _write(
    output: Path, rows: list[tuple[str, Pair]], languages: tuple[Language, Language], words: dict[str, Path]
) -> None:
    attrs, sides = {}, dict(zip(("source", "target"), languages, strict=True))
    for side, language in sides.items():
        attrs[f"{side}_language"] = language.code
        attrs[f"{side}_vocabulary"] = json.dumps(language.vocabulary.words)
        attrs[f"{side}_pieces"] = language.pieces.to_json() if language.pieces is not None else ""
    source, target = languages
    vectors = {side: _vectors(path, sides[side]) for side, path in words.items()}
    with PreparedWriter(output, "pairs", **attrs) as writer:
        writer.write("pairs/source", table([source.encode(a) for _, (a, _) in rows]))
        writer.write("pairs/target", table([[START, *target.encode(b)] for _, (_, b) in rows]))
        writer.write("pairs/split", np.array([SPLITS.index(name) for name, _ in rows], np.uint8))
        writer.write("pairs/text", [list(pair) for _, pair in rows])
        for side, found in vectors.items():
            writer.write(f"vectors/{side}", found)


def table(sentences: Iterable[list[int]]) -> NDArray[np.int32]:
    """Pad the ids of M sentences to (M, L)."""
    listed = list(sentences)
    ids = np.zeros((len(listed), max(map(len, listed))), np.int32)
    for row, sentence in zip(ids, listed, strict=True):
        row[: len(sentence)] = sentence
    return ids


def _vectors(path: Path, language: Language) -> NDArray[np.float32]:
    """Return the vectors (V, D) of a vocabulary's words, scaled to a standard deviation of 1."""
    vectors = WordVectors.load(path)
    rows = [vectors.vector(word) for word in language.vocabulary.words]
    found = np.array([np.zeros(vectors.dim, np.float32)] * len(SPECIALS) + rows, np.float32)
    spread = float(found[found.any(1)].std()) if found.any() else 0.0
    if not spread:
        raise DataError(f"{path} has a vector for no word of {language.name}", "name vectors of that language")
    return found / np.float32(spread)
