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
from training.data.features import read_grid
from training.run_folder import RECIPE, read_note
from training.tasks.decoding import generate, load_decoder
from training.tasks.trained_head import TrainedHead
from vsearch.captions.rerank import Reranker
from vsearch.metrics.caption import bleu, cider, rouge_l
from vsearch.networks.decoder import Decoder
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
    vectors = _told(run, decoder, data, features, rows)
    weight = decoder.config.agreement if agreement is None else agreement
    reranker = None if head is None else head_reranker(head, data, features, rows, weight)
    references, table = captioned.references(rows), dict[str, float]()
    for beam in beams:
        found = generate(
            decoder, captioned.vocabulary, cells, device, beam, progress=progress, reranker=reranker, vectors=vectors
        )
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


def head_reranker(
    run: Path, data: Path, features: Path, rows: NDArray[np.int64], weight: float
) -> tuple[Reranker, NDArray[np.float32]]:
    """Let the DeViSE training in the folder `run` have its say in captions: by its words, fixed or tuned, and with the
    vectors (I, D) that it gives the pictures in `rows` of `data`, which are returned with it.

    Raises DataError if the folder holds no such training, or one of other features.
    """
    trained = TrainedHead(run, data, features)
    return Reranker(trained.embed_captions, weight), trained.embed_pictures(rows)[:, 0]


def _told(
    run: Path, decoder: Decoder, data: Path, features: Path, rows: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Return what the decoder is told of the pictures in `rows`: their vectors (I, D), by the head of its training."""
    if not decoder.config.vector:
        return None
    head = read_note(run / RECIPE).get("task", {}).get("devise", "")
    return TrainedHead(Path(head), data, features).embed_pictures(rows)[:, 0]
