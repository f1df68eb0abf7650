"""Beam search against exhaustive search, and what must not change a caption."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vsearch.captions.beam import beam_search, greedy, sample
from vsearch.config import DecoderConfig
from vsearch.networks.decoder import Decoder, State
from vsearch.networks.decoders import build_decoder
from vsearch.text.vocab import END, PAD, START, UNK

CHANNELS, CELLS = 6, 5


def decoder(kind: str = "soft", words: int = 3, seed: int = 0, end: float = 0.0, scale: float = 3) -> Decoder:
    """A random decoder over `words` words, peaked enough that captions differ; `end` goes to the end mark's logit."""
    torch.manual_seed(seed)
    model = build_decoder(DecoderConfig(kind=kind, embed=7, hidden=9, attention=8, dropout=0.5), CHANNELS, 4 + words)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        model.output.bias[END] += end
    return model.eval()


def pictures(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, CELLS, CHANNELS, generator=torch.Generator().manual_seed(seed)) * 2


def log_probability(model: Decoder, memory: Tensor, words: tuple[int, ...]) -> float:
    """By teacher forcing: the sum over the words and the end mark."""
    caption = torch.tensor([[START, *words, END]])
    with torch.no_grad():
        out = model(memory, caption, torch.tensor([caption.shape[1]]))
    return -float(torch.nn.functional.cross_entropy(out.logits.double(), out.targets, reduction="sum"))


def exhaustive(model: Decoder, memory: Tensor, words: int, max_len: int, power: float) -> list[tuple[float, list[int]]]:
    """Every caption with its score, best first, each length in one batch over the one picture."""
    found = []
    for n in range(1, max_len + 1):
        captions = torch.tensor([[START, *c, END] for c in itertools.product(range(4, 4 + words), repeat=n)])
        lengths, rows = torch.full((len(captions),), n + 2), torch.zeros(len(captions), dtype=torch.long)
        with torch.no_grad():
            out = model(memory, captions, lengths, rows=rows)
        losses = torch.nn.functional.cross_entropy(out.logits.double(), out.targets, reduction="none")
        totals = losses.view(n + 1, -1).sum(0) / (n + 1) ** power  # packed positions are time-major
        words_of = out.targets.view(n + 1, -1)[:-1].T
        found += [(-total, caption) for total, caption in zip(totals.tolist(), words_of.tolist(), strict=True)]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("kind", ["soft", "adaptive", "lstm", "gru"])
@pytest.mark.parametrize("power", [0.0, 0.7])
def test_wide_beam_equals_exhaustive_search(kind: str, power: float) -> None:
    model, memory = decoder(kind), pictures(3)
    results = beam_search(model, memory, beam=200, max_len=4, length_power=power, n_best=7)
    for i, captions in enumerate(results):
        best = exhaustive(model, memory[i : i + 1], 3, 4, power)[:7]
        assert [c.tokens for c in captions] == [tokens for _, tokens in best]
        assert [c.score for c in captions] == pytest.approx([score for score, _ in best], abs=1e-4)


def test_every_caption_is_found_when_all_are_asked_for() -> None:
    [captions] = beam_search(decoder(words=2), pictures(1), beam=3, max_len=3, n_best=100)
    assert len({tuple(c.tokens) for c in captions}) == len(captions) == 2 + 4 + 8  # all words^n, n = 1 to 3


def test_log_probability_is_the_whole_sentences() -> None:
    model, memory = decoder(words=20), pictures(4)
    for i, captions in enumerate(beam_search(model, memory, beam=4, max_len=6, length_power=0.5, n_best=3)):
        assert [c.score for c in captions] == sorted((c.score for c in captions), reverse=True)
        for caption in captions:
            expected = log_probability(model, memory[i : i + 1], tuple(caption.tokens))
            assert caption.log_probability == pytest.approx(expected, abs=1e-4)
            assert caption.score == pytest.approx(expected / math.sqrt(len(caption.tokens) + 1), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "scale", "end", "sharp"), [("soft", 1.5, 0, 10), ("adaptive", 1, 1, 20), ("lstm", 3, 0, 1)]
)
@pytest.mark.parametrize("block_repeats", [False, True])
def test_batch_size_never_changes_a_caption(
    kind: str, scale: float, end: float, sharp: float, block_repeats: bool
) -> None:
    model, memory = decoder(kind, words=30, end=end, scale=scale), pictures(24)
    with torch.no_grad():
        model.output.weight[END] *= sharp
    together = beam_search(model, memory, beam=4, max_len=12, n_best=2, block_repeats=block_repeats)
    assert len({len(captions[0].tokens) for captions in together}) > 3  # pictures leave the batch at different steps
    assert len({tuple(captions[0].tokens) for captions in together}) > 12
    for size in (1, 5):
        apart = [
            found
            for part in torch.split(memory, size)
            for found in beam_search(model, part, beam=4, max_len=12, n_best=2, block_repeats=block_repeats)
        ]
        assert [[c.tokens for c in found] for found in apart] == [[c.tokens for c in found] for found in together]
        for a, b in zip(apart, together, strict=True):
            assert [c.score for c in a] == pytest.approx([c.score for c in b], abs=1e-4)
            if kind != "lstm":
                assert a[0].attention == pytest.approx(b[0].attention, abs=1e-5)


