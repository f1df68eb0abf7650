"""A finished model against a prepared caption set, end to end: encoded pictures in, metrics out.

Shapes: I pictures, M captions, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.features import read_features
from training.data.prepared import SPLITS, open_prepared, read_pixels
from training.data.word_table import read_words
from training.evaluate.decoder import generate, load_decoder, read_captioned, read_grid, score
from training.kinds import recipe_of
from training.loop.checkpoint import below, best_weights
from training.run_folder import noted_key
from training.tasks.devise import DeviseRecipe
from training.tasks.targets import phrase_encoder
from vsearch.captions.beam import Caption
from vsearch.captions.rerank import Agreement
from vsearch.errors import DataError
from vsearch.metrics.retrieval import evaluate_retrieval
from vsearch.networks.devise import DeviseHead
from vsearch.networks.joint import JointModel
from vsearch.progress import Progress
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise


@dataclass(frozen=True)
class Split:
    """One split of a prepared caption set: where its I pictures are, with their names and tokenised captions."""

    names: list[str]
    file: Path
    rows: list[int]
    captions: list[list[list[str]]]


def read_split(path: Path, split: str) -> Split:
    """Raises DataError where the file has no picture of that split."""
    if split not in SPLITS:
        raise DataError(f"no split {split!r}", f"splits: {', '.join(SPLITS)}")
    with open_prepared(path, "captions") as file:
        rows = np.flatnonzero(file["pictures/split"][:] == SPLITS.index(split))
        names = file["pictures/name"].asstr()[:]
        owner, texts = file["captions/picture"][:], file["captions/text"].asstr()[:]
    if not len(rows):
        raise DataError(f"{path} has no picture in the split {split!r}", "prepare the data set again")
    groups: dict[int, list[list[str]]] = {int(i): [] for i in rows}
    for picture, text in zip(owner, texts, strict=True):
        if int(picture) in groups:
            groups[int(picture)].append(str(text).split())
    return Split([str(names[i]) for i in rows], path, rows.tolist(), list(groups.values()))


def describe(
    model: JointModel,
    split: Split,
    captions: bool,
    beam: int | None = None,
    batch: int = 50,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], list[Caption]]:
    """Vectors (I, D) of a split's pictures and, where wanted, the best caption of each."""
    vectors: list[NDArray[np.float32]] = []
    found: list[Caption] = []
    for start in range(0, len(split.rows), batch):
        with open_prepared(split.file, "captions") as file:
            pixels = read_pixels(file, split.rows[start : start + batch], model.config.preprocess.side)
        out = model.describe(torch.from_numpy(pixels), captions=captions, beam=beam)
        vectors.append(out.vectors)
        found += [best[0] for best in out.captions or []]
        if progress:
            progress(start + len(pixels), len(split.rows))
    return np.concatenate(vectors), found


def retrieval(vectors: NDArray[np.float32], split: Split, space: PhraseSpace) -> dict[str, float]:
    """Every caption against every picture: recall at 1, 5 and 10 in percent, both ways, and median ranks."""
    targets = np.concatenate([space.vectors_of(group) for group in split.captions])  # (M, D)
    owner = np.repeat(np.arange(len(split.captions)), [len(group) for group in split.captions])
    return evaluate_retrieval(targets @ vectors.T, owner)


def captioning(model: JointModel, split: Split, found: list[Caption]) -> dict[str, float]:
    """BLEU-1 to 4, CIDEr and ROUGE-L in percent, and how varied the captions are."""
    return score(split.captions, [tokenise(model.text(caption)) for caption in found])


def words_top(
    vectors: NDArray[np.float32], split: Split, space: PhraseSpace, words: list[str], k: int = 5
) -> dict[str, tuple[int, list[str]]]:
    """For each word: how many of the k nearest pictures have it, or its plural, in a caption, and their names."""
    answers = {}
    for word in words:
        order = np.argsort(-(vectors @ space.vector([word])), kind="stable")[:k]
        fits = sum(any({word, word + "s"} & set(c) for c in split.captions[i]) for i in order)
        answers[word] = (fits, [split.names[i] for i in order])
    return answers


