"""The fast model against the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vsearch.captions.beam import Hypothesis, beam_search
from vsearch.config import DecoderConfig, DeviseConfig, ModelConfig, PreprocessConfig
from vsearch.image.pixels import normalise
from vsearch.networks.fast import model as fast
from vsearch.networks.fast.model import FastModel
from vsearch.networks.joint import build_model
from vsearch.text.vocab import Vocabulary

WORDS = [f"word{i}" for i in range(30)]
DECODER = DecoderConfig(embed=16, hidden=16, attention=16, max_len=6, beam=3)


def model(decoder: bool = True, devise: bool = True, seed: int = 0) -> FastModel:
    torch.manual_seed(seed)
    config = ModelConfig(
        preprocess=PreprocessConfig(side=64),
        devise=DeviseConfig(hidden=32, dropout=0.5, dim=8) if devise else None,
        decoder=DECODER if decoder else None,
    )
    made = build_model(config, Vocabulary(WORDS) if decoder else None)
    if made.decoder is not None:
        with torch.no_grad():
            for parameter in made.decoder.parameters():
                parameter.mul_(3)
    return FastModel(made.eval())


def pixels(count: int = 6) -> Tensor:
    """Pictures that differ in more than noise."""
    generator = torch.Generator().manual_seed(2)
    colours = torch.randint(0, 256, (count, 3, 2, 2), generator=generator).float()
    return torch.nn.functional.interpolate(colours, 64, mode="bilinear").permute(0, 2, 3, 1).to(torch.uint8)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 on any machine."""
    monkeypatch.setattr(fast, "fast_bf16", lambda device: False)
    monkeypatch.setattr("vsearch.device.fast_bf16", lambda device: False)


@pytest.mark.usefixtures("exact")
def test_describe_equals_the_plain_path() -> None:
    made = model()
    found = made.describe(pixels(), n_best=2)
    with torch.no_grad():
        vectors = made.joint.embed(pixels())
        grid, _ = made.joint.encoder(normalise(pixels(), made.config.preprocess))
    assert found.vectors.dtype == np.float32 and found.vectors.shape == (6, 8)
    assert found.vectors == pytest.approx(vectors.numpy(), abs=1e-4)
    assert np.abs(found.vectors[0] - found.vectors[1:]).max(1).min() > 0.01  # the pictures do differ
    assert made.joint.decoder is not None and found.captions is not None
    expected = beam_search(made.joint.decoder, grid, 3, 6, DECODER.length_power, 2)
    assert [[c.tokens for c in best] for best in found.captions] == [[c.tokens for c in best] for best in expected]
    assert len({tuple(best[0].tokens) for best in expected}) > 1


def test_half_precision_stays_close_and_unit() -> None:
    made = model(decoder=False)
    with torch.no_grad():
        plain = made.joint.embed(pixels()).numpy()
    quick = made.describe(pixels()).vectors
    assert np.linalg.norm(quick, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert (quick * plain).sum(1).min() > 0.998


@pytest.mark.usefixtures("exact")
def test_batch_size_changes_nothing() -> None:
    made = model()
    whole = made.describe(pixels())
    parts = [made.describe(part) for part in torch.split(pixels(), 1)]
    assert np.concatenate([p.vectors for p in parts]) == pytest.approx(whole.vectors, abs=1e-5)
    assert whole.captions is not None
    assert [p.captions[0][0].tokens for p in parts if p.captions] == [c[0].tokens for c in whole.captions]


def test_training_mode_and_gradients_are_as_before() -> None:
    made = model()
    made.joint.train()
    first, again = made.describe(pixels()).vectors, made.describe(pixels()).vectors
    assert np.array_equal(first, again)  # no dropout
    assert made.joint.training and all(m.training for m in made.joint.modules())
    torch.autograd.backward(made.joint.embed(pixels()).sum())
    assert next(made.joint.encoder.parameters()).grad is not None


def test_weights_changed_in_any_way_are_seen() -> None:
    made, other = model(), model(seed=1)
    before = made.describe(pixels()).vectors
    assert np.array_equal(made.describe(pixels()).vectors, before)
    with torch.no_grad():
        next(made.joint.encoder.parameters()).add_(0.1)
    stepped = made.describe(pixels()).vectors
    assert not np.allclose(stepped, before, atol=1e-4)
    made.joint.load_state_dict(other.joint.state_dict())
    assert made.describe(pixels()).vectors == pytest.approx(other.describe(pixels()).vectors, abs=1e-6)


def test_copies_are_made_once_and_never_saved() -> None:
    made = model()
    made.describe(pixels())
    kept = made._copies
    made.describe(pixels())
    assert made._copies is kept
    assert {name.split(".")[0] for name in made.joint.state_dict()} == {"encoder", "devise", "decoder"}


def test_parts_may_be_missing() -> None:
    without_decoder = model(decoder=False).describe(pixels())
    assert without_decoder.captions is None and without_decoder.vectors.shape == (6, 8)
    without_devise = model(devise=False)
    described = without_devise.describe(pixels())
    assert described.vectors.shape == (6, 0) and described.captions is not None and len(described.captions) == 6
    with pytest.raises(ValueError, match="DeViSE"):
        without_devise.joint.embed(pixels())
    assert model().describe(pixels(), captions=False).captions is None
    with pytest.raises(ValueError, match="vocabulary"):
        model(decoder=False).text(described.captions[0][0])


def test_empty_batch() -> None:
    found = model().describe(pixels()[:0])
    assert found.vectors.shape == (0, 8) and found.captions == []


def test_text_is_the_captions_words() -> None:
    made = model()
    found = made.describe(pixels(1), beam=1).captions
    assert found is not None
    assert made.text(found[0][0]).split() == [WORDS[token - 4] for token in found[0][0].tokens]


def test_beam_is_the_configs_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, ...]] = []

    def search(decoder: object, memory: Tensor, *sizes: float) -> list[list[Hypothesis]]:
        asked.append(sizes)
        return []

    monkeypatch.setattr("vsearch.captions.search.beam_search", search)
    made = model()
    made.describe(pixels(1))
    made.describe(pixels(1), beam=7, n_best=2)
    made.describe(pixels(1), block_repeats=True)
    power = DECODER.length_power
    assert asked == [(3, 6, power, 1, False), (7, 6, power, 2, False), (3, 6, power, 1, True)]
