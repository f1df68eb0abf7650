"""A pretrained classifier as the DeViSE head's second branch needs it, in a prepared file of kind "classifier".

classifier/weight  (K, C) float32, classifier/bias (K,) float32   the last layer of the network
classifier/vector  (K, D) float32   unit vectors of the classes' names
classifier/broader (K, G) bool   whether a broader term covers a class
attrs["classes"]   JSON, [[WordNet number or name, [lemma, ...]], ...]
attrs["broader"]   JSON, the same of the broader terms
words/...          the words of the names, see `training.data.word_table`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.data.labels import class_vectors, lemma_texts
from training.data.prepared import PreparedWriter, open_prepared
from training.data.sources.broader import Broader
from training.data.sources.entries import Classes
from training.data.word_table import WordTable, read_words, write_words
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = ("fc", "classifier", "head")  # what networks call their last layer


@dataclass(frozen=True)
class Classifier:
    """The last layer of a network, weight (K, C) and bias (K,), its classes with their unit vectors (K, D), and whether
    each of G broader terms covers them."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    vectors: NDArray[np.float32]
    classes: Classes
    words: WordTable
    broader: NDArray[np.bool_]  # (K, G)


def last_layer(state: Mapping[str, Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight (K, C) and bias (K,) of the last layer in the state dict of a whole network.

    Raises DataError if there is no such layer.
    """
    for name in LAYERS:
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        if weight is not None and bias is not None and weight.ndim == 2:
            return weight.float().numpy(), bias.float().numpy()
    raise DataError(f"the network has no last layer: none of {', '.join(LAYERS)}", "give the weights of a whole ResNet")


def prepare_classifier(
    state: Mapping[str, Tensor], classes: Classes, output: Path, space: PhraseSpace, broader: Sequence[Broader] = ()
) -> int:
    """Write the last layer of a network and what its classes are called; returns their number.

    broader: terms for several classes; lemmas with a word that is not in the dictionary are left out, and terms that
    have no other.
    Raises DataError if the network has another number of classes, or a class has no word that has a vector.
    """
    weight, bias = last_layer(state)
    if len(weight) != len(classes):
        raise DataError(f"the network has {len(weight)} classes, the list of names {len(classes)}", "name its own list")
    vectors = class_vectors(classes, space)
    terms, members = _known_terms(broader, len(classes), space)
    named = {"classes": json.dumps(classes), "broader": json.dumps(terms)}
    with PreparedWriter(output, "classifier", **named) as writer:
        write_words(writer, [text for _, lemmas in [*classes, *terms] for text in lemma_texts(lemmas)], space)
        writer.write("classifier/broader", members)
        writer.write("classifier/weight", weight)
        writer.write("classifier/bias", bias)
        writer.write("classifier/vector", vectors)
    return len(classes)


def _known_terms(broader: Sequence[Broader], count: int, space: PhraseSpace) -> tuple[Classes, NDArray[np.bool_]]:
    """Return the terms whose words the dictionary has, and which of `count` classes they cover, (K, G)."""
    terms: Classes = []
    columns = []
    for term in broader:
        if max(term.classes) >= count:
            raise DataError(f"{term.lemmas[0]} covers class {max(term.classes)}, there are {count}", "count from 0")
        lemmas = [lemma for lemma in term.lemmas if all(word in space.vectors for word in tokenise(lemma))]
        if lemmas:
            terms.append((lemmas[0], lemmas))
            columns.append(np.isin(np.arange(count), term.classes))
    return terms, np.stack(columns, 1) if columns else np.zeros((count, 0), np.bool_)


def read_classifier(path: Path) -> Classifier:
    """Read what `prepare_classifier` wrote. Raises DataError if the file is none."""
    with open_prepared(path, "classifier") as file:
        classes = [(str(name), [str(x) for x in lemmas]) for name, lemmas in json.loads(file.attrs["classes"])]
        group = file["classifier"]
        broader = group["broader"][:] if "broader" in group else np.zeros((len(classes), 0), np.bool_)
        return Classifier(group["weight"][:], group["bias"][:], group["vector"][:], classes, read_words(file), broader)