def evaluate(
    model: JointModel,
    space: PhraseSpace,
    data: Path,
    split: str,
    beams: tuple[int, ...] = (5,),
    progress: Progress | None = None,
) -> dict[str, float]:
    """All metrics of one split as a flat table; captions once a beam size, `bleu4_beam5` and so on."""
    pictures = read_split(data, split)
    vectors, _ = describe(model, pictures, captions=False, progress=progress)
    table = retrieval(vectors, pictures, space)
    for beam in beams if model.decoder is not None else ():
        _, found = describe(model, pictures, captions=True, beam=beam, progress=progress)
        table |= {f"{name}_beam{beam}": value for name, value in captioning(model, pictures, found).items()}
    return table


def evaluate_decoder(
    run: Path,
    data: Path,
    features: Path,
    split: str = "test",
    beams: tuple[int, ...] = (5,),
    device: torch.device | None = None,
    progress: Progress | None = None,
    head: Path | None = None,
    agreement: float | None = None,
) -> dict[str, float]:
    """What the caption training in the folder `run` reached on one split: a flat table, `bleu4_beam5` and so on.

    `data` and `features` are the prepared captions and cached features that it was trained on; `head` is the folder of
    a training of kind "devise" on the same two, which has a say with the weight `agreement` (None: the decoder's own).
    Raises DataError where they do not fit.
    """
    device = device or torch.device("cpu")
    captioned = read_captioned(data)
    rows = captioned.rows(split)
    cells = read_grid(features, captioned.names[rows])[:, 0]  # (I, N, C), the first view of each
    decoder = load_decoder(run, cells.shape[2], len(captioned.vocabulary)).to(device)
    weight = decoder.config.agreement if agreement is None else agreement
    say = None if head is None else head_agreement(head, data, features, rows, weight)
    references, table = captioned.references(rows), dict[str, float]()
    for beam in beams:
        found = generate(decoder, captioned.vocabulary, cells, device, beam, progress=progress, agreement=say)
        table |= {f"{name}_beam{beam}": value for name, value in score(references, found).items()}
    return table


@torch.no_grad()
def head_agreement(
    run: Path, data: Path, features: Path, rows: NDArray[np.int64], weight: float
) -> tuple[Agreement, NDArray[np.float32]]:
    """How the DeViSE training in the folder `run` has its say in captions: by its words, fixed or tuned, and with the
    vectors (I, D) that it gives the pictures in `rows` of `data`.

    Raises DataError where the folder holds no such training, or one of other features.
    """
    with open_prepared(data, "captions") as file:
        table, names = read_words(file), file["pictures/name"][:][rows]
    cached = read_features(features, names, grid=False)
    if noted_key(run) not in (None, "", cached.key):
        raise DataError(f"{run} was trained on features of another encoder", "name those it was trained on")
    pool = torch.from_numpy(cached.pool[:, 0].astype(np.float32))  # (I, C)
    recipe = recipe_of(run)
    if not isinstance(recipe, DeviseRecipe):
        raise DataError(f"{run} trained no DeViSE head", "name the output folder of `vsearch train devise`")
    state = best_weights(run)
    head = DeviseHead(recipe.devise, pool.shape[1]).eval()
    encoder = phrase_encoder(table)
    try:
        head.load_state_dict(below(state, "devise."))
        encoder.load_state_dict(below(state, "phrases.") or encoder.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{run} does not fit these captions and features: {reason}", "train it on them") from None
    known = set(table.words)

    @torch.no_grad()
    def place(captions: Sequence[list[str]]) -> NDArray[np.float32]:
        phrases = table.rows([" ".join(word for word in words if word in known) for words in captions])
        return np.asarray(encoder(torch.from_numpy(phrases)).numpy())

    return Agreement(place, weight), np.asarray(head(pool).numpy())
