"""numpy's translator against torch's: encoder, steps over padded sentences, and what is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vsearch.captions.beam import beam_search
from vsearch.config import DecoderConfig, SourceConfig, TranslatorConfig
from vsearch.networks.fast.numpy_translation import NumpyTranslation, padded, runs
from vsearch.text.vocab import END
from vsearch.translation.network import TranslationModel, pad

SENTENCES = [[4, 7, 5, 6, 8, END], [5, 9, END], [END], [9, 9, 4, 5, END]]
SOURCES: dict[str, SourceConfig] = {
    "both ways": SourceConfig(embed=6, hidden=5),
    "one way": SourceConfig(embed=6, hidden=5, bidirectional=False),
    "two layers": SourceConfig(embed=6, hidden=5, layers=2),
    "LSTM": SourceConfig(cell="lstm", embed=6, hidden=5, layers=2),
}


def both(
    source: SourceConfig, cell: str = "gru", scoring: str = "additive"
) -> tuple[TranslationModel, NumpyTranslation]:
    torch.manual_seed(3)
    decoder = DecoderConfig(cell=cell, embed=7, hidden=9, attention=8, scoring=scoring, max_len=6, beam=3, tied=True)
    config = TranslatorConfig(source=source, decoder=decoder)
    model = TranslationModel(config, 10, 23).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3).add_(torch.randn_like(parameter) * 0.05)  # so that biases and scales are there, too
    return model, NumpyTranslation(config, {name: t.numpy() for name, t in model.state_dict().items()})


@pytest.mark.parametrize("name", SOURCES)
def test_sentences_are_read_as_by_torch(name: str) -> None:
    model, own = both(SOURCES[name])
    with torch.no_grad():
        states, mask = model.source(pad(SENTENCES))
    found, held = own.encode(padded(SENTENCES))
    assert held.tolist() == mask.tolist()
    np.testing.assert_allclose(found, states.numpy(), atol=1e-5)


@pytest.mark.parametrize("scoring", ["additive", "tanh", "dot"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_steps_are_those_of_torch(cell: str, scoring: str) -> None:
    model, own = both(SOURCES["both ways"], cell, scoring)
    token = torch.arange(4) + 4
    with torch.no_grad():
        state, mine = model.start(pad(SENTENCES)), own.start(padded(SENTENCES), np.zeros((4, 0), np.float32))
        for _ in range(3):
            logits, state, attention = model.step(token, state)
            found, mine, weights = own.step(token.numpy(), mine)
            assert attention is not None and not weights[1, 3:].any()
            np.testing.assert_allclose(found, logits.numpy(), atol=2e-4)
            np.testing.assert_allclose(weights, attention.numpy(), atol=1e-5)
            token = logits.argmax(-1)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_translations_are_those_of_torch(cell: str) -> None:
    model, own = both(SOURCES["both ways"], cell)
    for beam in (1, 3, 7):
        expected = [best for best, *_ in beam_search(model, pad(SENTENCES), beam, 6, own.config.decoder.length_power)]
        found = own.search(SENTENCES, beam)
        assert [one.tokens for one in found] == [one.tokens for one in expected]
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.log_probability == pytest.approx(theirs.log_probability, abs=1e-3)
            assert mine.attention is not None and theirs.attention is not None
            np.testing.assert_allclose(mine.attention, theirs.attention, atol=1e-4)
    assert own.search([]) == []


def test_weights_of_other_vocabularies_do_not_fit() -> None:
    _, own = both(SOURCES["both ways"])
    own.rehearse(10, 23)
    with pytest.raises(ValueError, match="the source has 11 words, not 10"):
        own.rehearse(11, 23)
    with pytest.raises(ValueError, match="23 words come out, the vocabulary has 22"):
        own.rehearse(10, 22)


def test_translators_without_attention_are_for_torch() -> None:
    assert not runs(TranslatorConfig(decoder=DecoderConfig(kind="gru")))
    assert runs(TranslatorConfig())
