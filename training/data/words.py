"""Word vectors to ship: fastText skip-gram with subwords over a corpus and the training captions, then cut to size.

How the sizes were chosen: docs/explanation/word-vectors.md. fastText updates its matrices without locks, so a run is
repeatable to the bit only with one thread; with more, the vectors differ a little each time. (Its seed is always 0: the
Python package has no setting for it.)
"""

from __future__ import annotations

import lzma
import random
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.data.plurals import Numbers, plural
from vsearch.errors import DataError
from vsearch.text.fasttext_file import (
    CODES,
    COUNTS,
    HEADER,
    LEVELS,
    LOSS_FIELD,
    LOSS_SOFTMAX,
    SHAPE,
    TABLE,
    Entry,
    Layout,
    read_entries,
    read_layout,
)
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.text.vectors import WordVectors

CHUNK = 8192  # rows worked on at a time


def train_words(
    corpus: Path,
    captions: Sequence[str],
    output: Path,
    *,
    dim: int = 200,
    min_count: int = 5,
    bucket: int = 45_000,
    minn: int = 3,
    maxn: int = 4,
    epochs: int = 5,
    threads: int = 2,
    caption_repeat: int = 1,
    quantise: bool = True,
    named: Sequence[str] = (),
) -> None:
    """Train vectors of `dim` values and write `words.bin` and `phrase.json` into the folder `output`.

    corpus: text, one paragraph a line, .txt or .txt.xz. captions: raw captions of the training split, and perhaps of
    photos that are not here; they join the corpus `caption_repeat` times (0: not at all), in mixed order, and give the
    idf and the mean of `phrase.json`.
    Words seen fewer than `min_count` times get no row of their own; n-grams of minn to maxn letters share `bucket`
    rows.
    named: names of things. With any, each of their words and of those of the captions gets a row however rare it is,
    and so do its plural and singular.
    quantise: one byte a value instead of four, see `trim`.
    DataError when the corpus cannot be read or training did not come out in finite numbers.
    """
    tokens = _tokens(captions)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="words-", dir=output) as scratch:
        text, trained, target = (Path(scratch) / name for name in ("text.txt", "trained.bin", "words.bin"))
        _write_text(text, corpus, tokens, caption_repeat)
        settings: dict[str, Any] = {"dim": dim, "bucket": bucket, "minn": minn, "maxn": maxn}
        _fit(text, trained, **settings, minCount=1 if named else min_count, epoch=epochs, thread=threads)
        text.unlink()
        _shrink(trained, target, min_count, needed(trained, tokens, named) if named else None, quantise)
        phrase = PhraseSpace.fit(WordVectors.load(target), tokens)
        target.replace(output / "words.bin")
    phrase.save(output)


def _tokens(captions: Sequence[str]) -> list[list[str]]:
    """Return the words of each caption that has any. Raises DataError if none has."""
    tokens = [words for words in map(tokenise, captions) if words]
    if not tokens:
        raise DataError("no captions to fit the phrase space on")
    return tokens


def _shrink(source: Path, target: Path, min_count: int, named: Collection[str] | None, quantise: bool) -> None:
    """Write `source` as `cut` does, or as `trim` where no words are named."""
    if named is None:
        trim(source, target, quantise=quantise)
    else:
        cut(source, target, min_count, named, quantise=quantise)


def trim(source: Path, target: Path, *, quantise: bool = False) -> None:
    """Write the fastText .bin `source` as `target` without what only training needs; stock fastText loads it.

    The output matrix goes (zero rows; half of the file and more), and the loss is named softmax, which spares loading
    a table of ten million negative samples. Word vectors stay the same to the bit, of unseen words too.
    quantise: the input matrix in fastText's own quantised form with one byte a value and one a norm, a quarter of the
    size; vectors keep a cosine above 0.999 to their originals.
    WordsError when `source` is no whole fastText .bin; DataError when it is quantised already or not finite.
    """
    write_rows(source, target, _trained_rows(source, read_layout(source)), quantise=quantise)