def test_greedy_takes_the_best_word_of_each_step() -> None:
    model, memory = decoder(words=15), pictures(6)
    for i, caption in enumerate(greedy(model, memory, max_len=8)):
        state, token, expected = model.start(memory[i : i + 1]), START, []
        for t in range(8):
            logits, state, _ = model.step(torch.tensor([token]), state)
            logits[0, [PAD, START, UNK] + ([END] if t == 0 else [])] = -torch.inf
            token = int(logits.argmax())
            if token == END:
                break
            expected.append(token)
        assert caption.tokens == expected


def test_attention_is_that_of_the_captions_own_path() -> None:
    """Teacher forcing on the found caption must give the same maps as the search that found it."""
    for kind, cells in (("soft", CELLS), ("adaptive", CELLS + 1)):
        model, memory = decoder(kind, words=12), pictures(5)
        for i, [caption] in enumerate(beam_search(model, memory, beam=3, max_len=7)):
            ids = torch.tensor([[START, *caption.tokens, END]])
            attention = model(memory[i : i + 1], ids, torch.tensor([ids.shape[1]])).attention[0, :-1]
            assert caption.attention is not None
            assert caption.attention.shape == (len(caption.tokens), cells)
            assert caption.attention == pytest.approx(attention.detach().numpy(), abs=1e-5)
            assert (caption.sentinel is None) == (kind == "soft")
            if caption.sentinel is not None:
                assert caption.sentinel == pytest.approx(caption.attention[:, -1])


def test_never_ending_decoder_is_ended() -> None:
    model = decoder(words=6, end=-1e4)
    for captions in beam_search(model, pictures(3), beam=3, max_len=5, n_best=2):
        assert [len(c.tokens) for c in captions] == [5, 5]
        assert all(math.isfinite(c.log_probability) for c in captions)


def test_special_tokens_are_never_emitted() -> None:
    model = decoder(words=6)
    with torch.no_grad():
        model.output.bias[[PAD, START, UNK]] += 100
    for captions in beam_search(model, pictures(8), beam=3, max_len=6, n_best=3):
        assert all(token > UNK for c in captions for token in c.tokens)


def test_empty_caption_is_never_emitted() -> None:
    for captions in beam_search(decoder(words=6, end=100), pictures(3), beam=3, max_len=6, n_best=2):
        assert [len(c.tokens) for c in captions] == [1, 1]


def test_vocabulary_without_words_and_without_pictures() -> None:
    [[caption]] = beam_search(decoder(words=0), pictures(1), beam=3, max_len=4)
    assert (caption.tokens, caption.log_probability) == ([], -math.inf)
    assert beam_search(decoder(), pictures(0)) == []


def test_decoder_that_gives_nan_does_not_crash() -> None:
    model = decoder()
    with torch.no_grad():
        model.output.bias.fill_(torch.nan)
    assert [captions[0].tokens for captions in beam_search(model, pictures(2))] == [[], []]


def test_block_repeats() -> None:
    model, memory = decoder(words=4, end=-3), pictures(20)

    def repeats(tokens: list[int]) -> bool:
        pairs = list(itertools.pairwise(tokens))
        return any(a == b for a, b in pairs) or len(set(pairs)) < len(pairs)

    free = beam_search(model, memory, beam=3, max_len=9)
    blocked = beam_search(model, memory, beam=3, max_len=9, block_repeats=True)
    assert any(repeats(captions[0].tokens) for captions in free)
    assert not any(repeats(captions[0].tokens) for captions in blocked)


@pytest.mark.parametrize("sizes", [{"beam": 0}, {"max_len": 0}, {"n_best": 0}])
def test_sizes_below_one_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(decoder(), pictures(1), **sizes)  # type: ignore[arg-type]


