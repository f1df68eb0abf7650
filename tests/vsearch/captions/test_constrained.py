"""Constrained beam search against going through every sentence there is."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from vsearch.captions.beam import beam_search
from vsearch.captions.constrained import MOST, constrained_beam_search
from vsearch.config import DecoderConfig
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import build_decoder
from vsearch.text.vocab import END, START

N, C, V = 3, 5, 9
WORDS = range(4, V)


def make(kind: str = "soft") -> Decoder:
    torch.manual_seed(1)
    config = DecoderConfig(kind=kind, embed=6, hidden=8, attention=7, dropout=0.0)
    model = build_decoder(config, C, V).eval()
    with torch.no_grad():
        model.output.weight.mul_(30)
        model.output.bias[END] += 1.0
    return model


def memory(count: int = 3) -> Tensor:
    return 3 * torch.randn(count, N, C, generator=torch.Generator().manual_seed(2))


def sentences(model: Decoder, cells: Tensor, longest: int) -> dict[tuple[int, ...], float]:
    """The log-probability of every sentence of 1 to `longest` words over one picture (1, N, C)."""
    found: dict[tuple[int, ...], float] = {}
    with torch.no_grad():
        for length in range(1, longest + 1):
            rows = torch.tensor(list(product(WORDS, repeat=length)))
            state = model.start(cells).select(torch.zeros(len(rows), dtype=torch.long))
            total, token = torch.zeros(len(rows)), torch.full((len(rows),), START)
            for t in range(length + 1):
                logits, state, _ = model.step(token, state)
                token = rows[:, t] if t < length else torch.full_like(token, END)
                total += logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
            found |= dict(zip(map(tuple, rows.tolist()), total.tolist(), strict=True))
    return found


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("required", [[[8]], [[5, 6]], [[8], [5]], [[4, 5], [6, 7], [8]]])
def test_a_wide_beam_finds_the_best_sentence_that_says_all(required: list[list[int]], power: float) -> None:
    model, cells = make(), memory()
    found = constrained_beam_search(model, cells, [required] * len(cells), 200, 4, power)
    for b, own in enumerate(found):
        every = sentences(model, cells[b : b + 1], 4)
        says_all = {s: p for s, p in every.items() if all(set(s) & set(words) for words in required)}
        best = max(says_all, key=lambda s: says_all[s] / (len(s) + 1) ** power)
        assert tuple(own[0].tokens) == best
        assert own[0].log_probability == pytest.approx(says_all[best], abs=1e-3)
        assert own[0].score == pytest.approx(says_all[best] / (len(best) + 1) ** power, abs=1e-3)


def test_constraints_change_what_is_said() -> None:
    model, cells = make(), memory()
    free = beam_search(model, cells, 5, 6)
    unsaid = [[next(w for w in WORDS if w not in own[0].tokens)] for own in free]
    bound = constrained_beam_search(model, cells, [[words] for words in unsaid], 5, 6)
    for words, own, other in zip(unsaid, bound, free, strict=True):
        assert words[0] in own[0].tokens and words[0] not in other[0].tokens


@pytest.mark.parametrize("kind", ["soft", "adaptive", "gru"])
def test_each_picture_has_its_own_constraints_and_its_own_caption(kind: str) -> None:
    model, cells = make(kind), memory()
    required = [[[8]], [], [[4], [7, 5]]]
    together = constrained_beam_search(model, cells, required, 4, 6, n_best=2)
    for b, own in enumerate(required):
        single = constrained_beam_search(model, cells[b : b + 1], [own], 4, 6, n_best=2)[0]
        assert [c.tokens for c in together[b][:1]] == [c.tokens for c in single[:1]]
        assert all(set(together[b][0].tokens) & set(words) for words in own)


def test_a_picture_without_constraints_has_the_caption_of_plain_search() -> None:
    model, cells = make(), memory()
    plain = beam_search(model, cells, 40, 5)
    assert [c[0].tokens for c in constrained_beam_search(model, cells, [[]] * 3, 40, 5)] == [c[0].tokens for c in plain]
    mixed = constrained_beam_search(model, cells, [[], [[6]], []], 40, 5)
    assert [mixed[0][0].tokens, mixed[2][0].tokens] == [plain[0][0].tokens, plain[2][0].tokens]


@pytest.mark.parametrize("kind", ["soft", "adaptive"])
def test_attention_is_that_of_each_word(kind: str) -> None:
    model, cells = make(kind), memory()
    found = constrained_beam_search(model, cells, [[[8]], [[4]], [[5], [6]]], 4, 6)
    for b, own in enumerate(found):
        state, token = model.start(cells[b : b + 1]), torch.tensor([START])
        assert own[0].attention is not None and len(own[0].attention) == len(own[0].tokens)
        for word, seen in zip(own[0].tokens, own[0].attention, strict=True):
            _, state, weights = model.step(token, state)
            assert weights is not None
            torch.testing.assert_close(torch.from_numpy(seen), weights[0], rtol=1e-4, atol=1e-5)
            token = torch.tensor([word])
        assert (own[0].sentinel is not None) == (kind == "adaptive")


def test_what_no_sentence_can_meet_is_met_as_far_as_possible() -> None:
    model, cells = make(), memory()
    found = constrained_beam_search(model, cells, [[[8], [7], [6]]] * 3, 5, 2)
    for own in found:
        assert len(set(own[0].tokens) & {6, 7, 8}) == 2


def test_repeats_can_be_blocked() -> None:
    model, cells = make(), memory()
    for own in constrained_beam_search(model, cells, [[[8]]] * 3, 5, 12, block_repeats=True):
        words = own[0].tokens
        pairs = list(pairwise(words))
        assert all(a != b for a, b in pairs) and len(set(pairs)) == len(pairs)


def test_wrong_constraints_are_refused() -> None:
    model, cells = make(), memory()
    with pytest.raises(ValueError, match="of 2 pictures for 3"):
        constrained_beam_search(model, cells, [[], []])
    with pytest.raises(ValueError, match="no words"):
        constrained_beam_search(model, cells, [[], [[]], []])
    with pytest.raises(ValueError, match="at most 3"):
        constrained_beam_search(model, cells, [[[4]] * (MOST + 1), [], []])
    with pytest.raises(ValueError, match="at least 1"):
        constrained_beam_search(model, cells, [[[4]], [], []], beam=0)
