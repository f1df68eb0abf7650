"""What a caption training reached: its decoder on cached features, scored against what people wrote.

Shapes: I pictures, N cells, C channels, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.caption_set import Texts, read_caption_set
from training.data.features import read_features, read_grid
from training.data.prepared import open_prepared
from training.data.word_table import read_words
from training.kinds import recipe_of
from training.loop.checkpoint import below, best_weights
from training.run_folder import noted_key
from training.tasks.decoding import generate, load_decoder
from training.tasks.devise import DeviseRecipe
from training.tasks.targets import phrase_encoder
from vsearch.captions.rerank import Agreement
from vsearch.errors import DataError
from vsearch.metrics.caption import bleu, cider, rouge_l
from vsearch.networks.devise import DeviseHead
from vsearch.progress import Progress


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
    """Measure what the caption training in the folder `run` reached on one split, in a flat table: `bleu4_beam5`, ...

    `data` and `features` are the prepared captions and cached features that it was trained on; `head` is the folder of
    a training of kind "devise" on the same two, which has a say with the weight `agreement` (None: the decoder's own).
    Raises DataError if they do not fit.
    """
    device = device or torch.device("cpu")
    captioned = read_caption_set(data)
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


def score(references: Sequence[Texts], hypotheses: Texts) -> dict[str, float]:
    """Return BLEU-1 to 4, CIDEr and ROUGE-L in percent, the number of words used, and the share of captions unlike all
    others in percent.

    Raises ValueError if the two differ in length or are empty.
    """
    scores = {**bleu(references, hypotheses), "cider": cider(references, hypotheses)}
    scores["rouge_l"] = rouge_l(references, hypotheses)
    scores["vocabulary"] = float(len({word for words in hypotheses for word in words}))
    scores["distinct"] = 100 * len({tuple(words) for words in hypotheses}) / len(hypotheses)
    return scores


@torch.no_grad()
def head_agreement(
    run: Path, data: Path, features: Path, rows: NDArray[np.int64], weight: float
) -> tuple[Agreement, NDArray[np.float32]]:
    """Let the DeViSE training in the folder `run` have its say in captions: by its words, fixed or tuned, and with the
    vectors (I, D) that it gives the pictures in `rows` of `data`, which are returned with it.

    Raises DataError if the folder holds no such training, or one of other features.
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
