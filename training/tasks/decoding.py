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
from vsearch.captions.beam import beam_search
from vsearch.captions.rerank import Reranker
from vsearch.config import DecoderConfig, from_dict
from vsearch.device import autocast, fast_bf16
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

    reranker: how a DeViSE head has its say, and the vectors (I, D) that it gave the pictures. vectors: the pictures'
    vectors among words (I, D), for a decoder that is told them.
    """
    fast, c = QuickDecoder(decoder, fast_bf16(device)), decoder.config
    found: Texts = []
    for start in range(0, len(cells), batch):
        memory = torch.from_numpy(np.asarray(cells[start : start + batch])).to(device).float()
        own = None if vectors is None else torch.from_numpy(vectors[start : start + batch]).to(device)
        seen = told(fast, own)
        with autocast(device):
            count = 1 if reranker is None else beam
            captions = beam_search(seen, memory, beam, c.max_len, c.length_power, count, c.block_repeats)
        if reranker is not None:
            vectors_of_head = reranker[1][start : start + batch]
            captions = reranker[0].rerank(captions, vectors_of_head, lambda caption: vocabulary.decode(caption.tokens))
        found += [vocabulary.decode(best[0].tokens) for best in captions]
        if progress:
            progress(len(found), len(cells))
    return found
