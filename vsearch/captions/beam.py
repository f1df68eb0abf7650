"""Greedy and beam search over a decoder's `start` and `step`, for many pictures at once.

Shapes: B pictures, K hypotheses of each, R = B * K rows, N cells, V vocabulary, T words of a caption.

Every caption is a whole sentence: at most `max_len` words, then the end mark, whose probability counts. Where no
hypothesis ends by itself, the end mark is forced after the last word. What a picture's caption is never depends on the
pictures next to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsearch.text.vocab import END, PAD, START, UNK

COMPACT_BELOW = 0.75  # share of pictures still searched under which the finished ones leave the batch


class Carried(Protocol):
    """A decoder's state: hypotheses can be reordered, and pictures dropped."""

    def select(self, rows: Tensor, pictures: Tensor | None = None) -> Self: ...


S = TypeVar("S", bound=Carried)


class Steps(Protocol[S]):
    """What search needs of a decoder: see `vsearch.networks.decoder`."""

    def start(self, memory: Tensor) -> S: ...

    def step(self, token: Tensor, state: S) -> tuple[Tensor, S, Tensor | None]: ...


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


def greedy(decoder: Steps[S], memory: Tensor, max_len: int = 20, block_repeats: bool = False) -> list[Hypothesis]:
    """Take the most probable word at each step, for each picture of `memory` (B, N, C): a beam of one."""
    return [found[0] for found in beam_search(decoder, memory, 1, max_len, block_repeats=block_repeats)]


@torch.inference_mode()
def beam_search(
    decoder: Steps[S],
    memory: Tensor,
    beam: int = 5,
    max_len: int = 20,
    length_power: float = 0.7,
    n_best: int = 1,
    block_repeats: bool = False,
) -> list[list[Hypothesis]]:
    """Find the `n_best` captions of each picture of `memory` (B, N, C), best score first.

    A picture's search stops when it has `beam` captions, or `n_best` which no open hypothesis can overtake. The beam is
    at least `n_best` wide; a list is shorter only where fewer captions exist, and never empty. `block_repeats` forbids
    a word right after itself and a pair of words that the caption already has. Pad, start, unknown and the empty
    caption are never emitted. The decoder must be in evaluation mode. Raises ValueError for sizes below 1.
    """
    if min(beam, max_len, n_best) < 1:
        raise ValueError(f"beam {beam}, max_len {max_len} and n_best {n_best} must be at least 1")
    if len(memory) == 0:
        return []
    search = _Search(len(memory), max(beam, n_best), max_len, length_power, n_best)
    _run(search, decoder, memory, block_repeats)
    return search.captions(memory.shape[1])


@torch.no_grad()
def sample(decoder: Steps[S], memory: Tensor, count: int, max_len: int = 20) -> tuple[Tensor, Tensor]:
    """Draw `count` captions for each picture of `memory` (B, N, C), word by word from the decoder's probabilities.

    Returns ids (B, count, L), each <start>, words and, where it ended by itself, <end>, then padding; and lengths
    (B, count) that count all but the padding. L is at most max_len + 2. Pad, start, unknown and the empty caption are
    never drawn. The decoder must be in evaluation mode.
    """
    rows = torch.arange(len(memory), device=memory.device).repeat_interleave(count)  # (R,)
    state = decoder.start(memory).select(rows)
    token = torch.full_like(rows, START)
    ids, going = [token], torch.ones_like(rows, dtype=torch.bool)
    for t in range(max_len + 1):
        logits, state, _ = decoder.step(token, state)
        logits = logits.float()
        forbid(logits[:, None], torch.stack(ids, 1)[:, None], max_len + 1, False)
        token = torch.multinomial(logits.softmax(-1), 1)[:, 0].where(going, PAD)
        if t == max_len:
            token = token.where(token == END, PAD)  # room only for the end mark
        ids.append(token)
        going &= token != END
        if not going.any():
            break
    found = torch.stack(ids, 1).view(len(memory), count, -1)
    return found, (found != PAD).sum(-1)


def _run(search: _Search, decoder: Steps[S], memory: Tensor, block_repeats: bool) -> None:
    state = decoder.start(memory)
    hypotheses = _Hypotheses(
        torch.arange(len(memory), device=memory.device),
        torch.zeros(len(memory), 1, device=memory.device),
        torch.full((len(memory), 1, 1), START, device=memory.device),
    )
    for t in range(search.max_len + 1):
        pictures, scores, words = hypotheses
        logits, state, weights = decoder.step(words[..., -1].flatten(), state)
        logits = logits.float().view(*scores.shape, -1)  # (B, K, V)
        base = scores - logits.logsumexp(-1)  # (B, K)
        forbid(logits, words, search.max_len, block_repeats)
        top, parent, token = _best(logits, base, 2 * search.beam)  # (B, 2K), best first
        search.collect(top, parent, token, pictures, t)
        scores, parent, token = _open(top, parent, token, search.beam)  # (B, K)
        search.history.append(_Step(pictures, token, parent, weights, base.shape[1]))
        going = search.going(scores, pictures)
        if not going:
            return
        keep = torch.tensor(going, device=memory.device) if len(going) <= COMPACT_BELOW * len(pictures) else None
        first = torch.arange(len(parent), device=memory.device)[:, None] * base.shape[1]
        rows = parent + first  # (B, K) of this step's R
        hypotheses = hypotheses.follow(scores, parent, token, keep)
        state = state.select((rows if keep is None else rows[keep]).flatten(), keep)


