"""Words that a training has tuned, as word vectors and phrase weights of a model folder again.

fastText's vector of a word is the mean of its own row and the rows of its subwords, so the shared map is applied to all
rows, and what moved only one word goes into its own row; so does the share that its plural or singular has in it,
for all words of the dictionary, also those that no caption has. Shapes: W words, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.plurals import Numbers
from training.data.prepared import open_prepared
from training.data.word_table import WordTable, read_words
from training.data.words import InputRows, write_rows
from vsearch.errors import DataError
from vsearch.files import replacing
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CLOSE = 0.999  # least cosine of the words in the prepared file to those of the source


def tuned_space(
    source: Path, data: Path, weights: Mapping[str, Tensor], output: Path, *, quantise: bool = True
) -> PhraseSpace:
    """Write `words.bin` and `phrase.json` into the folder `output` and return the space they make.

    source: the folder of words that the prepared file `data` was made with; weights: the state of a `PhraseEncoder`.
    quantise: a byte a value, see `training.data.words.trim`.
    Raises DataError if `data` was made with other words, or the source is no fastText .bin.
    """
    space = PhraseSpace.load(source)
    binary = source / "words.bin"
    if not binary.is_file():
        raise DataError(f"there is no words.bin in {source}", "only fastText words can be tuned")
    with open_prepared(data, "captions") as file:
        table = read_words(file)
    _check(table, space.vectors, data, source)
    state = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in weights.items()}
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "words.bin") as fresh:
        partners = _partners(space.vectors) if "blend" in state else {}
        write_rows(binary, fresh, _moved(table, state, InputRows(binary), partners), quantise=quantise)
    idf = space.idf | _weights(table, state["log_factor"])
    tuned = PhraseSpace(WordVectors.load(output / "words.bin"), idf, space.default_idf, state["mean"])
    tuned.save(output)
    return tuned


def _check(table: WordTable, vectors: WordVectors, data: Path, source: Path) -> None:
    for word, vector in list(zip(table.words, table.vectors, strict=True))[:: max(1, len(table.words) // 50)]:
        own = vectors.unit(word)
        if own.shape != vector.shape or (vector.any() and float(own @ vector) < CLOSE):
            raise DataError(f"{data} was not prepared with the words in {source}", "name the words it was made with")


def _weights(table: WordTable, log_factor: NDArray[np.float32]) -> dict[str, float]:
    """Return the weights of the words that training has seen; all others keep theirs."""
    trained = zip(table.words, table.weights, log_factor, strict=True)
    return {word: round(float(weight * np.exp(log)), 4) for word, weight, log in trained if log}


def _partners(vectors: WordVectors) -> dict[str, str]:
    """Return the plural of each singular of the dictionary, and the singular of each plural."""
    pairs = Numbers(vectors.words).pairs()
    return pairs | {many: one for one, many in pairs.items()}


def _moved(
    table: WordTable, state: Mapping[str, NDArray[np.float32]], words: InputRows, partners: Mapping[str, str]
) -> NDArray[np.float32]:
    """Return the rows of unit((v + shift) M), where |v| v is a word's vector: its own row takes n |v| shift, of n rows.

    With partners v' it is unit(((1 - b) (v + shift) + b (v' + shift')) M), of the share b = state["blend"].
    """
    trained = zip(table.words, table.known, state["shift"], strict=True)
    shifts = {word: shift for word, known, shift in trained if known and shift.any()}
    share = float(state.get("blend", np.float32(0)))
    moved = words.rows.copy()
    for word in shifts.keys() | partners.keys():
        own, used = words.made_of(word)
        vector = words.rows[used].mean(0)
        length = float(np.linalg.norm(vector))
        place = vector / max(length, 1e-9)
        wanted = place + shifts.get(word, np.float32(0))
        if word in partners:
            other = partners[word]
            wanted = (1 - share) * wanted + share * (words.unit(other) + shifts.get(other, np.float32(0)))
        moved[own] += len(used) * length * (wanted - place)
    return np.asarray(moved @ state["map"], np.float32)
