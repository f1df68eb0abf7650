"""The translator's network: packed encoder, masked attention, search; its folder, and what it refuses."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.tiny_model import model_folder
from tests.support.translator_data import SOURCE, TARGET, tiny_translator
from vsearch.captions.beam import beam_search
from vsearch.config import DecoderConfig, SourceConfig, TranslatorConfig
from vsearch.errors import ConfigError, ModelError, QueryError, VsearchError
from vsearch.networks.attention import SCORINGS
from vsearch.networks.decoder import Teacher
from vsearch.networks.decoders import SoftAttentionDecoder, build_decoder
from vsearch.networks.fast.numpy_translation import NumpyTranslation
from vsearch.storage import modelfolder
from vsearch.storage.codes import rounded
from vsearch.text.vocab import END, START
from vsearch.translation.network import SourceEncoder, TranslationModel, pad
from vsearch.translation.translator import Translator, find

KINDS = [("soft", "lstm"), ("soft", "gru"), ("gru", "lstm"), ("lstm", "lstm")]  # decoder, its cell under attention
LONG, SHORT = [4, 7, 5, 6, 8, END], [5, 9, END]


def network(
    kind: str = "soft", cell: str = "gru", words: int = 3, scoring: str = "additive", **source: bool
) -> TranslationModel:
    torch.manual_seed(0)
    decoder = DecoderConfig(kind=kind, cell=cell, embed=7, hidden=9, attention=8, scoring=scoring, max_len=4)
    config = TranslatorConfig(source=SourceConfig(embed=6, hidden=5, **source), decoder=decoder)  # type: ignore[arg-type]
    model = TranslationModel(config, 10, 4 + words)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model.eval()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_packed_sentences_are_read_as_each_alone(cell: str) -> None:
    encoder = SourceEncoder(SourceConfig(cell=cell, embed=6, hidden=5, layers=2), 10).eval()
    ids = pad([SHORT, LONG, [4, END]])
    states, mask = encoder(ids)
    assert mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6, [True] * 2 + [False] * 4]
    for row, own in enumerate((SHORT, LONG, [4, END])):
        alone, _ = encoder(torch.tensor([own]))
        assert torch.allclose(states[row, : len(own)], alone[0], atol=1e-6)
        assert not states[row, len(own) :].any()


def test_states_are_forward_then_backward() -> None:
    """The last word reaches no forward state before it, the first one no backward state after it."""
    encoder = SourceEncoder(SourceConfig(embed=6, hidden=5), 10).eval()
    states, mask = encoder(torch.tensor([[4, 5, 6]]))
    other, _ = encoder(torch.tensor([[4, 5, 7]]))
    first, _ = encoder(torch.tensor([[8, 5, 6]]))
    assert torch.equal(states[0, :2, :5], other[0, :2, :5]) and not torch.allclose(states[0, :2, 5:], other[0, :2, 5:])
    assert torch.equal(states[0, 1:, 5:], first[0, 1:, 5:]) and not torch.allclose(states[0, 1:, :5], first[0, 1:, :5])
    assert torch.equal(encoder.last(states, mask), torch.cat([states[:, 2, :5], states[:, 0, 5:]], 1))


def test_the_last_state_is_that_of_the_sentence_not_of_its_padding() -> None:
    encoder = SourceEncoder(SourceConfig(embed=6, hidden=5), 10).eval()
    together = encoder.last(*encoder(pad([SHORT, LONG])))
    assert torch.allclose(together[:1], encoder.last(*encoder(torch.tensor([SHORT]))), atol=1e-6)


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize(("kind", "cell"), KINDS)
def test_padding_changes_neither_logits_nor_gradients(kind: str, cell: str, scoring: str) -> None:
    """Two sentences padded to one length against each alone, through teacher forcing with its collected gradients."""
    targets = [[START, 4, 5, 6, END], [START, 6, END]]

    def grads(model: TranslationModel) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    together, apart = network(kind, cell, scoring=scoring), network(kind, cell, scoring=scoring)
    out = together(pad([LONG, SHORT]), pad(targets))
    out.logits.square().sum().backward()
    for source, target in zip((LONG, SHORT), targets, strict=True):
        alone = apart(torch.tensor([source]), torch.tensor([target]))
        alone.logits.square().sum().backward()
        for token in set(target[1:]):
            assert torch.allclose(
                alone.logits[alone.targets == token][0],
                _row(out, source is SHORT, target.index(token) - 1),
                atol=1e-5,
            )
    assert grads(together).keys() == grads(apart).keys() >= {"source.embedding.weight", "decoder.initial.weight"}
    for name, gradient in grads(together).items():
        assert torch.allclose(gradient, grads(apart)[name], atol=2e-4, rtol=1e-3), name
    if kind == "soft":
        assert out.attention is not None and not out.attention[1, :, len(SHORT) :].any()
        assert torch.allclose(out.attention[1, :2].sum(-1), torch.ones(2))


def _row(out: Teacher, second: bool, step: int) -> Tensor:
    """The logits of a sentence's step: packed positions are time-major, both sentences in the first two steps."""
    return out.logits[2 * step + second] if step < 2 else out.logits[4 + step - 2]