class _Hypotheses(NamedTuple):
    """What has not ended: K hypotheses of each picture in the batch, one in the first step."""

    pictures: Tensor  # (B,)
    scores: Tensor  # (B, K) log-probabilities, best first
    words: Tensor  # (B, K, t + 1), the start mark first

    def follow(self, scores: Tensor, parent: Tensor, token: Tensor, keep: Tensor | None) -> _Hypotheses:
        """Return the chosen ones (B, K), of the pictures in the rows `keep` only where given."""
        before = self.words.gather(1, parent[..., None].expand(-1, -1, self.words.shape[2]))
        chosen = _Hypotheses(self.pictures, scores, torch.cat([before, token[..., None]], -1))
        return chosen if keep is None else _Hypotheses(*[part[keep] for part in chosen])


class _Step(NamedTuple):
    """What one step chose, for the pictures still in the batch; a `parent` is a hypothesis of the step before."""

    pictures: Tensor  # (B,)
    token: Tensor  # (B, K)
    parent: Tensor  # (B, K)
    attention: Tensor | None  # (R, N) of the hypotheses before the choice
    before: int  # hypotheses of a picture before the choice


class _Ended(NamedTuple):
    score: float
    log_probability: float
    words: int
    beam: int  # hypothesis, among those after the step that chose the last word


class _Search:
    """The captions found so far, and the way back to their words."""

    def __init__(self, pictures: int, beam: int, max_len: int, power: float, n_best: int) -> None:
        self.beam, self.max_len, self.power, self.n_best = beam, max_len, power, n_best
        self.history: list[_Step] = []
        self.ended: list[list[_Ended]] = [[] for _ in range(pictures)]
        self.done = [False] * pictures

    def collect(self, top: Tensor, parent: Tensor, token: Tensor, pictures: Tensor, t: int) -> None:
        """Keep the ended ones among the best K candidates."""
        top, parent, token = top[:, : self.beam], parent[:, : self.beam], token[:, : self.beam]
        row, rank = ((token == END) & top.isfinite()).nonzero(as_tuple=True)
        found = zip(pictures[row].tolist(), top[row, rank].tolist(), parent[row, rank].tolist(), strict=True)
        for picture, log_p, beam in found:
            if not self.done[picture]:
                self.ended[picture].append(_Ended(log_p / (t + 1) ** self.power, log_p, t, beam))

    def going(self, scores: Tensor, pictures: Tensor) -> list[int]:
        """Return rows of the batch whose picture is not done; `scores` (B, K) are those of its open hypotheses, best
        first."""
        rows = []
        best = scores[:, 0].tolist() if scores.shape[1] else [-np.inf] * len(scores)
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
        tables = [(s.token.cpu().numpy(), s.parent.cpu().numpy()) for s in self.history]
        weights = [None if s.attention is None else s.attention.float().cpu().numpy() for s in self.history]

        def trace(picture: int, ended: _Ended) -> Hypothesis:
            tokens, attention, beam = [], [], ended.beam
            for t in range(ended.words - 1, -1, -1):
                row, (token, parent), seen = places[t][picture], tables[t], weights[t]
                tokens.append(int(token[row, beam]))
                beam = int(parent[row, beam])
                if seen is not None:
                    attention.append(seen[row * self.history[t].before + beam])
            maps = np.stack(attention[::-1]) if attention else None
            sentinel = maps[:, -1] if maps is not None and maps.shape[1] > cells else None
            return Hypothesis(tokens[::-1], ended.log_probability, ended.score, maps, sentinel)

        found = []
        for picture, ended in enumerate(self.ended):
            best = sorted(ended, key=lambda e: -e.score)[: self.n_best]
            found.append([trace(picture, e) for e in best] or [Hypothesis([], -np.inf, -np.inf)])
        return found


def forbid(logits: Tensor, words: Tensor, max_len: int, block_repeats: bool) -> None:
    """Set to -inf, in place, what may not follow the `words` (B, K, t + 1): `logits` (B, K, V)."""
    t = words.shape[2] - 1
    logits[..., [PAD, START, UNK]] = -torch.inf
    if t == 0:
        logits[..., END] = -torch.inf
    if t == max_len:
        logits[..., END + 1 :] = -torch.inf
    elif block_repeats:
        last = words[..., -1:]
        after = torch.where(words[..., :-1] == last, words[..., 1:], last)  # (B, K, t): what once followed `last`
        logits.scatter_(-1, torch.cat([after, last], -1), -torch.inf)


def _best(logits: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best candidates: log-probability, parent and token, each (B, up to `count`)."""
    of_row, token = logits.topk(min(count, logits.shape[-1]), -1)  # (B, K, count)
    of_row = of_row + base[..., None]
    top, place = of_row.flatten(1).topk(min(count, of_row[0].numel()), -1)  # (B, count)
    return top, place // of_row.shape[-1], token.flatten(1).gather(1, place)


def _open(top: Tensor, parent: Tensor, token: Tensor, beam: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best `beam` candidates that did not end, in their order."""
    top = top.masked_fill(token == END, -torch.inf)
    place = (token == END).to(torch.uint8).sort(dim=1, stable=True).indices[:, :beam]
    return top.gather(1, place), parent.gather(1, place), token.gather(1, place)
