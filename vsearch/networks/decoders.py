"""Caption decoders behind one protocol: `start(memory) -> state`, `step(token, state) -> logits, state, attention`.

Shapes: see `vsearch.networks`; G gates of the cell, M captions of a batch, and P their words and end marks, time-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError
from vsearch.networks.attention import Attention
from vsearch.networks.cells import GATES, Cell, TiedOutput
from vsearch.networks.fast.step_gradients import teaching_kernels
from vsearch.networks.kernels import PLAIN, Kernels

KINDS = ("soft", "adaptive", *GATES)
NO_VECTOR = "this decoder takes no vectors of its pictures"


class State(NamedTuple):
    """What a decoder carries from step to step. Parts a decoder has no use for have size zero."""

    hidden: Tensor  # (R, H)
    cell: Tensor  # (R, H)
    memory: Tensor  # (B, N, C)
    keys: Tensor  # (B, N, A)
    image: Tensor  # (B, G) what the whole picture adds to the gates in every step
    mask: Tensor | None = None  # (B, N) True where the memory holds something; None: everywhere
    kernels: Kernels = PLAIN  # what the steps are computed with

    def select(self, rows: Tensor, pictures: Tensor | None = None) -> State:
        """Return the hypotheses `rows` of the pictures `pictures`; None: of all, without a copy of their memory."""
        state = self._replace(hidden=self.hidden[rows], cell=self.cell[rows])
        return state if pictures is None else state._of(pictures)

    def first(self, size: int) -> State:
        """Return the first `size` rows, one hypothesis for each picture, as views."""
        if len(self.hidden) == size:
            return self
        return self._replace(hidden=self.hidden[:size], cell=self.cell[:size])._of(slice(size))

    def _of(self, pictures: Tensor | slice) -> State:
        """Keep what is of the `pictures`."""
        memory, keys, image = self.memory[pictures], self.keys[pictures], self.image[pictures]
        mask = None if self.mask is None else self.mask[pictures]
        return self._replace(memory=memory, keys=keys, image=image, mask=mask)


class Teacher(NamedTuple):
    """The outcome of teacher forcing, without pads."""

    logits: Tensor  # (P, V)
    targets: Tensor  # (P,)
    attention: Tensor | None  # (B, T, N) in the order of the batch, zero after a caption's end


class Decoder(nn.Module):
    """What all decoders share: embedding, output layer, one step, and teacher forcing over packed captions."""

    def __init__(self, config: DecoderConfig, vocabulary: int, gates: int) -> None:
        super().__init__()
        self.config = config
        self.attention: Attention | None = None
        self.embedding = nn.Embedding(vocabulary, config.embed)
        self.input = nn.Linear(config.embed, gates)
        self.dropout = nn.Dropout(config.dropout)
        self.output: nn.Linear | TiedOutput = nn.Linear(config.hidden, vocabulary)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)
        if config.tied:
            self.output = TiedOutput(self.embedding, config.hidden)

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        """The state before the first word, one row for each picture of `memory` (B, N, C).

        `mask` (B, N), where the decoder takes one, is False in the cells that are padding; `vector` (B, D) is the
        picture's place among words, where the decoder takes one. Raises ValueError where not.
        """
        raise NotImplementedError

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """One step from the gates' input part (R, G): features of the next word (R, H), state, attention (R, N)."""
        raise NotImplementedError

    def thinned(self, cells: Tensor) -> Tensor:
        """Cells (B, N, C); in training without some of a picture's channels, the same ones in all of its cells."""
        return F.dropout1d(cells.transpose(1, 2), self.config.memory_dropout, self.training).transpose(1, 2)

    def inputs(self, tokens: Tensor) -> Tensor:
        """Token ids (...,) -> the words' part of the gates (..., G)."""
        return cast(Tensor, self.input(self.dropout(self.embedding(tokens))))

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Feed `token` (R,) -> logits of the next one (R, V), the new state, attention (R, N) or None.

        R is a multiple of the pictures in `state`; rows of one picture are adjacent.
        """
        features, state, attention = self.advance(self.inputs(token), state)
        return self.logits(features), state, attention

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (R, V) of features (R, H) in float32: bfloat16 is too coarse to rank words by."""
        with torch.autocast(features.device.type, enabled=False):
            return cast(Tensor, self.output(self.dropout(features.float())))

    def forward(
        self,
        memory: Tensor,
        captions: Tensor,
        lengths: Tensor,
        rows: Tensor | None = None,
        sample_probability: float = 0.0,
        mask: Tensor | None = None,
        vector: Tensor | None = None,
    ) -> Teacher:
        """Teacher forcing: `captions` (M, L) with start and end, `lengths` (M,) counting both, over `memory` (B, N, C).

        `rows` (M,) names the memory row of each caption, so that several captions share one picture; None: M = B and in
        order. With `sample_probability` an input word after the first is, that often, the decoder's own last guess
        instead of the caption's word (scheduled sampling, Bengio et al. 2015). `mask` and `vector` are
        those of `start`.
        """
        words, targets = pack(captions[:, :-1], lengths), pack(captions[:, 1:], lengths)
        sizes = words.batch_sizes.tolist()
        order = cast(Tensor, words.sorted_indices)
        state = self.start(memory, mask, vector)
        state = state.select(*[order if rows is None else rows[order]] * 2)
        kernels = teaching_kernels(state.keys, state.memory, self.attention if memory.shape[1] else None)
        state = state._replace(kernels=kernels)
        if sample_probability:
            features, attention = self._sampled(torch.split(words.data, sizes), state, sample_probability)
        else:
            inputs = kernels.rows(self.inputs, words.data)  # (P, G)
            features, attention = self.follow(torch.split(inputs, sizes), state)
        logits = kernels.rows(lambda rows: cast(Tensor, self.output(self.dropout(rows))), torch.cat(features))  # (P, V)
        return Teacher(logits, targets.data, _unpack(torch.cat(attention), words) if attention else None)

    def follow(self, inputs: Sequence[Tensor], state: State) -> tuple[list[Tensor], list[Tensor]]:
        """All steps of teacher forcing: the gates' input parts, (R, G) of each step with R falling -> features (R, H)
        and attention (R, N), if any, of each step."""
        features, attention = [], []
        for step in inputs:
            out, state, weights = self.advance(step, state.first(len(step)))
            features.append(out)
            attention += [] if weights is None else [weights]
        return features, attention

    def _sampled(self, given: Sequence[Tensor], state: State, probability: float) -> tuple[list[Tensor], list[Tensor]]:
        """As `follow`, with some of the words `given` (R,) of each step replaced by the last step's best guess."""
        features: list[Tensor] = []
        attention = []
        for words in given:
            inputs = self.inputs(self._mix(words, features, probability))
            out, state, weights = self.advance(inputs, state.first(len(words)))
            features.append(out)
            attention += [] if weights is None else [weights]
        return features, attention

    def _mix(self, given: Tensor, features: list[Tensor], probability: float) -> Tensor:
        """The words `given` (R,), some replaced by the best guess from the last step's features."""
        if not features:
            return given
        with torch.no_grad():
            guess = self.output(features[-1][: len(given)]).argmax(-1)
        return torch.where(torch.rand(given.shape, device=given.device) < probability, guess, given)