def test_a_full_mask_changes_nothing_and_none_takes_the_captions_path() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(embed=7, hidden=9, attention=8), 6, 12).eval()
    memory, token = torch.randn(2, 5, 6), torch.tensor([START, START])
    plain, masked = decoder.start(memory), decoder.start(memory, torch.ones(2, 5, dtype=torch.bool))
    assert plain.mask is None
    assert torch.allclose(decoder.step(token, plain)[0], decoder.step(token, masked)[0], atol=1e-6)
    with pytest.raises(ValueError, match="only soft attention"):
        build_decoder(DecoderConfig(kind="lstm"), 6, 12).start(memory, torch.ones(2, 5, dtype=torch.bool))


def test_a_gru_under_attention_equals_torchs() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(cell="gru", embed=7, hidden=9, attention=8, gate=False), 6, 12).eval()
    assert isinstance(decoder, SoftAttentionDecoder)
    memory = torch.randn(2, 5, 6)
    state = decoder.start(memory)
    assert state.cell.shape == (2, 0)
    inputs = decoder.inputs(torch.tensor([4, 5]))
    features, _, _ = decoder.advance(inputs, state)
    plain, _ = decoder.attention(state.hidden, state.memory, state.keys)
    context = plain * decoder.norm.weight + decoder.norm.bias
    cell = torch.nn.GRUCell(27, 9)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.eye(27))
        cell.bias_ih.zero_()
        cell.weight_hh.copy_(decoder.cell.recurrent.weight)
        cell.bias_hh.copy_(decoder.cell.recurrent.bias)
    expected = cell(inputs + decoder.context(context), state.hidden)
    assert torch.allclose(features, expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "cell"), KINDS)
def test_wide_beam_equals_exhaustive_search(kind: str, cell: str) -> None:
    """Over sentences of unlike length in one batch; each alone, every target of up to four words by teacher forcing."""
    model = network(kind, cell)
    found = beam_search(model, pad([LONG, SHORT]), beam=200, max_len=4, length_power=0.7, n_best=5)
    for source, captions in zip((LONG, SHORT), found, strict=True):
        best = sorted((pair for n in range(1, 5) for pair in _scored(model, source, n)), reverse=True)[:5]
        assert [c.tokens for c in captions] == [tokens for _, tokens in best]
        assert [c.score for c in captions] == pytest.approx([score for score, _ in best], abs=1e-4)