class Scripted:
    """A decoder whose next-word probabilities depend only on the picture and the last word.

    `memory` (B, 1, 1) holds the number of the picture, `tables[picture][last word]` the probabilities of the next.
    """

    def __init__(self, tables: list[dict[int, dict[int, float]]], words: int) -> None:
        self.tables, self.words = tables, words
        self.asked: list[int] = []  # rows of each step

    def start(self, memory: Tensor) -> State:
        nothing = memory.new_zeros(len(memory), 0)
        return State(memory[:, 0], nothing, memory, memory, nothing)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, None]:
        self.asked.append(len(token))
        logits = torch.full((len(token), 4 + self.words), -torch.inf)
        for row, (picture, last) in enumerate(zip(state.hidden[:, 0].tolist(), token.tolist(), strict=True)):
            for word, probability in self.tables[int(picture)].get(last, {END: 1.0}).items():
                logits[row, word] = math.log(probability)
        return logits, state, None


EARLY = {START: {4: 0.51, 5: 0.49}, 4: {END: 0.6, 6: 0.4}, 5: {END: 0.6, 6: 0.4}}
LATE = {START: {4: 1.0}, 4: {5: 1.0}, 5: {6: 1.0}, 6: {7: 1.0}, 7: {END: 1.0}}


def test_search_of_a_picture_stops_at_as_many_captions_as_hypotheses() -> None:
    """With a beam of 2, "4" (0.306) and "5" (0.294) end first; "4 6" (0.2) comes too late, though length^3 favours it.

    That must hold next to a picture whose search goes on, too.
    """
    for numbers in ([0], [0, 1], [0, 1, 1, 1, 1]):  # of five pictures one done stays in the batch
        memory = torch.tensor(numbers, dtype=torch.float32)[:, None, None]
        found = beam_search(Scripted([EARLY, LATE], 4), memory, beam=2, max_len=6, length_power=3.0, n_best=2)
        assert [c.tokens for c in found[0]] == [[4], [5]]
        assert [c.score for c in found[0]] == pytest.approx([math.log(0.306) / 8, math.log(0.294) / 8])
        assert all(captions[0].tokens == [4, 5, 6, 7] for captions in found[1:])


def test_search_goes_on_while_an_open_hypothesis_can_overtake() -> None:
    """ "4" ends first with 0.4, and "5 6" wins with 0.6 * 1 * 0.9."""
    table = {START: {4: 0.4, 5: 0.6}, 4: {END: 1.0}, 5: {6: 1.0}, 6: {END: 0.9, 7: 0.1}}
    [[caption]] = beam_search(Scripted([table], 4), torch.zeros(1, 1, 1), beam=3, max_len=6, length_power=0.0)
    assert caption.tokens == [5, 6]
    assert caption.log_probability == pytest.approx(math.log(0.54))


def test_search_stops_early_and_finished_pictures_leave_the_batch() -> None:
    """Of four pictures three end after one word: the steps after that are of one picture, and stop with its end."""
    short = {START: {4: 1.0}, 4: {END: 1.0}}
    decoder = Scripted([short, LATE], 4)
    beam_search(decoder, torch.tensor([0.0, 0, 1, 0])[:, None, None], beam=2, max_len=50)
    assert decoder.asked[:2] == [4, 8]
    assert decoder.asked[2:] == [2, 2, 2]


def test_samples_follow_the_decoders_probabilities() -> None:
    """After the start 4 with 3/4 and 5 with 1/4; 4 ends at once, 5 never: it is cut off at three words."""
    table = {START: {4: 0.75, 5: 0.25}, 4: {END: 1.0}, 5: {5: 1.0}}
    torch.manual_seed(0)
    ids, lengths = sample(Scripted([table, table], 2), torch.zeros(2, 1, 1), 2_000, max_len=3)
    assert ids.shape == (2, 2_000, 5)
    kinds = {(4, END): [START, 4, END, PAD, PAD], (5, 5): [START, 5, 5, 5, PAD]}
    assert {tuple(row) for row in ids.flatten(0, 1).tolist()} == {tuple(v) for v in kinds.values()}
    ended = ids[..., 1] == 4
    assert (lengths[ended] == 3).all() and (lengths[~ended] == 4).all()
    assert ended.float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_sampling_stops_when_all_have_ended_and_draws_no_special() -> None:
    table = {START: {4: 1.0}, 4: {END: 1.0}}
    scripted = Scripted([table], 1)
    ids, _ = sample(scripted, torch.zeros(3, 1, 1), 2, max_len=50)
    assert scripted.asked == [6, 6] and ids.shape == (3, 2, 3)
    model = decoder(words=6)
    with torch.no_grad():
        model.output.bias[[PAD, START, UNK]] += 100
    drawn, lengths = sample(model, pictures(4), 5, max_len=6)
    assert (drawn[..., 1:] != START).all() and (drawn != UNK).all() and (drawn[..., 1] > UNK).all()
    assert ((drawn != PAD).sum(-1) == lengths).all()