class PlainDecoder(Decoder):
    """Show and Tell (Vinyals et al. 2015) with any cell; the picture only sets h0 = c0 = batchnorm(linear(mean))."""

    def __init__(self, config: DecoderConfig, channels: int, vocabulary: int) -> None:
        super().__init__(config, vocabulary, GATES[config.kind] * config.hidden)
        self.cell = Cell(config.kind, config.hidden)
        self.initial = nn.Linear(channels, config.hidden)
        self.initial_norm = nn.BatchNorm1d(config.hidden)

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        _refuse(mask, vector)
        hidden = self.initial_norm(self.initial(self.thinned(memory).mean(1))).float()  # (B, H)
        nothing = hidden.new_zeros(len(hidden), 0)
        return State(hidden, hidden, nothing[:, None], nothing[:, None], nothing)

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        hidden, cell = self.cell(inputs, state.hidden, state.cell, state.kernels)
        return hidden, state._replace(hidden=hidden, cell=cell), None


class SoftAttentionDecoder(Decoder):
    """Show, Attend and Tell (Xu et al. 2015, soft): an LSTM, or GRU, over [embedding; gated context; picture's vector].

    Cells of the memory are layer-normed; their mean, padding left out, gives the first state. The picture's vector,
    if `config.vector` is its size, adds to the first state and, in every step, to the gates. Next to a vector the
    memory may have no cells: nothing is attended to then, and the vector says it all.
    """

    def __init__(self, config: DecoderConfig, channels: int, vocabulary: int) -> None:
        gates = GATES[config.cell] * config.hidden
        super().__init__(config, vocabulary, gates)
        self.reduce = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.cells)) if config.cells else None
        channels = config.cells or channels
        first = (2 if config.cell == "lstm" else 1) * config.hidden
        self.norm = nn.LayerNorm(channels)
        self.initial = nn.Linear(channels, first)
        self.attention: Attention = Attention(channels, config.hidden, config.attention, config.scoring)
        self.gate = nn.Linear(config.hidden, channels) if config.gate else None
        self.context = nn.Linear(channels, gates, bias=False)
        self.cell = Cell(config.cell, config.hidden)
        self.vector = nn.Linear(config.vector, gates + first, bias=False) if config.vector else None

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        memory = memory.float() if self.reduce is None else self.reduce(memory.float()).float()
        plain = F.layer_norm(memory, memory.shape[-1:])  # without scale and shift, which `advance` applies
        plain = self.thinned(plain) if memory.shape[1] else plain
        memory = plain * self.norm.weight + self.norm.bias
        first = self.initial(_mean(memory, mask)).float()
        image = first.new_zeros(len(first), 0)
        if (vector is None) != (self.vector is None):
            raise ValueError("this decoder takes the vectors of its pictures" if vector is None else NO_VECTOR)
        if self.vector is not None:
            image, own = self.vector(vector).float().split([self.input.out_features, first.shape[1]], -1)
            first = first + own
        hidden, cell = first[:, : self.config.hidden], first[:, self.config.hidden :]  # a GRU's cell has size zero
        keys = self.attention.keys(memory)  # (B, N, A); under autocast the memory takes its dtype, once for all steps
        return State(hidden, cell, plain.to(keys.dtype), keys, image, mask)

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        kernels, weights = state.kernels, None
        if self.vector is not None:
            inputs = (inputs.view(len(state.image), -1, inputs.shape[-1]) + state.image[:, None]).flatten(0, 1)
        if state.memory.shape[1]:
            plain, weights = self.attention(state.hidden, state.memory, state.keys, state.mask, kernels)
            context = plain * self.norm.weight + self.norm.bias  # the weights sum to one: as if cells had been scaled
            if self.gate is not None:
                context = kernels.linear(self.gate, state.hidden).sigmoid() * context  # (R, C), Xu et al. 4.2.1
            inputs = inputs + kernels.linear(self.context, context)
        hidden, cell = self.cell(inputs, state.hidden, state.cell, kernels)
        return hidden, state._replace(hidden=hidden, cell=cell), weights


