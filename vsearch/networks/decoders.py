"""The kinds of caption decoder: Show and Tell, Show, Attend and Tell, and adaptive attention.

Shapes: see `vsearch.networks`; G gates of the cell.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError
from vsearch.networks.attention import Attention
from vsearch.networks.cells import GATES, Cell
from vsearch.networks.decoder import Decoder, State
from vsearch.networks.projection import CaptionProjection

KINDS = ("soft", "adaptive", *GATES)
NO_VECTOR = "this decoder takes no vectors of its pictures"


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
        if config.centroids:
            self.projection = CaptionProjection(config.centroids, config.vector, config.centroid_temperature)

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
    """Build the decoder `config.kind` over cells of `channels`, for a vocabulary of that many words."""
    if config.cell not in (("lstm", "gru") if config.kind == "soft" else ("lstm",)):
        raise ConfigError(f"a {config.kind} decoder has no cell {config.cell!r}", "lstm; of kind soft also gru")
    if config.kind != "soft" and (config.vector or config.cells):
        raise ConfigError(f"a {config.kind} decoder takes no vector and maps no cells", "kind soft does")
    if config.centroids and (not config.vector or config.centroid_temperature <= 0):
        raise ConfigError("decoder.centroids needs decoder.vector and a temperature above 0", "or take centroids 0")
    if config.kind == "soft":
        return SoftAttentionDecoder(config, channels, vocabulary)
    if config.kind == "adaptive":
        return AdaptiveDecoder(config, channels, vocabulary)
    if config.kind in GATES:
        return PlainDecoder(config, channels, vocabulary)
    raise ConfigError(f"unknown decoder {config.kind!r}", f"known: {', '.join(KINDS)}")


def _mean(memory: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean (B, C) of the cells of `memory` (B, N, C), of those in `mask` (B, N) only; none of them: zero."""
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