def _scored(model: TranslationModel, source: list[int], words: int) -> list[tuple[float, list[int]]]:
    """Every target of so many words with its score; packed positions are time-major."""
    targets = [[START, *own, END] for own in itertools.product(range(4, 7), repeat=words)]
    with torch.no_grad():
        out = model(torch.tensor([source] * len(targets)), pad(targets))
    losses = torch.nn.functional.cross_entropy(out.logits, out.targets, reduction="none")
    totals = losses.view(words + 1, -1).sum(0) / (words + 1) ** 0.7
    own = out.targets.view(words + 1, -1)[:-1].T
    return [(-total, tokens) for total, tokens in zip(totals.tolist(), own.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (TranslatorConfig(decoder=DecoderConfig(kind="adaptive")), "no visual sentinel"),
        (TranslatorConfig(source=SourceConfig(cell="rnn")), "source.cell is 'rnn'"),
        (TranslatorConfig(decoder=DecoderConfig(kind="lstm", cell="gru")), "has no cell 'gru'"),
    ],
)
def test_a_network_that_there_is_not(config: TranslatorConfig, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TranslationModel(config, 10, 10)


def test_saved_and_loaded_it_translates_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded, numpy translates, in float32."""
    monkeypatch.setattr("vsearch.device.fast_bf16", lambda device: False)
    own = tiny_translator()
    own = Translator(own.model, own.source, own.target)  # another test may have had this one translate in bfloat16
    config = own.save(tmp_path)
    loaded = Translator.load(tmp_path, "cpu")
    assert isinstance(loaded.model, NumpyTranslation) and isinstance(own.model, TranslationModel)
    assert loaded.model.config == config and len(config.identity) == 64
    with pytest.raises(ValueError, match="only a model of torch is saved"):
        loaded.save(tmp_path)
    before, after = own.translate(SOURCE[:3]), loaded.translate(SOURCE[:3])
    assert [t.text for t in after] == [t.text for t in before]
    for one in after:
        assert one.attention is not None and one.attention.shape == (len(one.target), len(one.source))
        assert one.attention.sum(1) == pytest.approx(np.ones(len(one.target)), abs=0.02)
        assert one.source[-1] == "(end)" and "<unk>" not in one.text


def test_in_eight_bits_matrices_come_back_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.device.fast_bf16", lambda device: False)
    monkeypatch.setattr("vsearch.storage.codes.SMALLEST", 64)  # the toy's matrices are small
    own = tiny_translator()
    half, eight = own.save(tmp_path / "half"), own.save(tmp_path / "eight", eight_bits=True)
    assert (half.format, eight.format) == (1, 2) and half.identity != eight.identity
    kinds = [{name: a.dtype for name, a in modelfolder.read_arrays(tmp_path / f).items()} for f in ("half", "eight")]
    assert np.float16 in kinds[0].values() and kinds[1]["source.embedding.weight.q"] == np.uint8
    assert isinstance(own.model, TranslationModel)
    kept = rounded(own.model.state_dict())
    ours, torchs = Translator.load(tmp_path / "eight", "cpu"), _torchs(tmp_path / "eight", monkeypatch)
    assert isinstance(ours.model, NumpyTranslation) and isinstance(torchs.model, TranslationModel)
    state = torchs.model.state_dict()
    coded = [name for name, tensor in kept.items() if tensor.ndim > 1 and tensor.numel() >= 64]
    assert coded and all(torch.equal(state[name], kept[name]) for name in coded)
    assert [t.text for t in ours.translate(SOURCE[:3])] == [t.text for t in torchs.translate(SOURCE[:3])]


def _torchs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Translator:
    """The translator in `folder` as torch runs it."""
    with monkeypatch.context() as patch:
        patch.setattr("vsearch.networks.fast.numpy_translation.runs", lambda config: False)
        return Translator.load(folder, "cpu")


def test_a_translation_does_not_depend_on_its_neighbours() -> None:
    own = tiny_translator()
    together = own.translate([SOURCE[4], SOURCE[0], " ".join(SOURCE[:3])])
    assert [t.text for t in together] == [
        own.translate([s])[0].text for s in (SOURCE[4], SOURCE[0], " ".join(SOURCE[:3]))
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no word"),
        (" ?! ", "there is no word"),
        ("chien " * 200, "a sentence of 200 words and signs is too long: at most 100"),
        ("un собака court", "'с' is no letter of French"),
        ("Hund Katze Maus", "not known: hund, katze, maus"),
    ],
)
def test_what_cannot_be_translated_is_refused(text: str, told: str) -> None:
    with pytest.raises(QueryError, match=told) as caught:
        tiny_translator().translate([SOURCE[0], text])
    assert caught.value.hint


def test_folders_of_another_kind_are_refused_both_ways(tmp_path: Path) -> None:
    tiny_translator().save(tmp_path / "fr-en")
    with pytest.raises(ModelError, match="holds a translator, no model of pictures"):
        modelfolder.load(tmp_path / "fr-en", "cpu")
    with pytest.raises(ModelError, match="holds no translator"):
        Translator.load(model_folder(), "cpu")
    with pytest.raises(ModelError, match="no model folder"):
        Translator.load(tmp_path / "nowhere", "cpu")


def test_other_weights_than_the_configs_are_refused(tmp_path: Path) -> None:
    tiny_translator().save(tmp_path)
    table = json.loads((tmp_path / "config.json").read_text("utf-8"))
    for change, told in (
        ({"identity": "0" * 64}, "other than its config"),
        ({"format": 9}, "format 9"),
        ({"x": 1}, "'x'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**table, **change}), "utf-8")
        with pytest.raises(VsearchError, match=told):
            Translator.load(tmp_path, "cpu")


def test_find_names_what_there_is(tmp_path: Path) -> None:
    tiny_translator().save(tmp_path)
    assert find("fr", "en", tmp_path) == tmp_path
    with pytest.raises(ModelError, match="translates from fr to en, not de to en"):
        find("de", "en", tmp_path)
    with pytest.raises(ConfigError, match="unknown language 'xx'") as caught:
        find("xx", "en", tmp_path)
    assert "fr (French)" in caught.value.hint
    with pytest.raises(ModelError, match="no translator from en to de comes with vsearch") as missing:
        find("en", "de")
    assert "`Translator.load`" in missing.value.hint


def test_the_toy_language_is_what_it_says() -> None:
    assert len(SOURCE) == len(TARGET) == len(set(SOURCE)) == 30


def test_without_attention_torch_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tiny_translator()
    config = TranslatorConfig(source_language="fr", decoder=DecoderConfig(kind="gru", embed=8, hidden=12, max_len=6))
    torch.manual_seed(1)
    sizes = len(own.source.vocabulary), len(own.target.vocabulary)
    Translator(TranslationModel(config, *sizes), own.source, own.target).save(tmp_path)
    loaded = Translator.load(tmp_path, "cpu")
    assert isinstance(loaded.model, TranslationModel) and loaded.translate(SOURCE[:1])[0].attention is None
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(VsearchError, match="takes torch, which is not installed"):
        Translator.load(tmp_path, "cpu")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tiny_translator().save(tmp_path)
    (tmp_path / "target.json").write_text('["dog"]', "utf-8")
    with pytest.raises(ModelError, match=r"do not fit its config\.json: 10 words come out"):
        Translator.load(tmp_path, "cpu")
