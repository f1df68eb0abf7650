"""Equals `vsearch.captions.beam.beam_search` over a `NumpyDecoder`, without torch: the same search, numpy's arithmetic.

What has ended, and when to stop, is told by the very ledger of that search, `vsearch.captions.hypothesis.Found`.

Shapes: B pictures, K hypotheses of each, R = B * K rows, N cells, C channels, D word-vector size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.hypothesis import COMPACT_BELOW, Found, Hypothesis, Step
from vsearch.networks.fast.numpy_decoder import Floats, Ints, NumpyDecoder, NumpyState
from vsearch.text.vocab import END, PAD, START, UNK

Rerank = Callable[[list[list[Hypothesis]], Floats], list[list[Hypothesis]]]  # captions and vectors (B, D) of pictures


@dataclass(frozen=True)
class NumpyCaptioner:
    """Writes captions as a decoder's settings have it: `vsearch.captions.search.search_captions`."""

    decoder: NumpyDecoder
    rerank: Rerank | None = None

    def write(
        self, grid: Floats, vectors: Floats, beam: int | None, n_best: int, block_repeats: bool | None
    ) -> list[list[Hypothesis]]:
        """Return the `n_best` captions of pictures, their cells (B, N, C) and vectors (B, D), best first."""
        c = self.decoder.config
        width, block = beam or c.beam, c.block_repeats if block_repeats is None else block_repeats
        count = n_best if self.rerank is None else max(n_best, width)
        found = beam_search(self.decoder, grid, vectors, width, c.max_len, c.length_power, count, block)
        return found if self.rerank is None else [own[:n_best] for own in self.rerank(found, vectors)]


class Steps(Protocol):
    """What search needs of a decoder: `start` and `step` of `NumpyDecoder`."""

    def start(self, memory: Any, vectors: Floats) -> NumpyState:
        """Return the state before the first word of what `memory` (B, N, ...) holds."""

    def step(self, token: Ints, state: NumpyState) -> tuple[Floats, NumpyState, Floats]:
        """Feed `token` (R,) -> logits of the next one (R, V), the new state, attention (R, N)."""


def beam_search(
    decoder: Steps,
    memory: NDArray[Any],
    vectors: Floats,
    beam: int,
    max_len: int,
    length_power: float,
    n_best: int,
    block_repeats: bool,
) -> list[list[Hypothesis]]:
    """Find the `n_best` captions of each picture, its cells (B, N, C) and its vector (B, D); best score first."""
    if len(memory) == 0:
        return []
    found = Found(len(memory), max(beam, n_best), max_len, length_power, n_best)
    state, pictures = decoder.start(memory, vectors), np.arange(len(memory))
    scores = np.zeros((len(memory), 1), np.float32)  # (B, K) log-probabilities, best first
    words = np.full((len(memory), 1, 1), START)  # (B, K, t + 1)
    for t in range(max_len + 1):
        logits, state, attention = decoder.step(words[..., -1].ravel(), state)
        logits = logits.reshape(*scores.shape, -1)  # (B, K, V)
        base = scores - _log_sum_exp(logits)
        _forbid(logits, words, max_len, block_repeats)
        top, parent, token = _best(logits, base, 2 * found.beam)  # (B, 2K), best first
        found.collect(top, parent, token, pictures, t)
        scores, parent, token = _open(top, parent, token, found.beam)
        found.history.append(Step(pictures, token, parent, attention, base.shape[1]))
        going = found.going(scores[:, 0].tolist() if scores.shape[1] else [-np.inf] * len(scores), pictures)
        if not going:
            break
        keep = np.array(going) if len(going) <= COMPACT_BELOW * len(pictures) else np.arange(len(pictures))
        rows = parent + np.arange(len(parent))[:, None] * base.shape[1]  # (B, K) of this step's R
        words = np.concatenate([np.take_along_axis(words, parent[..., None], 1), token[..., None]], -1)[keep]
        scores, pictures = scores[keep], pictures[keep]
        state = state.select(rows[keep].ravel(), keep if len(keep) < len(rows) else None)
    return found.captions(memory.shape[1])


def _log_sum_exp(logits: Floats) -> Floats:
    largest = logits.max(-1)
    return np.asarray(largest + np.log(np.exp(logits - largest[..., None]).sum(-1)), np.float32)


def _forbid(logits: Floats, words: Ints, max_len: int, block_repeats: bool) -> None:
    """Set to -inf, in place, what may not follow the `words`, as `vsearch.captions.beam.forbid`."""
    t = words.shape[2] - 1
    logits[..., [PAD, START, UNK]] = -np.inf
    if t == 0:
        logits[..., END] = -np.inf
    if t == max_len:
        logits[..., END + 1 :] = -np.inf
    elif block_repeats:
        last = words[..., -1:]
        after = np.where(words[..., :-1] == last, words[..., 1:], last)  # (B, K, t): what once followed `last`
        np.put_along_axis(logits, np.concatenate([after, last], -1), -np.inf, -1)


def _best(logits: Floats, base: Floats, count: int) -> tuple[Floats, Ints, Ints]:
    """Return the best candidates: log-probability, parent and token, each (B, up to `count`)."""
    token = _largest(logits, count)  # (B, K, count)
    of_row = np.take_along_axis(logits, token, -1) + base[..., None]
    flat, tokens = of_row.reshape(len(of_row), -1), token.reshape(len(token), -1)
    place = _largest(flat, count)  # (B, count)
    return np.take_along_axis(flat, place, 1), place // token.shape[2], np.take_along_axis(tokens, place, 1)


def _largest(values: Floats, count: int) -> NDArray[Any]:
    """Return where the `count` largest values of the last axis are, the largest first."""
    if count < values.shape[-1]:
        some = np.argpartition(values, -count, -1)[..., -count:]
    else:
        some = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    return np.take_along_axis(some, np.argsort(-np.take_along_axis(values, some, -1), -1, kind="stable"), -1)


def _open(top: Floats, parent: Ints, token: Ints, beam: int) -> tuple[Floats, Ints, Ints]:
    """Return the best `beam` candidates that did not end, in their order."""
    ended = token == END
    top = np.where(ended, np.float32(-np.inf), top)
    place = np.argsort(ended, axis=1, kind="stable")[:, :beam]
    return (
        np.take_along_axis(top, place, 1),
        np.take_along_axis(parent, place, 1),
        np.take_along_axis(token, place, 1),
    )
