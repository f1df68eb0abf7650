"""What a beam search has found: captions that ended, and the way back to their words. Knows no torch.

Shapes: B pictures, K hypotheses of each, R = B * K rows, N cells, T words of a caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.text.vocab import END

COMPACT_BELOW = 0.75  # share of pictures still searched under which the finished ones leave the batch


@dataclass(frozen=True)
class Hypothesis:
    """A generated caption: word ids without start and end mark.

    `log_probability` is the natural logarithm of the whole sentence's probability, end mark included; `score` is that
    over (T + 1) ** length_power. `attention` (T, N), or (T, N + 1) with a sentinel, has a row for each word; then
    `sentinel` (T,) is what the sentinel has of it: how much the word owes to language alone (beta of Lu et al. 2017).
    """

    tokens: list[int]
    log_probability: float
    score: float
    attention: NDArray[np.float32] | None = None
    sentinel: NDArray[np.float32] | None = None


class Step(NamedTuple):
    """What one step chose, for the pictures still in the batch; a `parent` is a hypothesis of the step before."""

    pictures: NDArray[np.int64]  # (B,)
    token: NDArray[np.int64]  # (B, K)
    parent: NDArray[np.int64]  # (B, K)
    attention: NDArray[np.float32] | None  # (R, N) of the hypotheses before the choice
    before: int  # hypotheses of a picture before the choice


class _Ended(NamedTuple):
    score: float
    log_probability: float
    words: int
    beam: int  # hypothesis, among those after the step that chose the last word


class Found:
    """The captions of B pictures found so far, and the way back to their words."""

    def __init__(self, pictures: int, beam: int, max_len: int, power: float, n_best: int) -> None:
        self.beam, self.max_len, self.power, self.n_best = beam, max_len, power, n_best
        self.history: list[Step] = []
        self.ended: list[list[_Ended]] = [[] for _ in range(pictures)]
        self.done = [False] * pictures

    def collect(
        self, top: NDArray[np.float32], parent: NDArray[np.int64], token: NDArray[np.int64],
        pictures: NDArray[np.int64], t: int,
    ) -> None:  # fmt: skip
        """Keep the ended ones among the best K candidates of log-probability, parent and token, each (B, 2K)."""
        top, parent, token = top[:, : self.beam], parent[:, : self.beam], token[:, : self.beam]
        row, rank = ((token == END) & np.isfinite(top)).nonzero()
        found = zip(pictures[row].tolist(), top[row, rank].tolist(), parent[row, rank].tolist(), strict=True)
        for picture, log_p, beam in found:
            if not self.done[picture]:
                self.ended[picture].append(_Ended(log_p / (t + 1) ** self.power, log_p, t, beam))

    def going(self, best: Sequence[float], pictures: NDArray[np.int64]) -> list[int]:
        """Return rows of the batch whose picture is not done; `best` (B,) are its best open hypotheses."""
        rows = []
        for row, (picture, open_p) in enumerate(zip(pictures.tolist(), best, strict=True)):
            ended = self.ended[picture]
            limit = max(open_p / (self.max_len + 1) ** self.power, open_p)  # what the best open one can still reach
            if not np.isfinite(open_p) or len(ended) >= self.beam:
                self.done[picture] = True
            elif len(ended) >= self.n_best:
                self.done[picture] |= sorted(e.score for e in ended)[-self.n_best] >= limit
            if not self.done[picture]:
                rows.append(row)
        return rows

    def captions(self, cells: int) -> list[list[Hypothesis]]:
        """Return each picture's best, of `cells` cells: an attention one wider has a sentinel."""
        places = [{p: row for row, p in enumerate(step.pictures.tolist())} for step in self.history]

        def trace(picture: int, ended: _Ended) -> Hypothesis:
            tokens, attention, beam = [], [], ended.beam
            for t in range(ended.words - 1, -1, -1):
                row, step = places[t][picture], self.history[t]
                tokens.append(int(step.token[row, beam]))
                beam = int(step.parent[row, beam])
                if step.attention is not None:
                    attention.append(step.attention[row * step.before + beam])
            maps = np.stack(attention[::-1]) if attention else None
            sentinel = maps[:, -1] if maps is not None and maps.shape[1] > cells else None
            return Hypothesis(tokens[::-1], ended.log_probability, ended.score, maps, sentinel)

        found = []
        for picture, ended in enumerate(self.ended):
            best = sorted(ended, key=lambda e: -e.score)[: self.n_best]
            found.append([trace(picture, e) for e in best] or [Hypothesis([], -np.inf, -np.inf)])
        return found
