"""What all caption decoders share: one protocol, `start(memory) -> state` and `step(token, state) -> logits, state,
attention`, and teacher forcing over packed captions.

Shapes: see `vsearch.networks`; G gates of the cell, M captions of a batch, and P their words and end marks, time-major.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from vsearch.config import DecoderConfig
from vsearch.networks.attention import Attention
from vsearch.networks.cells import TiedOutput
from vsearch.networks.kernels import PLAIN, Kernels
from vsearch.networks.projection import CaptionProjection

# what to compute the steps of one teacher forcing with, over keys (M, N, A) and memory (M, N, C) of the captions, the
# longest first; None for the attention where there is nothing to attend to
Teaching: TypeAlias = Callable[[Tensor, Tensor, Attention | None], Kernels]


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
        self.projection: CaptionProjection | None = None
        self.teaching: Teaching = plain_teaching  # `networks.fast.training.speed_up` exchanges it
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
        """Return the state before the first word, one row for each picture of `memory` (B, N, C).

        `mask` (B, N), where the decoder takes one, is False in the cells that are padding; `vector` (B, D) is the
        picture's place among words as `project` gives it, where the decoder takes one. Raises ValueError if not.
        """
        raise NotImplementedError

    def project(self, vectors: Tensor) -> Tensor:
        """Return the pictures' places among words (B, D) as `start` expects them: projected onto captions, with
        `config.centroids`; else as they are."""
        return vectors if self.projection is None else cast(Tensor, self.projection(vectors))

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take one step from the gates' input part (R, G): features of the next word (R, H), state, attention
        (R, N)."""
        raise NotImplementedError

    def thinned(self, cells: Tensor) -> Tensor:
        """Return cells (B, N, C); in training without some of a picture's channels, the same ones in all of its
        cells."""
        return F.dropout1d(cells.transpose(1, 2), self.config.memory_dropout, self.training).transpose(1, 2)

    def inputs(self, tokens: Tensor) -> Tensor:
        """Map token ids (...,) -> the words' part of the gates (..., G)."""
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
        """Run teacher forcing: `captions` (M, L) with start and end, `lengths` (M,) counting both, over `memory`
        (B, N, C).

        `rows` (M,) names the memory row of each caption, so that several captions share one picture; None: M = B and in
        order. With `sample_probability` an input word after the first is, that often, the decoder's own last guess
        instead of the caption's word (scheduled sampling, Bengio et al. 2015). `mask` and `vector` are
        those of `start`.
        """
        words, targets = self.shifted(captions, lengths)
        sizes = words.batch_sizes.tolist()
        order = cast(Tensor, words.sorted_indices)
        state = self.start(memory, mask, vector)
        state = state.select(*[order if rows is None else rows[order]] * 2)
        kernels = self.teaching(state.keys, state.memory, self.attention if memory.shape[1] else None)
        state = state._replace(kernels=kernels)
        if sample_probability:
            features, attention = self._sampled(torch.split(words.data, sizes), state, sample_probability)
        else:
            inputs = kernels.rows(self.inputs, words.data)  # (P, G)
            features, attention = self.follow(torch.split(inputs, sizes), state)
        logits = kernels.rows(lambda rows: cast(Tensor, self.output(self.dropout(rows))), torch.cat(features))  # (P, V)
        return Teacher(logits, targets.data, _unpack(torch.cat(attention), words) if attention else None)

    @staticmethod
    def shifted(captions: Tensor, lengths: Tensor) -> tuple[PackedSequence, PackedSequence]:
        """Return what is read in each step and what is to be said there, of captions (M, L), packed to (P,) each.

        Of <start> w1 w2 ... wn <end> the steps read <start> w1 w2 ... wn and say w1 w2 ... wn <end>: the caption, and
        the same moved by one word. `lengths` (M,) count both marks; pads, behind <end>, are in neither.
        """
        return pack(captions[:, :-1], lengths), pack(captions[:, 1:], lengths)

    def follow(self, inputs: Sequence[Tensor], state: State) -> tuple[list[Tensor], list[Tensor]]:
        """Take all steps of teacher forcing: the gates' input parts, (R, G) of each step with R falling -> features
        (R, H) and attention (R, N), if any, of each step."""
        features, attention = [], []
        for step in inputs:
            out, state, weights = self.advance(step, state.first(len(step)))
            features.append(out)
            attention += [] if weights is None else [weights]
        return features, attention

    def _sampled(self, given: Sequence[Tensor], state: State, probability: float) -> tuple[list[Tensor], list[Tensor]]:
        """Take all steps as `follow` does, with some of the words `given` (R,) of each step replaced by the last step's
        best guess."""
        features: list[Tensor] = []
        attention = []
        for words in given:
            inputs = self.inputs(self._mix(words, features, probability))
            out, state, weights = self.advance(inputs, state.first(len(words)))
            features.append(out)
            attention += [] if weights is None else [weights]
        return features, attention

    def _mix(self, given: Tensor, features: list[Tensor], probability: float) -> Tensor:
        """Return the words `given` (R,), some replaced by the best guess from the last step's features."""
        if not features:
            return given
        with torch.no_grad():
            guess = self.output(features[-1][: len(given)]).argmax(-1)
        return torch.where(torch.rand(given.shape, device=given.device) < probability, guess, given)


def plain_teaching(keys: Tensor, memory: Tensor, attention: Attention | None) -> Kernels:
    """Return the plain kernels, whatever they are for: the steps of teacher forcing as the papers have them."""
    return PLAIN


def pack(steps: Tensor, lengths: Tensor) -> PackedSequence:
    """Return what belongs to the steps of M captions, (M, T, ...), in the order of `Teacher.logits`: time-major, the
    longest caption first. `lengths` (M,) are those of the captions, start and end mark counted: a step less each."""
    return pack_padded_sequence(steps, (lengths - 1).cpu(), batch_first=True, enforce_sorted=False)


def _unpack(data: Tensor, like: PackedSequence) -> Tensor:
    packed = PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
    return pad_packed_sequence(packed, batch_first=True)[0]
