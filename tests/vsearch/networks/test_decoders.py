"""Every decoder against a naive re-statement, in value and gradient, at uneven lengths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError
from vsearch.networks.cells import Cell, TiedOutput
from vsearch.networks.decoder import Decoder, State
from vsearch.networks.decoders import KINDS, AdaptiveDecoder, SoftAttentionDecoder, build_decoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.training import speed_up
from vsearch.text.vocab import END, START

B, N, C, V, H = 5, 4, 6, 11, 7
LENGTHS = torch.tensor([4, 7, 3, 7, 5])
CAPTIONS = torch.tensor(
    [
        [START, 4, 5, END, 0, 0, 0, 0],
        [START, 6, 7, 8, 9, 10, END, 0],
        [START, 5, END, 0, 0, 0, 0, 0],
        [START, 4, 4, 9, 9, 5, END, 0],
        [START, 10, 6, 4, END, 0, 0, 0],
    ]
)


def make(kind: str, dropout: float = 0.0, **settings: object) -> Decoder:
    torch.manual_seed(3)
    sizes = {"embed": 8, "hidden": H, "attention": 9, "dropout": dropout, **settings}
    return build_decoder(DecoderConfig(kind=kind, **sizes), C, V).eval()  # type: ignore[arg-type]


def memory(count: int = B) -> Tensor:
    return torch.randn(count, N, C, generator=torch.Generator().manual_seed(5))


def one_by_one(model: Decoder, cells: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
    """For each caption alone the logits (len - 1, V) and maps (len - 1, N), word after word."""
    logits: list[Tensor] = []
    maps: list[Tensor | None] = []
    for b in range(B):
        state, rows, weights = model.start(cells[b : b + 1]), [], []
        for t in range(int(LENGTHS[b]) - 1):
            out, state, attention = model.step(CAPTIONS[b, t : t + 1], state)
            rows.append(out)
            if attention is not None:
                weights.append(attention)
        logits.append(torch.cat(rows))
        maps.append(torch.cat(weights) if weights else None)
    return logits, maps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scoring", ["additive", "tanh", "dot"])
@pytest.mark.parametrize("fast", [False, True])
def test_teacher_forcing_equals_word_by_word(kind: str, scoring: str, fast: bool) -> None:
    model, cells = make(kind, scoring=scoring), memory().requires_grad_()
    logits, maps = one_by_one(model, cells)
    targets = [CAPTIONS[b, 1 : LENGTHS[b]] for b in range(B)]
    slow = F.cross_entropy(torch.cat(logits), torch.cat(targets), reduction="sum")
    torch.autograd.backward(slow)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    cells_gradient, cells.grad = cells.grad, None
    model.zero_grad()

    out = (speed_up(model) if fast else model)(cells, CAPTIONS, LENGTHS)
    loss = F.cross_entropy(out.logits, out.targets, reduction="sum")
    torch.autograd.backward(loss)
    assert sorted(out.targets.tolist()) == sorted(torch.cat(targets).tolist())  # every word and end mark, no pad
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(cells.grad, cells_gradient, rtol=1e-4, atol=1e-5)
    if maps[0] is None:
        assert out.attention is None
        return
    cells_seen = N + 1 if kind == "adaptive" else N
    assert out.attention is not None and out.attention.shape == (B, int(LENGTHS.max()) - 1, cells_seen)
    for b in range(B):
        steps = int(LENGTHS[b]) - 1
        torch.testing.assert_close(out.attention[b, :steps], maps[b])
        assert (out.attention[b, steps:] == 0).all()
        torch.testing.assert_close(out.attention[b, :steps].sum(-1), torch.ones(steps))


def test_captions_are_shifted_by_one_word() -> None:
    """Of <start> 4 5 <end> and <start> 6 <end>, by time and, in it, by length; the last step has one row."""
    captions = torch.tensor([[START, 6, END, 0, 0], [START, 4, 5, END, 0]])
    read, said = Decoder.shifted(captions, torch.tensor([3, 4]))
    assert read.data.tolist() == [START, START, 4, 6, 5]
    assert said.data.tolist() == [4, 6, 5, END, END]
    for one in (read, said):
        assert one.batch_sizes.tolist() == [2, 2, 1] and one.sorted_indices is not None
        assert one.sorted_indices.tolist() == [1, 0]


def test_packed_order_is_by_time_then_length() -> None:
    """Lengths 4, 7, 3 sort to rows 1, 0, 2: their first words, then the second ones, ..."""
    out = make("soft")(memory(3), CAPTIONS[:3], LENGTHS[:3])
    assert out.targets.tolist() == [6, 4, 5, 7, 5, END, 8, END, 9, 10, END]


def test_no_work_on_pads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths 7, 7, 5, 4, 3 have 6, 6, 4, 3 and 2 words to tell: steps shrink, 24 rows reach the output."""
    model, rows = make("soft"), list[int]()

    def advance(inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        rows.append(len(inputs))
        return type(model).advance(model, inputs, state)

    monkeypatch.setattr(model, "advance", advance)
    assert len(model(memory(), CAPTIONS, LENGTHS).logits) == 6 + 6 + 4 + 3 + 2
    assert rows == [5, 5, 4, 3, 2, 2]


@pytest.mark.parametrize("kind", ["soft", "adaptive", "gru"])
def test_gradients_in_bfloat16_point_the_same_way(kind: str) -> None:
    model, found = speed_up(make(kind)), list[dict[str, Tensor]]()
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = model(memory(), CAPTIONS, LENGTHS)
        torch.autograd.backward(F.cross_entropy(out.logits.float(), out.targets))
        found.append({name: p.grad.flatten() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() == dict(model.named_parameters()).keys()
    for name, exact in found[0].items():
        if exact.norm() > 1e-4:
            assert F.cosine_similarity(exact, found[1][name], dim=0) > 0.97, name


@pytest.mark.parametrize("kind", KINDS)
def test_captions_may_share_a_picture(kind: str) -> None:
    model, cells, rows = make(kind), memory(2), torch.tensor([1, 0, 0, 1, 1])
    shared, repeated = model(cells, CAPTIONS, LENGTHS, rows=rows), model(cells[rows], CAPTIONS, LENGTHS)
    torch.testing.assert_close(shared.logits, repeated.logits)
    assert (shared.attention is None) == (repeated.attention is None)
    if shared.attention is not None:
        torch.testing.assert_close(shared.attention, repeated.attention)


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_share_memory_without_a_copy(kind: str) -> None:
    """Three hypotheses of each picture in one step equal three steps over the same memory."""
    model = make(kind)
    state = model.start(memory(2))
    rows = torch.tensor([0, 0, 0, 1, 1, 1])
    wide, token = state.select(rows), torch.tensor([4, 5, 6, 7, 8, 9])
    assert wide.memory is state.memory and wide.keys is state.keys
    logits, after, attention = model.step(token, wide)
    copied_logits, copied_after, copied_attention = model.step(token, state.select(rows, rows))
    torch.testing.assert_close(logits, copied_logits)
    torch.testing.assert_close(after.hidden, copied_after.hidden)
    if attention is not None:
        assert copied_attention is not None
        torch.testing.assert_close(attention, copied_attention)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    model = make(kind, dropout=0.3).train()
    out = model(memory(), CAPTIONS, LENGTHS)
    torch.autograd.backward(F.cross_entropy(out.logits, out.targets))
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    without = {n for n, p in model.named_parameters() if p.grad is not None and not p.grad.any()}
    assert without <= {"attention.key.bias", "initial.bias"}, without  # batch norm takes off what a bias adds before it


@pytest.mark.parametrize(
    ("kind", "theirs"), [("rnn", nn.RNNCell(5, H)), ("gru", nn.GRUCell(5, H)), ("lstm", nn.LSTMCell(5, H))]
)
def test_cells_equal_torchs(kind: str, theirs: nn.RNNCell | nn.GRUCell | nn.LSTMCell) -> None:
    cell = Cell(kind, H)
    cell.recurrent.load_state_dict({"weight": theirs.weight_hh, "bias": theirs.bias_hh})
    x, h, c = torch.randn(3, 5), torch.randn(3, H), torch.randn(3, H)
    hidden, memory_cell = cell(F.linear(x, theirs.weight_ih, theirs.bias_ih), h, c)
    if isinstance(theirs, nn.LSTMCell):
        expected, expected_cell = theirs(x, (h, c))
        torch.testing.assert_close(memory_cell, expected_cell)
    else:
        expected = theirs(x, h)
    torch.testing.assert_close(hidden, expected)


def test_soft_attention_is_the_papers() -> None:
    """One step, written out: e = v . relu(W_k a + W_q h), alpha = softmax(e), gated sum, LSTM over [word; context]."""
    model = make("soft")
    assert isinstance(model, SoftAttentionDecoder) and model.gate is not None
    a = model.norm(memory(1))[0]  # (N, C)
    h, c = model.initial(a.mean(0)).chunk(2)
    query, score = model.attention.query(h), model.attention.score
    assert score is not None
    e = torch.stack([score((model.attention.key(cell) + query).relu()) for cell in a]).squeeze(-1)
    alpha = e.exp() / e.exp().sum()
    context = model.gate(h).sigmoid() * sum(w * cell for w, cell in zip(alpha, a, strict=True))
    lstm = nn.LSTMCell(8 + C, H)
    lstm.load_state_dict(
        {
            "weight_ih": torch.cat([model.input.weight, model.context.weight], 1),
            "bias_ih": model.input.bias,
            "weight_hh": model.cell.recurrent.weight,
            "bias_hh": model.cell.recurrent.bias,
        }
    )
    hidden, _ = lstm(torch.cat([model.embedding.weight[5], context])[None], (h[None], c[None]))
    logits, state, weights = model.step(torch.tensor([5]), model.start(memory(1)))
    torch.testing.assert_close(weights, alpha[None])
    torch.testing.assert_close(state.hidden, hidden)
    torch.testing.assert_close(logits, model.output(hidden))


def test_adaptive_attention_is_the_papers() -> None:
    """One step of Lu et al. 2017: eq. 9 and 10 (sentinel), 12 (attention over cells and sentinel), 11 (mixture), 13."""
    model = make("adaptive")
    assert isinstance(model, AdaptiveDecoder)
    a = model.norm(memory(1))[0]
    v, v_g = model.cells(a).relu(), model.whole(a.mean(0)).relu()
    h0, c0 = model.initial(a.mean(0)).chunk(2)
    x = model.input(model.embedding.weight[6]) + model.image(v_g)  # W_x [w; v_g], for the gates and the sentinel's
    h, m = model.cell(x[None, : 4 * H], h0[None], c0[None])
    s = torch.sigmoid(x[4 * H :] + model.sentinel(h0)) * torch.tanh(m[0])
    query, score = model.attention.query(h[0]), model.attention.score
    assert score is not None
    keys = [*model.attention.key(v), model.sentinel_key(s)]
    z = torch.cat([score((key + query).relu()) for key in keys])
    alpha = z.softmax(0)
    beta = alpha[-1]
    c_t = (alpha[:-1, None] / (1 - beta) * v).sum(0)
    logits, _, weights = model.step(torch.tensor([6]), model.start(memory(1)))
    torch.testing.assert_close(weights, alpha[None])
    torch.testing.assert_close(logits, model.output(beta * s + (1 - beta) * c_t + h[0])[None])


def test_show_and_tell_starts_from_the_batch_normed_mean() -> None:
    model = make("gru").train()
    hidden = model.start(memory()).hidden
    torch.testing.assert_close(hidden.mean(0), torch.zeros(H), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden.var(0, unbiased=False), torch.ones(H), atol=1e-2, rtol=0)


def test_scheduled_sampling_feeds_the_decoders_own_guesses() -> None:
    """Always sampling, the inputs after the first are the arg max of the step before, whatever the caption says."""
    model, cells = make("soft"), memory()
    out = model(cells, CAPTIONS, LENGTHS, sample_probability=1.0)
    order = torch.sort(LENGTHS, descending=True, stable=True).indices
    state, token = model.start(cells[order]), CAPTIONS[order, 0]
    sizes = [int((LENGTHS > t + 1).sum()) for t in range(int(LENGTHS.max()) - 1)]
    for expected, size in zip(torch.split(out.logits, sizes), sizes, strict=True):
        logits, state, _ = model.step(token, state)
        torch.testing.assert_close(expected, logits[:size])
        token = logits.argmax(-1)
    fed = model(cells, CAPTIONS, LENGTHS).logits
    assert not torch.allclose(fed, out.logits)


def test_scheduled_sampling_mixes_in_proportion() -> None:
    model = make("lstm")
    given, features = torch.full((20_000,), 4), torch.randn(1, H).expand(20_000, H)
    with torch.no_grad():
        model.output.bias[9] += 100
    mixed = model._mix(given, [features], 0.3)
    assert set(mixed.tolist()) == {4, 9}
    assert (mixed == 9).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert model._mix(given, [], 1.0) is given  # there is no guess before the first word


def test_dropout_acts_in_training_only() -> None:
    model = make("soft", dropout=0.5)
    assert torch.equal(model(memory(), CAPTIONS, LENGTHS).logits, model(memory(), CAPTIONS, LENGTHS).logits)
    model.train()
    assert not torch.equal(model(memory(), CAPTIONS, LENGTHS).logits, model(memory(), CAPTIONS, LENGTHS).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_dropout_takes_channels_from_all_cells_of_a_picture(kind: str) -> None:
    model, cells = make(kind, memory_dropout=0.25), torch.ones(2_000, N, C)
    assert torch.equal(model.thinned(cells), cells)
    thinned = model.train().thinned(cells)  # (B, N, C)
    assert (thinned == thinned[:, :1]).all()
    assert sorted(set(thinned.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert (thinned == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    first = [model(memory(), CAPTIONS, LENGTHS).logits for _ in range(2)]
    assert not torch.equal(*first)


def test_without_gate_there_are_no_gate_weights() -> None:
    names = [name for name, _ in make("soft", gate=False).named_parameters()]
    assert not [name for name in names if name.startswith("gate")]


def test_bfloat16_logits_stay_exact_enough_to_rank() -> None:
    model, state = make("soft"), make("soft").start(memory())
    with torch.autocast("cpu", torch.bfloat16):
        logits, _, _ = model.step(CAPTIONS[:, 0], state)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model.step(CAPTIONS[:, 0], state)[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_tied_output_is_the_embedding_again(kind: str) -> None:
    """Logits are project(features) . embedding + bias; the matrix is saved once and learns from both of its uses."""
    model = make(kind, tied=True)
    assert sum(1 for name in model.state_dict() if "embedding" in name) == 1
    features, _, _ = model.advance(model.inputs(torch.tensor([START] * B)), model.start(memory()))
    logits, _, _ = model.step(torch.tensor([START] * B), model.start(memory()))
    assert isinstance(model.output, TiedOutput)
    projected = features @ model.output.project.weight.T
    torch.testing.assert_close(logits, projected @ model.embedding.weight.T + model.output.bias)
    torch.testing.assert_close(logits, F.linear(features, model.output.weight, model.output.bias))
    out = model.train()(memory(), CAPTIONS, LENGTHS)
    torch.autograd.backward(F.cross_entropy(out.logits, out.targets))
    never = sorted(set(range(V)) - set(CAPTIONS[:, :-1].flatten().tolist()))
    assert never and model.embedding.weight.grad is not None
    assert model.embedding.weight.grad[never].abs().sum(1).min() > 0  # no input word, but a word not to say
    fast = QuickDecoder(model, half=True).decoder
    assert isinstance(fast.output, TiedOutput) and fast.output.project.weight.dtype == torch.float32
    assert fast.cell.recurrent.weight.dtype == torch.bfloat16  # type: ignore[union-attr]


@pytest.mark.parametrize("settings", [{"kind": "transformer"}, {"kind": "soft", "scoring": "cosine"}])
def test_unknown_kinds_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"transformer|cosine") as caught:
        build_decoder(DecoderConfig(**settings), C, V)  # type: ignore[arg-type]
    assert "known:" in caught.value.hint
