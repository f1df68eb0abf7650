"""Beam search as a decoder's settings have it, whose captions may be ranked again.

Shapes: B pictures, N cells, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vsearch.captions.beam import Hypothesis, S, Steps, beam_search
from vsearch.config import DecoderConfig
from vsearch.device import autocast

Rerank = Callable[[list[list[Hypothesis]]], list[list[Hypothesis]]]  # captions of B pictures, again best first


def search_captions(
    decoder: Steps[S], memory: Tensor, config: DecoderConfig, *,
    beam: int | None = None, n_best: int = 1, block_repeats: bool | None = None, rerank: Rerank | None = None,
) -> list[list[Hypothesis]]:  # fmt: skip
    """Find the `n_best` captions of each picture of `memory` (B, N, C), best first.

    `beam` and `block_repeats` are those of `config` where None. `rerank` orders all captions that the beam finds, see
    `vsearch.captions.rerank`; then the `n_best` are taken.
    """
    width = beam or config.beam
    block = config.block_repeats if block_repeats is None else block_repeats
    count = n_best if rerank is None else max(n_best, width)
    with autocast(memory.device):
        found = beam_search(decoder, memory, width, config.max_len, config.length_power, count, block)
    return found if rerank is None else [own[:n_best] for own in rerank(found)]
