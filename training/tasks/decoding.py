"""Trained caption decoders at work on cached features, as the tasks and the evaluation run them.

Shapes: I pictures, N cells, C channels, D word-vector size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.caption_set import Texts
from training.loop.checkpoint import load_best
from training.run_folder import RECIPE
from vsearch.captions.rerank import Reranker
from vsearch.captions.search import Rerank, search_captions
from vsearch.config import DecoderConfig, from_dict
from vsearch.device import fast_bf16
from vsearch.errors import DataError
from vsearch.files import load_json
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import build_decoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.training import speed_up
from vsearch.networks.told import told
from vsearch.progress import Progress
from vsearch.text.vocab import Vocabulary


def load_decoder(run: Path, channels: int, vocabulary: int) -> Decoder:
    """Load the decoder that the training in the folder `run` made, in evaluation mode on the CPU.

    Raises DataError if the folder holds none, or it is for other cells or another vocabulary.
    """
    try:
        table = load_json(run / RECIPE)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the recipe in {run}: {error}", "name the output folder of a training") from error
    if table.get("decoder") is None:
        raise DataError(f"{run} trained no decoder", "name the output folder of a caption training")
    decoder = build_decoder(from_dict(DecoderConfig, table["decoder"], "decoder"), channels, vocabulary)
    load_best(run, nn.ModuleDict({"decoder": decoder}))
    return speed_up(decoder.eval())


def generate(
    decoder: Decoder,
    vocabulary: Vocabulary,
    cells: Sequence[NDArray[np.float16]] | NDArray[np.float16],
    device: torch.device,
    beam: int,
    batch: int = 100,
    progress: Progress | None = None,
    reranker: tuple[Reranker, NDArray[np.float32]] | None = None,
    vectors: NDArray[np.float32] | None = None,
) -> Texts:
    """Return the best caption of each picture of `cells` (I, N, C), as words; `decoder` is in evaluation mode.

    reranker: what ranks captions again by a DeViSE head, and the vectors (I, D) that the head gave the pictures.
    vectors: those (I, D) that a decoder is told, if it takes any.
    """
    fast = QuickDecoder(decoder, fast_bf16(device))
    found: Texts = []
    for start in range(0, len(cells), batch):
        part = slice(start, start + batch)
        memory = torch.from_numpy(np.asarray(cells[part])).to(device).float()
        seen = told(fast, None if vectors is None else torch.from_numpy(vectors[part]).to(device))
        captions = search_captions(seen, memory, decoder.config, beam=beam, rerank=_rerank(reranker, part, vocabulary))
        found += [vocabulary.decode(best[0].tokens) for best in captions]
        if progress:
            progress(len(found), len(cells))
    return found


def _rerank(
    reranker: tuple[Reranker, NDArray[np.float32]] | None, part: slice, vocabulary: Vocabulary
) -> Rerank | None:
    """Return what ranks the captions of the pictures `part` again, if anything does."""
    if reranker is None:
        return None
    own, vectors = reranker[0], reranker[1][part]
    return lambda found: own.rerank(found, vectors, lambda caption: vocabulary.decode(caption.tokens))
