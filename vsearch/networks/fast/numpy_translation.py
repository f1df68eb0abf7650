"""Equals `vsearch.translation.network.TranslationModel` in evaluation mode, and the search over it, without torch.

Shapes: B sentences, N positions of the longest source, E embedding, H hidden, C = H * directions, G gates of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.hypothesis import Hypothesis
from vsearch.config import TranslatorConfig
from vsearch.networks.fast.numpy_captioner import beam_search
from vsearch.networks.fast.numpy_decoder import CELLS, Floats, Ints, NumpyDecoder, NumpyState
from vsearch.networks.fast.numpy_decoder import runs as decoder_runs
from vsearch.text.vocab import PAD


class NumpyTranslation:
    """A translator with a decoder of kind soft: a recurrent encoder of source sentences under it."""

    def __init__(self, config: TranslatorConfig, weights: Mapping[str, Floats]) -> None:
        """Take the weights by their names in a `TranslationModel`. Raises KeyError if one is missing."""
        self.config, self._weights = config, weights
        parts = {n.removeprefix("decoder."): array for n, array in weights.items() if n.startswith("decoder.")}
        self.decoder = NumpyDecoder(config.decoder, parts)

    def rehearse(self, source: int, target: int) -> None:
        """Read a word and write one. Raises KeyError or ValueError if weights do not fit vocabularies of that size."""
        if len(self._weights["source.embedding.weight"]) != source:
            raise ValueError(f"the source has {source} words, not {len(self._weights['source.embedding.weight'])}")
        logits, *_ = self.step(np.array([0]), self.start(np.array([[PAD + 1]]), np.zeros((1, 0), np.float32)))
        if logits.shape != (1, target):
            raise ValueError(f"{logits.shape[1]} words come out, the vocabulary has {target}")

    def search(self, sentences: Sequence[Sequence[int]], beam: int | None = None) -> list[Hypothesis]:
        """Return the best translation of each sentence of ids."""
        c, ids = self.config.decoder, padded(sentences)
        nothing = np.zeros((len(ids), 0), np.float32)
        found = beam_search(self, ids, nothing, beam or c.beam, c.max_len, c.length_power, 1, c.block_repeats)
        return [best for best, *_ in found]

    def start(self, ids: Ints, vectors: Floats) -> NumpyState:
        """Return the state before the first word of the translations of `ids` (B, N); `vectors` are left aside."""
        states, mask = self.encode(ids)
        return self.decoder.start(states, vectors, None if mask.all() else mask)

    def step(self, token: Ints, state: NumpyState) -> tuple[Floats, NumpyState, Floats]:
        """Take a step of the decoder."""
        return self.decoder.step(token, state)

    def encode(self, ids: Ints) -> tuple[Floats, NDArray[np.bool_]]:
        """Encode ids (B, N), none of them a pad before a word -> states (B, N, C), zero in padding, and the mask."""
        mask = ids != PAD
        states = self._weights["source.embedding.weight"][ids]  # (B, N, E)
        ways = ("", "_reverse") if self.config.source.bidirectional else ("",)
        for layer in range(self.config.source.layers):
            states = np.concatenate([self._read(states, mask, f"l{layer}{way}") for way in ways], 2)
        return states, mask

    def _read(self, words: Floats, mask: NDArray[np.bool_], name: str) -> Floats:
        """Read sentences (B, N, E) by one direction of one layer: the states (B, N, H) after each word."""
        weight_in, weight_own, bias_in, bias_own = (
            self._weights[f"source.cells.{kind}_{name}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs = words @ weight_in.T + bias_in  # (B, N, G)
        advance, transposed = CELLS[self.config.source.cell], np.ascontiguousarray(weight_own.T)
        hidden = np.zeros((len(words), self.config.source.hidden), np.float32)
        cell, states = hidden, np.zeros((*mask.shape, hidden.shape[1]), np.float32)
        order = range(mask.shape[1])
        for t in reversed(order) if name.endswith("_reverse") else order:
            held = mask[:, t, None]
            new, new_cell = advance(inputs[:, t], hidden @ transposed + bias_own, hidden, cell)
            hidden, cell = np.where(held, new, hidden), np.where(held, new_cell, cell)
            states[:, t] = np.where(held, new, 0)
        return states


def padded(sentences: Sequence[Sequence[int]]) -> Ints:
    """Pad the ids of B sentences to (B, N)."""
    ids = np.full((len(sentences), max(map(len, sentences), default=0)), PAD)
    for row, own in zip(ids, sentences, strict=True):
        row[: len(own)] = own
    return ids


def runs(config: TranslatorConfig) -> bool:
    """Return whether numpy has such a translator."""
    return decoder_runs(config.decoder) and config.source.cell in CELLS