def needed(trained: Path, captions: Iterable[Iterable[str]], named: Iterable[str]) -> set[str]:
    """Return the words of tokenised captions and of names of things, with their plurals and singulars.

    Names bring all their plurals, other words what the fastText .bin `trained` has.
    """
    names = [words for words in map(tokenise, named) if words]
    used = {word for words in [*captions, *names] for word in words}
    numbers = Numbers(WordVectors.load(trained).words)
    partners = (numbers.partner(word) for word in used if word in numbers.rank)
    return used | {word for word in partners if word is not None} | {plural(words[-1]) for words in names}


def cut(source: Path, target: Path, min_count: int, named: Collection[str], *, quantise: bool = False) -> None:
    """Write the fastText .bin `source` as `trim` does, without the words seen fewer than `min_count` times, but with
    all those `named`: one that `source` has never seen gets the vector that its letters give.

    Raises as `trim` does.
    """
    layout = read_layout(source)
    rows = _trained_rows(source, layout)
    entries = list(read_entries(source))
    kept = [i for i, entry in enumerate(entries) if entry.count >= min_count or entry.word in named]
    new = sorted(set(named) - {entry.word for entry in entries})
    guessed = InputRows(source).guesses(new)  # (words, D)
    fields, counts = _head_fields(source)
    head = HEADER.pack(*fields) + COUNTS.pack(*[len(kept) + len(new)] * 2, *counts[2:])
    head += b"".join(entries[i].packed for i in kept) + b"".join(Entry(word, 1).packed for word in new)
    whole = np.concatenate([rows[kept], guessed, rows[layout.words :]])
    _write(target, head, whole, quantise=quantise)


def _trained_rows(source: Path, layout: Layout) -> NDArray[np.float32]:
    """Return the input matrix of a fastText .bin as training leaves it: words, then buckets."""
    if layout.quantised:
        raise DataError(f"{source} is quantised already")
    rows = np.memmap(source, np.dtype("<f4"), "r", layout.values, (layout.words + layout.bucket, layout.dim))
    if not all(np.isfinite(chunk).all() for chunk in _chunks(rows)):
        raise DataError(
            f"training gave vectors that are not numbers: {source}", "train again, with fasttext-wheel 0.9.2"
        )
    return rows


def write_rows(source: Path, target: Path, rows: NDArray[np.float32], *, quantise: bool = False) -> None:
    """Write a fastText .bin with the dictionary of `source` and the input matrix `rows` (words + buckets, D).

    DataError where `rows` has another shape than the matrix of `source`.
    """
    layout = read_layout(source)
    if rows.shape != (layout.words + layout.bucket, layout.dim):
        raise DataError(f"{source} has {layout.words + layout.bucket} rows of {layout.dim}, not {rows.shape}")
    with source.open("rb") as file:
        dictionary = file.read(layout.matrix)[HEADER.size :]
    _write(target, HEADER.pack(*_head_fields(source)[0]) + dictionary, rows, quantise=quantise)


def _write(target: Path, head: bytes, rows: NDArray[np.float32], *, quantise: bool) -> None:
    """head: all that stands before the input matrix, `rows`."""
    with target.open("wb") as file:
        file.write(head)
        file.write(b"\1" if quantise else b"\0")
        if quantise:
            _write_quantised(file, rows)
        else:
            file.write(SHAPE.pack(*rows.shape))
            for chunk in _chunks(rows):
                file.write(chunk.tobytes())
        file.write(b"\0" + SHAPE.pack(0, rows.shape[1]))


