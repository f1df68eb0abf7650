"""Word vectors to ship: fastText skip-gram with subwords over a corpus and the training captions, then cut to size.

How the sizes were chosen: docs/explanation/word-vectors.md. fastText updates its matrices without locks, so a run is
repeatable to the bit only with one thread; with more, the vectors differ a little each time. (Its seed is always 0: the
Python package has no setting for it.)
"""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DataError
from vsearch.text.fasttext_file import (
    CODES,
    HEADER,
    LEVELS,
    LOSS_FIELD,
    LOSS_SOFTMAX,
    SHAPE,
    TABLE,
    Layout,
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
) -> None:
    """Train vectors of `dim` values and write `words.bin` and `phrase.json` into the folder `output`.

    corpus: text, one paragraph a line, .txt or .txt.xz. captions: raw captions of the training split; they join the
    corpus `caption_repeat` times (0: not at all) and give the idf and the mean of `phrase.json`.
    Words seen fewer than `min_count` times get no row of their own; n-grams of minn to maxn letters share `bucket`
    rows.
    quantise: one byte a value instead of four, see `trim`.
    DataError when the corpus cannot be read or training did not come out in finite numbers.
    """
    tokens = [words for words in map(tokenise, captions) if words]
    if not tokens:
        raise DataError("no captions to fit the phrase space on")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="words-", dir=output) as scratch:
        text, trained, target = (Path(scratch) / name for name in ("text.txt", "trained.bin", "words.bin"))
        _write_text(text, corpus, tokens, caption_repeat)
        settings: dict[str, Any] = {"dim": dim, "minCount": min_count, "bucket": bucket, "minn": minn, "maxn": maxn}
        _fit(text, trained, **settings, epoch=epochs, thread=threads)
        text.unlink()
        trim(trained, target, quantise=quantise)
        phrase = PhraseSpace.fit(WordVectors.load(target), tokens)
        target.replace(output / "words.bin")
    phrase.save(output)


def trim(source: Path, target: Path, *, quantise: bool = False) -> None:
    """Write the fastText .bin `source` as `target` without what only training needs; stock fastText loads it.

    The output matrix goes (zero rows; half of the file and more), and the loss is named softmax, which spares loading
    a table of ten million negative samples. Word vectors stay the same to the bit, of unseen words too.
    quantise: the input matrix in fastText's own quantised form with one byte a value and one a norm, a quarter of the
    size; vectors keep a cosine above 0.999 to their originals.
    WordsError when `source` is no whole fastText .bin; DataError when it is quantised already or not finite.
    """
    layout = read_layout(source)
    if layout.quantised:
        raise DataError(f"{source} is quantised already")
    rows = np.memmap(source, np.dtype("<f4"), "r", layout.values, (layout.words + layout.bucket, layout.dim))
    if not all(np.isfinite(chunk).all() for chunk in _chunks(rows)):
        raise DataError(
            f"training gave vectors that are not numbers: {source}", "train again, with fasttext-wheel 0.9.2"
        )
    write_rows(source, target, rows, quantise=quantise)


def write_rows(source: Path, target: Path, rows: NDArray[np.float32], *, quantise: bool = False) -> None:
    """Write a fastText .bin with the dictionary of `source` and the input matrix `rows` (words + buckets, D).

    DataError where `rows` has another shape than the matrix of `source`.
    """
    layout = read_layout(source)
    if rows.shape != (layout.words + layout.bucket, layout.dim):
        raise DataError(f"{source} has {layout.words + layout.bucket} rows of {layout.dim}, not {rows.shape}")
    with target.open("wb") as file:
        file.write(_head(source, layout))
        file.write(b"\1" if quantise else b"\0")
        if quantise:
            _write_quantised(file, rows)
        else:
            file.write(SHAPE.pack(*rows.shape))
            for chunk in _chunks(rows):
                file.write(chunk.tobytes())
        file.write(b"\0" + SHAPE.pack(0, layout.dim))


class InputRows:
    """The input matrix of a fastText .bin, plain or quantised, and which of its rows make a word."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises WordsError if it is no whole fastText .bin."""
        layout = read_layout(path)
        from fasttext import FastText

        self._model = FastText._FastText(model_path=str(path))
        count = layout.words + layout.bucket
        self.rows = np.array([self._model.get_input_vector(i) for i in range(count)], np.float32)  # (R, D)

    def made_of(self, word: str) -> tuple[int, NDArray[np.int64]]:
        """Return the row of a word of the dictionary, and all rows whose mean is its vector: that one and its
        subwords'."""
        return int(self._model.get_word_id(word)), np.asarray(self._model.get_subwords(word)[1], np.int64)


def _head(source: Path, layout: Layout) -> bytes:
    """Return everything before the input matrix, with the loss replaced."""
    with source.open("rb") as file:
        head = file.read(layout.matrix)
    fields = list(HEADER.unpack_from(head))
    fields[LOSS_FIELD] = LOSS_SOFTMAX
    return HEADER.pack(*fields) + head[HEADER.size :]


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
    """Write one line per paragraph and caption, tokens parted by spaces."""
    opener = lzma.open if corpus.suffix == ".xz" else open
    try:
        with path.open("w", encoding="utf-8") as out, opener(corpus, "rt", encoding="utf-8") as lines:
            out.writelines(" ".join(tokenise(line)) + "\n" for line in lines)
            for _ in range(repeat):
                out.writelines(" ".join(words) + "\n" for words in captions)
    except (OSError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the corpus {corpus}: {error}") from None


def _fit(text: Path, trained: Path, **settings: Any) -> None:
    import fasttext

    try:
        model = fasttext.train_unsupervised(str(text), model="skipgram", verbose=0, **settings)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"training the word vectors failed: {error}") from None
    model.save_model(str(trained))
