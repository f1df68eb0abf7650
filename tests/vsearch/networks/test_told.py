"""Decoders that are told their picture's vector among words, next to its cells or in their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsearch.captions.beam import beam_search
from vsearch.config import DecoderConfig, DeviseConfig, ModelConfig, PreprocessConfig
from vsearch.errors import ConfigError
from vsearch.image.pixels import normalise
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import build_decoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.model import FastModel
from vsearch.networks.fast.training import speed_up
from vsearch.networks.joint import build_model
from vsearch.networks.told import told
from vsearch.text.vocab import END, START, Vocabulary

B, N, C, V, H, D = 4, 3, 6, 11, 7, 5
LENGTHS = torch.tensor([4, 7, 3, 5])
CAPTIONS = torch.tensor(
    [
        [START, 4, 5, END, 0, 0, 0],
        [START, 6, 7, 8, 9, 10, END],
        [START, 5, END, 0, 0, 0, 0],
        [START, 10, 6, 4, END, 0, 0],
    ]
)


def make(**settings: object) -> Decoder:
    torch.manual_seed(3)
    sizes = {"embed": 8, "hidden": H, "attention": 9, "dropout": 0.0, "vector": D, **settings}
    return build_decoder(DecoderConfig(**sizes), C, V).eval()  # type: ignore[arg-type]


def memory(cells: int = N) -> Tensor:
    return torch.randn(B, cells, C, generator=torch.Generator().manual_seed(5))


def vectors() -> Tensor:
    return F.normalize(torch.randn(B, D, generator=torch.Generator().manual_seed(6)), dim=-1)


def word_by_word(model: Decoder, cells: Tensor, told_of: Tensor) -> Tensor:
    """The sum of -log p of all words and end marks, one caption and one word at a time."""
    total = torch.zeros(())
    for b in range(B):
        state = model.start(cells[b : b + 1], vector=told_of[b : b + 1])
        for t in range(int(LENGTHS[b]) - 1):
            logits, state, _ = model.step(CAPTIONS[b, t : t + 1], state)
            total = total + F.cross_entropy(logits, CAPTIONS[b, t + 1 : t + 2])
    return total


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cells", [N, 0])
@pytest.mark.parametrize("settings", [{}, {"cells": 4}, {"cells": 4, "cell": "gru", "tied": True}, {"gate": False}])
def test_teacher_forcing_equals_word_by_word(cells: int, settings: dict[str, object], fast: bool) -> None:
    model = make(**settings)
    grid, place = memory(cells).requires_grad_(), vectors().requires_grad_()
    slow = word_by_word(model, grid, place)
    torch.autograd.backward(slow)
    expected = {name: p.grad for name, p in model.named_parameters()}
    of_place, place.grad = place.grad, None
    model.zero_grad()

    out = (speed_up(model) if fast else model)(grid, CAPTIONS, LENGTHS, vector=place)
    loss = F.cross_entropy(out.logits, out.targets, reduction="sum")
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    assert of_place is not None and of_place.abs().sum() > 0
    torch.testing.assert_close(place.grad, of_place, rtol=1e-4, atol=1e-5)
    for name, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        wanted = torch.zeros_like(parameter) if expected[name] is None else expected[name]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=name)
    assert (out.attention is None) == (cells == 0)


def test_the_vector_is_added_to_the_gates_of_every_step_and_to_the_first_state() -> None:
    """By hand, for one picture without cells: an LSTM of inputs W_e e + W_v v, from h = b_0 + W_0 v."""
    model, place = make(), vectors()[:1]
    parts = dict(model.named_parameters())
    gates, first = parts["vector.weight"][: 4 * H], parts["vector.weight"][4 * H :]
    hidden, cell = (parts["initial.bias"] + place @ first.T).chunk(2, -1)
    state = model.start(memory(0)[:1], vector=place)
    for word in (START, 5, 8):
        inputs = parts["embedding.weight"][word] @ parts["input.weight"].T + parts["input.bias"] + place @ gates.T
        own = hidden @ parts["cell.recurrent.weight"].T + parts["cell.recurrent.bias"]
        i, f, g, o = (inputs + own).chunk(4, -1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        logits, state, attention = model.step(torch.tensor([word]), state)
        torch.testing.assert_close(logits, hidden @ parts["output.weight"].T + parts["output.bias"])
        assert attention is None


def test_mapped_cells_keep_their_number_and_order() -> None:
    model, grid = make(cells=4), memory()
    state = model.start(grid, vector=vectors())
    assert state.memory.shape == (B, N, 4)
    turned = model.start(grid.flip(1), vector=vectors())
    torch.testing.assert_close(turned.memory.flip(1), state.memory)
    torch.testing.assert_close(turned.hidden, state.hidden)


@pytest.mark.parametrize("cells", [N, 0])
def test_search_of_a_batch_equals_search_of_one_picture(cells: int) -> None:
    model, grid, place = make(), memory(cells), 4 * vectors()
    found = beam_search(told(model, place), grid, 3, 6)
    each = [beam_search(told(model, place[b : b + 1]), grid[b : b + 1], 3, 6)[0] for b in range(B)]
    assert [c[0].tokens for c in found] == [c[0].tokens for c in each]
    assert len({tuple(c[0].tokens) for c in found}) > 1
    for caption in (own[0] for own in found):
        assert (caption.attention is None) == (cells == 0)


def test_the_quick_copy_stays_close() -> None:
    model, place = make(cells=4), vectors()
    with torch.no_grad():
        plain, _, _ = model.step(torch.full((B,), START), model.start(memory(), vector=place))
        with torch.autocast("cpu", torch.bfloat16):
            quick = QuickDecoder(model, True)
            near, _, _ = quick.step(torch.full((B,), START), quick.start(memory(), vector=place))
    torch.testing.assert_close(near, plain, rtol=0.05, atol=0.05)


def test_a_vector_is_given_where_it_is_taken_and_nowhere_else() -> None:
    with pytest.raises(ValueError, match="takes the vectors"):
        make().start(memory())
    with pytest.raises(ValueError, match="takes the vectors"):
        told(make(), None)
    for kind in ("soft", "adaptive", "gru"):
        with pytest.raises(ValueError, match="takes no vectors"):
            make(kind=kind, vector=0).start(memory(), vector=vectors())
    plain = make(vector=0)
    assert told(plain, vectors()) is plain
    for setting in ({"vector": D}, {"vector": 0, "cells": 4}):
        with pytest.raises(ConfigError, match="adaptive decoder takes no vector"):
            make(kind="adaptive", **setting)


def joint_model(vector: int) -> ModelConfig:
    decoder = DecoderConfig(embed=8, hidden=8, attention=8, vector=vector, cells=6, max_len=6)
    return ModelConfig(
        preprocess=PreprocessConfig(side=64), devise=DeviseConfig(hidden=8, dim=D), decoder=decoder
    )  # fmt: skip


def test_a_model_tells_its_decoder_what_its_head_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("vsearch.networks.fast.model.fast_bf16", "vsearch.device.fast_bf16"):  # float32 on any machine
        monkeypatch.setattr(place, lambda device: False)
    torch.manual_seed(0)
    model = build_model(joint_model(D), Vocabulary(["a", "dog", "runs", "on", "grass"])).eval()
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = FastModel(model).describe(pixels, beam=3)
    assert model.decoder is not None and found.captions is not None
    with torch.no_grad():
        grid, _ = model.encoder(normalise(pixels, model.config.preprocess))
    seen = told(model.decoder, torch.from_numpy(found.vectors))
    expected = beam_search(seen, grid, 3, 6, model.decoder.config.length_power)
    for own, other in zip(found.captions, expected, strict=True):
        assert own[0].tokens == other[0].tokens
        assert own[0].log_probability == pytest.approx(other[0].log_probability, abs=1e-3)
    assert np.abs(found.vectors[0] - found.vectors[1]).max() > 1e-3


def test_vectors_of_head_and_decoder_have_one_size() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.vector is 9"):
        build_model(joint_model(9), Vocabulary(["a"]))