class AdaptiveDecoder(Decoder):
    """Adaptive attention with a visual sentinel (Lu et al. 2017, eq. 6 to 13).

    The attention (R, N + 1) is over the cells and, last, the sentinel: how much the word owes to language alone.
    """

    def __init__(self, config: DecoderConfig, channels: int, vocabulary: int) -> None:
        size = config.hidden
        super().__init__(config, vocabulary, 5 * size)  # four gates of the LSTM and the sentinel's
        self.norm = nn.LayerNorm(channels)
        self.cells = nn.Linear(channels, size)
        self.whole = nn.Linear(channels, size)
        self.image = nn.Linear(size, 5 * size, bias=False)
        self.initial = nn.Linear(channels, 2 * size)
        self.cell = Cell("lstm", size)
        self.sentinel = nn.Linear(size, size, bias=False)
        self.attention: Attention = Attention(size, size, config.attention, config.scoring)
        self.sentinel_key = nn.Linear(size, config.attention)

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        _refuse(mask, vector)
        memory = self.thinned(self.norm(memory.float()))
        mean = memory.mean(1)
        hidden, cell = self.initial(mean).float().chunk(2, -1)
        values = self.cells(self.dropout(memory)).relu()  # (B, N, H)
        image = self.image(self.dropout(self.whole(mean).relu()))  # (B, 5H)
        return State(hidden, cell, values, self.attention.keys(values), image)

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        size, beams, kernels = self.config.hidden, len(inputs) // len(state.image), state.kernels
        inputs = (inputs.view(-1, beams, 5 * size) + state.image[:, None]).flatten(0, 1)  # (R, 5H)
        gate = inputs[:, 4 * size :] + kernels.linear(self.sentinel, state.hidden)
        hidden, cell = self.cell(inputs[:, : 4 * size], state.hidden, state.cell, kernels)
        sentinel = gate.sigmoid() * cell.tanh()  # (R, H)
        own = kernels.linear(self.sentinel_key, self.dropout(sentinel))
        weights = self.attention.scores(self.dropout(hidden), state.keys, own, kernels).softmax(-1)  # (R, N + 1)
        context = kernels.weighted(weights[:, :-1], state.memory) + weights[:, -1:] * sentinel
        return context + hidden, state._replace(hidden=hidden, cell=cell), weights


