"""Constrained beam search (Anderson et al. 2017): captions that say given words.

Each picture has constraints of its own; a constraint is a set of words, one of which is to be said ("cat" or "cats").
A beam is kept for every subset of constraints met so far (the states of the paper's finite-state machine, section 3.2),
so that a hypothesis which has paid for a required word does not compete with those that have yet to say it.

Shapes: B pictures, C constraints of the picture that has most, F = 2 ** C subsets, K hypotheses of each subset,
R = B * F * K rows, A words of the largest constraint, V vocabulary, T words of a caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vsearch.captions.beam import Hypothesis, S, Steps, beam_search, forbid
from vsearch.text.vocab import END, START

Constraints = Sequence[Sequence[int]]  # of one picture: sets of word ids
MOST = 3  # constraints of one picture: each doubles the work


@torch.inference_mode()
def constrained_beam_search(
    decoder: Steps[S],
    memory: Tensor,
    required: Sequence[Constraints],
    beam: int = 5,
    max_len: int = 20,
    length_power: float = 0.7,
    n_best: int = 1,
    block_repeats: bool = False,
) -> list[list[Hypothesis]]:
    """Find the `n_best` captions of each picture of `memory` (B, N, C), first those that meet most of its `required`.

    Among captions that meet equally many constraints the best score comes first. All else is as in `beam_search`,
    which this is where no picture has a constraint. Raises ValueError if one has more than MOST, or a constraint
    without words, and for sizes below 1.
    """
    if len(required) != len(memory):
        raise ValueError(f"constraints of {len(required)} pictures for {len(memory)}")
    if any(not words for own in required for words in own):
        raise ValueError("a constraint has no words")
    most = max((len(own) for own in required), default=0)
    if most > MOST:
        raise ValueError(f"{most} constraints of one picture, at most {MOST}")
    if not most or min(beam, max_len, n_best) < 1:
        return beam_search(decoder, memory, beam, max_len, length_power, n_best, block_repeats)
    search = _Search(_Machine(required, memory.device), max(beam, n_best), max_len, length_power)
    search.run(decoder, memory, block_repeats)
    return search.captions(memory.shape[1], n_best)


class _Machine:
    """The subsets of constraints of each picture as numbers, bit c for constraint c, and how words lead on."""

    def __init__(self, required: Sequence[Constraints], device: torch.device) -> None:
        self.constraints = max(map(len, required))  # C
        self.subsets = 1 << self.constraints  # F
        self.pictures = len(required)
        words = torch.full((len(required), self.constraints, max(len(w) for own in required for w in own)), -1)
        for row, own in zip(words, required, strict=True):
            for place, ids in zip(row, own, strict=False):
                place[: len(ids)] = torch.tensor(list(ids))
        self.there = (words >= 0).to(device)  # (B, C, A)
        self.words = words.clamp_min(0).to(device)  # (B, C, A)
        lacking = [self.subsets - (1 << len(own)) for own in required]  # what a picture does not have, it has met
        self.first = torch.tensor(lacking, device=device)  # (B,)

    def candidates(self, log_p: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return, of the scores `log_p` (B, F, K, V) of all next words, the best `count` into each subset,
        (B, F, count): score, hypothesis among F * K, and word."""
        found = [self._into(subset, log_p, count) for subset in range(self.subsets)]
        score, parent, token = (torch.stack(part, 1) for part in zip(*found, strict=True))
        return score, parent, token

    def _into(self, subset: int, log_p: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the candidates into one subset, (B, count): from itself by words that lead nowhere else, and from
        smaller ones."""
        hypotheses = torch.arange(log_p.shape[2], device=log_p.device)  # (K,)
        stay = log_p[:, subset].clone()  # (B, K, V)
        for c in range(self.constraints):
            if not subset >> c & 1:
                place, there = self._of(c, stay)
                stay.scatter_(-1, place, stay.gather(-1, place).masked_fill(there, -torch.inf))
        score, token = stay.topk(min(count, stay.shape[-1]), -1)  # (B, K, count)
        ways = [(score, subset * len(hypotheses) + hypotheses[:, None].expand_as(score), token)]
        for c in range(self.constraints):
            if subset >> c & 1:
                before = subset & ~(1 << c)
                place, there = self._of(c, log_p[:, before])
                score = log_p[:, before].gather(-1, place).masked_fill(~there, -torch.inf)  # (B, K, A)
                ways.append((score, before * len(hypotheses) + hypotheses[:, None].expand_as(score), place))
        scores, parents, tokens = (torch.cat([part.flatten(1) for part in kind], 1) for kind in zip(*ways, strict=True))
        top, best = scores.topk(min(count, scores.shape[1]), 1)
        return top, parents.gather(1, best), tokens.gather(1, best)

    def _of(self, constraint: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return words of a constraint, for the rows of `like` (B, K, V), and whether there is one: each (B, K, A)."""
        size = (len(like), like.shape[1], self.words.shape[2])
        return self.words[:, constraint, None].expand(size), self.there[:, constraint, None].expand(size)


@dataclass(frozen=True)
class _Ended:
    met: int  # constraints
    score: float
    log_probability: float
    words: list[int]
    rows: list[int]  # of each step's R


class _Search:
    def __init__(self, machine: _Machine, beam: int, max_len: int, power: float) -> None:
        self.machine, self.beam, self.max_len, self.power = machine, beam, max_len, power
        self.ended: list[list[_Ended]] = [[] for _ in range(machine.pictures)]
        self.attention: list[Tensor | None] = []  # (R, N) of each step

    def run(self, decoder: Steps[S], memory: Tensor, block_repeats: bool) -> None:
        b, f, k = self.machine.pictures, self.machine.subsets, self.beam
        rows = torch.arange(b * f * k, device=memory.device)
        state = decoder.start(memory).select(rows // (f * k))
        scores = torch.full((b, f, k), -torch.inf, device=memory.device)
        scores[torch.arange(b, device=memory.device), self.machine.first, 0] = 0.0
        words = torch.full((b, f * k, 1), START, device=memory.device)
        trail = rows.view(b, f * k, 1)  # the rows that each hypothesis came by, its own last
        for t in range(self.max_len + 1):
            logits, state, weights = decoder.step(words[..., -1].flatten(), state)
            self.attention.append(weights)
            logits = logits.float().view(b, f * k, -1)
            base = scores.flatten(1) - logits.logsumexp(-1)  # (B, F * K)
            forbid(logits, words, self.max_len, block_repeats)
            log_p = (logits + base[..., None]).view(b, f, k, -1)
            top, parent, token = self.machine.candidates(log_p, 2 * k)  # (B, F, 2K), best first
            self._collect(top, parent, token, words, trail, t)
            scores, place = top.masked_fill(token == END, -torch.inf).topk(k, -1)
            parent, token = parent.gather(-1, place).flatten(1), token.gather(-1, place).flatten(1)  # (B, F * K)
            if self._done(scores):
                return
            words = torch.cat([_rows(words, parent), token[..., None]], -1)
            trail = torch.cat([_rows(trail, parent), rows.view(b, f * k, 1)], -1)
            state = state.select((parent + rows.view(b, f * k)[:, :1]).flatten())

    def _collect(self, top: Tensor, parent: Tensor, token: Tensor, words: Tensor, trail: Tensor, t: int) -> None:
        """Keep the ended ones among the best K candidates of each subset."""
        top, parent, token = (part[..., : self.beam] for part in (top, parent, token))
        for picture, subset, rank in ((token == END) & top.isfinite()).nonzero().tolist():
            row, log_p = int(parent[picture, subset, rank]), float(top[picture, subset, rank])
            found = words[picture, row, 1:].tolist(), trail[picture, row].tolist()
            self.ended[picture].append(_Ended(subset.bit_count(), log_p / (t + 1) ** self.power, log_p, *found))

    def _done(self, scores: Tensor) -> bool:
        """Return whether each picture has a beam of captions that meet all, or no open hypothesis of `scores`
        (B, F, K)."""
        going = scores.isfinite().flatten(1).any(1).tolist()
        full = [sum(e.met == self.machine.constraints for e in own) >= self.beam for own in self.ended]
        return all(enough or not more for enough, more in zip(full, going, strict=True))

    def captions(self, cells: int, n_best: int) -> list[list[Hypothesis]]:
        """Return each picture's best, of `cells` cells: an attention one wider has a sentinel."""
        found = []
        for own in self.ended:
            best = sorted(own, key=lambda e: (-e.met, -e.score))[:n_best]
            found.append([self._caption(e, cells) for e in best] or [Hypothesis([], -torch.inf, -torch.inf)])
        return found

    def _caption(self, ended: _Ended, cells: int) -> Hypothesis:
        rows = zip(self.attention, ended.rows[: len(ended.words)], strict=False)
        maps = [weights[row].float() for weights, row in rows if weights is not None]
        if not maps:
            return Hypothesis(ended.words, ended.log_probability, ended.score)
        table = torch.stack(maps).cpu().numpy()  # (T, N)
        sentinel = table[:, -1] if table.shape[1] > cells else None
        return Hypothesis(ended.words, ended.log_probability, ended.score, table, sentinel)


def _rows(part: Tensor, rows: Tensor) -> Tensor:
    """Return of `part` (B, F * K, X) the rows `rows` (B, F * K) of each picture."""
    return part.gather(1, rows[..., None].expand(-1, -1, part.shape[2]))
