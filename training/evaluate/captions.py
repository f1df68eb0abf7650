"""A finished model against a prepared caption set, end to end: pictures in, metrics out.

Shapes: I pictures, M captions, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.caption_set import Texts, read_caption_set
from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate.decoder import score
from vsearch.captions.beam import Hypothesis
from vsearch.metrics.retrieval import evaluate_retrieval
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise


@dataclass(frozen=True)
class Split:
    """One split of a prepared file: where its I pictures are, with their names and tokenised captions, if any."""

    names: list[str]
    file: Path
    rows: list[int]
    captions: list[Texts]
    kind: str = "captions"  # of the prepared file


def read_split(path: Path, split: str) -> Split:
    """Read what a prepared file has of a split, but for the pictures. Raises DataError if it has none of it."""
    found = read_caption_set(path)
    rows = found.rows(split)
    return Split([name.decode() for name in found.names[rows]], path, rows.tolist(), found.references(rows))


def describe(
    model: FastModel, split: Split, beams: Sequence[int | None] = (), batch: int = 50,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], list[list[Hypothesis]]]:  # fmt: skip
    """Return the vectors (I, D) of a split's pictures, and for each beam (None: the model's own) the best captions.

    The encoder sees each picture once, however many beams there are.
    """
    vectors: list[NDArray[np.float32]] = []
    found: list[list[Hypothesis]] = [[] for _ in beams]
    with open_prepared(split.file, split.kind) as file:
        for start in range(0, len(split.rows), batch):
            pixels = read_stored_pixels(file, split.rows[start : start + batch], model.config.preprocess.side)
            encoded = model.encode(torch.from_numpy(pixels))
            vectors.append(encoded.vectors)
            for captions, beam in zip(found, beams, strict=True):
                captions += [best[0] for best in model.write(encoded, beam=beam)]
            if progress:
                progress(start + len(pixels), len(split.rows))
    return np.concatenate(vectors), found


def retrieval(vectors: NDArray[np.float32], split: Split, space: PhraseSpace) -> dict[str, float]:
    """Rank every caption against every picture: recall at 1, 5 and 10 in percent, both ways, and median ranks."""
    targets = np.concatenate([space.vectors_of(group) for group in split.captions])  # (M, D)
    owner = np.repeat(np.arange(len(split.captions)), [len(group) for group in split.captions])
    return evaluate_retrieval(targets @ vectors.T, owner)


def captioning(model: FastModel, split: Split, found: list[Hypothesis]) -> dict[str, float]:
    """Return BLEU-1 to 4, CIDEr and ROUGE-L in percent, and how varied the captions are."""
    return score(split.captions, [tokenise(model.text(caption)) for caption in found])


def words_top(
    vectors: NDArray[np.float32], split: Split, space: PhraseSpace, words: Sequence[str], k: int = 5
) -> dict[str, tuple[int, list[str]]]:
    """Return for each word how many of the k nearest pictures have it, or its plural, in a caption; and their names."""
    answers = {}
    for word in words:
        order = np.argsort(-(vectors @ space.vector([word])), kind="stable")[:k]
        fits = sum(any({word, word + "s"} & set(c) for c in split.captions[i]) for i in order)
        answers[word] = (fits, [split.names[i] for i in order])
    return answers


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one split as a flat table, captions once a beam size: `bleu4_beam5` and so on; and for each word
    that was asked for what `words_top` finds."""

    metrics: dict[str, float]
    words: dict[str, tuple[int, list[str]]]


def evaluate_model(
    model: FastModel, space: PhraseSpace, data: Path, split: str, beams: Sequence[int] = (5,),
    words: Sequence[str] = (), progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Measure a model on one split of a prepared caption set; the split is read and encoded once.

    Raises DataError if the file has no picture of that split.
    """
    pictures = read_split(data, split)
    used = beams if model.joint.decoder is not None else ()
    vectors, captions = describe(model, pictures, used, progress=progress)
    metrics = retrieval(vectors, pictures, space)
    for beam, found in zip(used, captions, strict=True):
        metrics |= {f"{name}_beam{beam}": value for name, value in captioning(model, pictures, found).items()}
    return Evaluation(metrics, words_top(vectors, pictures, space, words))


def evaluate_folder(
    folder: Path, data: Path, split: str, beams: Sequence[int] = (5,), words: Sequence[str] = (),
    rerank_weight: float | None = None, device: str = "auto", progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Measure the model in `folder` as `evaluate_model` does.

    rerank_weight: how much the DeViSE head's say counts in the choice of captions; None: the model's own. Raises
    ModelError if it is given and the model has not both heads.
    """
    model, space = modelfolder.load_fast(folder, device), PhraseSpace.load(folder)
    if rerank_weight is not None:
        model.set_rerank_weight(rerank_weight)
    return evaluate_model(model, space, data, split, beams, words, progress)
