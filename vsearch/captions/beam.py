"""Greedy and beam search over a decoder's `start` and `step`, for many pictures at once.

Shapes: B pictures, K hypotheses of each, R = B * K rows, N cells, V vocabulary, T words of a caption.

Every caption is a whole sentence: at most `max_len` words, then the end mark, whose probability counts. Where no
hypothesis ends by itself, the end mark is forced after the last word. What a picture's caption is never depends on the
pictures next to it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsearch.captions.hypothesis import COMPACT_BELOW, Found, Step
from vsearch.captions.hypothesis import Hypothesis as Hypothesis
from vsearch.text.vocab import END, PAD, START, UNK


class Carried(Protocol):
    """A decoder's state: hypotheses can be reordered, and pictures dropped."""

    def select(self, rows: Tensor, pictures: Tensor | None = None) -> Self: ...


S = TypeVar("S", bound=Carried)


class Steps(Protocol[S]):
    """What search needs of a decoder: see `vsearch.networks.decoder`."""

    def start(self, memory: Tensor) -> S: ...

    def step(self, token: Tensor, state: S) -> tuple[Tensor, S, Tensor | None]: ...


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
    found = Found(len(memory), max(beam, n_best), max_len, length_power, n_best)
    _run(found, decoder, memory, block_repeats)
    return found.captions(memory.shape[1])


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


def _run(found: Found, decoder: Steps[S], memory: Tensor, block_repeats: bool) -> None:
    state = decoder.start(memory)
    hypotheses = _Hypotheses(
        torch.arange(len(memory), device=memory.device),
        torch.zeros(len(memory), 1, device=memory.device),
        torch.full((len(memory), 1, 1), START, device=memory.device),
    )
    for t in range(found.max_len + 1):
        pictures, scores, words = hypotheses
        logits, state, weights = decoder.step(words[..., -1].flatten(), state)
        logits = logits.float().view(*scores.shape, -1)  # (B, K, V)
        base = scores - logits.logsumexp(-1)  # (B, K)
        forbid(logits, words, found.max_len, block_repeats)
        top, parent, token = _best(logits, base, 2 * found.beam)  # (B, 2K), best first
        own = _array(pictures)
        found.collect(_array(top), _array(parent), _array(token), own, t)
        scores, parent, token = _open(top, parent, token, found.beam)  # (B, K)
        attention = None if weights is None else _array(weights.float())
        found.history.append(Step(own, _array(token), _array(parent), attention, base.shape[1]))
        going = found.going(scores[:, 0].tolist() if scores.shape[1] else [-np.inf] * len(scores), own)
        if not going:
            return
        keep = torch.tensor(going, device=memory.device) if len(going) <= COMPACT_BELOW * len(pictures) else None
        first = torch.arange(len(parent), device=memory.device)[:, None] * base.shape[1]
        rows = parent + first  # (B, K) of this step's R
        hypotheses = hypotheses.follow(scores, parent, token, keep)
        state = state.select((rows if keep is None else rows[keep]).flatten(), keep)


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(tensor.cpu().numpy())


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
