"""numpy's decoder and beam search against torch's, for every part a decoder may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vsearch.captions.beam import beam_search
from vsearch.config import DecoderConfig
from vsearch.networks.decoders import build_decoder
from vsearch.networks.fast.numpy_captioner import beam_search as search
from vsearch.networks.fast.numpy_decoder import NumpyDecoder, runs, sigmoid
from vsearch.networks.told import told

WORDS, CHANNELS, CELLS = 40, 12, 9
PLAIN = DecoderConfig(embed=10, hidden=16, attention=14, max_len=7, beam=3)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tanh": {"scoring": "tanh"},
    "dot": {"scoring": "dot"},
    "no gate": {"gate": False},
    "tied": {"tied": True},
    "mapped cells": {"cells": 8},
    "a vector": {"vector": 6},
    "a GRU": {"cell": "gru"},
    "a GRU and a vector": {"cell": "gru", "vector": 6},
    "all of it": {"tied": True, "cells": 8, "vector": 6, "centroids": 5, "centroid_temperature": 0.1},
}


def both(**settings: Any) -> tuple[torch.nn.Module, NumpyDecoder]:
    torch.manual_seed(1)
    config = DecoderConfig(**(vars(PLAIN) | settings))
    decoder = build_decoder(config, CHANNELS, WORDS).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3).add_(torch.randn_like(parameter) * 0.05)  # so that biases and scales are there, too
    return decoder, NumpyDecoder(config, {name: t.numpy() for name, t in decoder.state_dict().items()})


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(count, CELLS, CHANNELS), torch.nn.functional.normalize(torch.randn(count, 6), dim=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_torch(kind: str) -> None:
    decoder, own = both(**KINDS[kind])
    memory, vectors = pictures(3)
    rows, token = torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6) + 4
    with torch.no_grad():
        state = told(decoder, vectors).start(memory).select(rows)  # type: ignore[arg-type]
        mine = own.start(memory.numpy(), vectors.numpy()).select(rows.numpy())
        for _ in range(3):
            logits, state, attention = decoder.step(token, state)  # type: ignore[operator]
            found, mine, weights = own.step(token.numpy(), mine)
            np.testing.assert_allclose(found, logits.numpy(), atol=2e-4)
            np.testing.assert_allclose(weights, attention.numpy(), atol=1e-5)
            token = logits.argmax(-1)


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (3, 2), (2, 5), (60, 60)])
@pytest.mark.parametrize("kind", ["plain", "a GRU", "all of it"])
def test_captions_are_those_of_torch(kind: str, beam: int, n_best: int, block: bool) -> None:
    decoder, own = both(**KINDS[kind])
    memory, vectors = pictures(7)
    expected = beam_search(told(decoder, vectors), memory, beam, 7, 0.7, n_best, block)  # type: ignore[arg-type]
    found = search(own, memory.numpy(), vectors.numpy(), beam, 7, 0.7, n_best, block)
    assert [[c.tokens for c in one] for one in found] == [[c.tokens for c in one] for one in expected]
    assert len({tuple(one[0].tokens) for one in found}) > 1 and all(len(one) >= min(n_best, 1) for one in found)
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.log_probability == pytest.approx(theirs.log_probability, abs=1e-3)
            assert mine.attention is not None and theirs.attention is not None
            np.testing.assert_allclose(mine.attention, theirs.attention, atol=1e-4)


def test_no_picture_has_no_caption() -> None:
    _, own = both()
    memory, vectors = pictures(0)
    assert search(own, memory.numpy(), vectors.numpy(), 3, 7, 0.7, 1, False) == []


def test_attention_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, own = both()
    memory, vectors = (part.numpy() for part in pictures(5))
    whole = own.step(np.arange(5) + 4, own.start(memory, vectors))[2]
    monkeypatch.setattr("vsearch.networks.fast.numpy_decoder.BLOCK", 2 * CELLS * PLAIN.attention)
    np.testing.assert_allclose(own.step(np.arange(5) + 4, own.start(memory, vectors))[2], whole, atol=1e-6)


def test_other_kinds_are_left_to_torch() -> None:
    for settings in ({"kind": "adaptive"}, {"kind": "lstm"}, {"cell": "rnn"}):
        config = DecoderConfig(**(vars(PLAIN) | settings))
        assert not runs(config)
        with pytest.raises(ValueError, match="kind soft"):
            NumpyDecoder(config, {})


def test_sigmoid_of_any_number() -> None:
    found = sigmoid(np.array([-1e30, -1.0, 0.0, 2.0, 1e30], np.float32))
    np.testing.assert_allclose(found, [0, 0.26894142, 0.5, 0.880797, 1], atol=1e-7)