class InputRows:
    """The input matrix of a fastText .bin, plain or quantised, and which of its rows make a word."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises WordsError if it is no whole fastText .bin."""
        layout = read_layout(path)
        from fasttext import FastText

        self._model = FastText._FastText(model_path=str(path))
        count = layout.words + layout.bucket
        self.rows = np.array([self._model.get_input_vector(i) for i in range(count)], np.float32)  # (R, D)

    def unit(self, word: str) -> NDArray[np.float32]:
        """Return the vector (D,) of a word at length 1; zeros stay zeros."""
        vector = np.asarray(self._model.get_word_vector(word), np.float32)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)

    def made_of(self, word: str) -> tuple[int, NDArray[np.int64]]:
        """Return the row of a word of the dictionary, and all rows whose mean is its vector: that one and its
        subwords'."""
        return int(self._model.get_word_id(word)), np.asarray(self._model.get_subwords(word)[1], np.int64)

    def guesses(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors (n, D) of words by their subwords, zeros for one that is too short to have any."""
        found = [np.asarray(self._model.get_word_vector(word), np.float32) for word in words]
        return np.array(found, np.float32).reshape(len(words), self.rows.shape[1])


def _head_fields(source: Path) -> tuple[list[Any], tuple[int, ...]]:
    """Return the settings of a fastText .bin, with the loss replaced, and the counts of its dictionary."""
    with source.open("rb") as file:
        fields = list(HEADER.unpack(file.read(HEADER.size)))
        counts = COUNTS.unpack(file.read(COUNTS.size))
    fields[LOSS_FIELD] = LOSS_SOFTMAX
    return fields, counts


def _write_quantised(file: BinaryIO, rows: NDArray[np.float32]) -> None:
    """Write the rows (R, D) as a QuantMatrix: unit directions, each value one of 256 levels, and norms of 256 levels.

    The levels are evenly spaced per column between its least and greatest value; those of the norms are 0 and evenly
    spaced in their logarithm over four decades at most. (Product quantisation with parts of one value: no k-means.)
    """
    count, dim = rows.shape
    norms = np.concatenate([np.linalg.norm(chunk, axis=1) for chunk in _chunks(rows)])
    greatest = max(float(norms.max()), 1e-30)
    least = max(float(norms.min(where=norms > 0, initial=greatest)), greatest * 1e-4)
    norm_levels = np.concatenate([[0], np.geomspace(least, greatest, LEVELS - 1)]).astype(np.float32)
    low, high = np.full(dim, np.inf, np.float32), np.full(dim, -np.inf, np.float32)
    for unit in _units(rows, norms):
        low, high = np.minimum(low, unit.min(axis=0)), np.maximum(high, unit.max(axis=0))
    step = np.maximum((high - low) / (LEVELS - 1), np.finfo(np.float32).tiny)

    file.write(CODES.pack(True, count, dim, count * dim))
    for unit in _units(rows, norms):
        file.write(np.rint((unit - low) / step).astype(np.uint8).tobytes())
    levels = low[:, None] + step[:, None] * np.arange(LEVELS, dtype=np.float32)  # (D, 256)
    file.write(TABLE.pack(dim, dim, 1, 1) + levels.astype("<f4").tobytes())
    between = (norm_levels[1:] + norm_levels[:-1]) / 2
    file.write(np.searchsorted(between, norms).astype(np.uint8).tobytes())
    file.write(TABLE.pack(1, 1, 1, 1) + norm_levels.astype("<f4").tobytes())


def _units(rows: NDArray[np.float32], norms: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start, chunk in zip(range(0, len(rows), CHUNK), _chunks(rows), strict=True):
        lengths = norms[start : start + CHUNK, None]
        yield np.divide(chunk, lengths, out=np.zeros_like(chunk), where=lengths > 0)


def _chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), CHUNK):
        yield np.asarray(rows[start : start + CHUNK])


def _write_text(path: Path, corpus: Path, captions: Iterable[Sequence[str]], repeat: int) -> None:
    """Write one line per paragraph and caption, tokens parted by spaces; in mixed order, as the learning rate falls."""
    opener = lzma.open if corpus.suffix == ".xz" else open
    try:
        with path.open("w", encoding="utf-8") as out, opener(corpus, "rt", encoding="utf-8") as lines:
            mixed = [" ".join(tokenise(line)) + "\n" for line in lines]
            mixed += [" ".join(words) + "\n" for words in captions for _ in range(repeat)]
            random.Random(0).shuffle(mixed)
            out.writelines(mixed)
    except (OSError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the corpus {corpus}: {error}") from None


def _fit(text: Path, trained: Path, **settings: Any) -> None:
    import fasttext

    try:
        model = fasttext.train_unsupervised(str(text), model="skipgram", verbose=0, **settings)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"training the word vectors failed: {error}") from None
    model.save_model(str(trained))