def build_decoder(config: DecoderConfig, channels: int, vocabulary: int) -> Decoder:
    """The decoder `config.kind` over cells of `channels`, for a vocabulary of that many words."""
    if config.cell not in (("lstm", "gru") if config.kind == "soft" else ("lstm",)):
        raise ConfigError(f"a {config.kind} decoder has no cell {config.cell!r}", "lstm; of kind soft also gru")
    if config.kind != "soft" and (config.vector or config.cells):
        raise ConfigError(f"a {config.kind} decoder takes no vector and maps no cells", "kind soft does")
    if config.kind == "soft":
        return SoftAttentionDecoder(config, channels, vocabulary)
    if config.kind == "adaptive":
        return AdaptiveDecoder(config, channels, vocabulary)
    if config.kind in GATES:
        return PlainDecoder(config, channels, vocabulary)
    raise ConfigError(f"unknown decoder {config.kind!r}", f"known: {', '.join(KINDS)}")


def pack(steps: Tensor, lengths: Tensor) -> PackedSequence:
    """What belongs to the steps of M captions, (M, T, ...), in the order of `Teacher.logits`: time-major, the longest
    caption first. `lengths` (M,) are those of the captions, start and end mark counted: a step less each."""
    return pack_padded_sequence(steps, (lengths - 1).cpu(), batch_first=True, enforce_sorted=False)


def _unpack(data: Tensor, like: PackedSequence) -> Tensor:
    packed = PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
    return pad_packed_sequence(packed, batch_first=True)[0]


def _mean(memory: Tensor, mask: Tensor | None) -> Tensor:
    """The mean (B, C) of the cells of `memory` (B, N, C), of those in `mask` (B, N) only; none of them: zero."""
    if not memory.shape[1]:
        return memory.new_zeros(len(memory), memory.shape[2])
    if mask is None:
        return memory.mean(1)
    held = mask[..., None].to(memory.dtype)
    return (memory * held).sum(1) / held.sum(1).clamp(min=1)


def _refuse(mask: Tensor | None, vector: Tensor | None) -> None:
    if mask is not None:
        raise ValueError("only soft attention takes a mask of its memory")
    if vector is not None:
        raise ValueError(NO_VECTOR)
