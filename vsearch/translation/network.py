"""Sequence to sequence: a recurrent encoder of source sentences under a caption decoder.

The states of the encoder are to the decoder what the cells of a picture are: with soft attention (Bahdanau et al. 2015)
all of them, padding masked out; without attention only the last one (Sutskever et al. 2014).

Shapes: B sentences, R = B * K rows (K hypotheses of each), N positions of the longest source, T of the longest target,
C = hidden * directions, E embedding, V vocabulary. Ids are padded with PAD = 0.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vsearch.config import SourceConfig, TranslatorConfig
from vsearch.errors import ConfigError
from vsearch.networks.decoder import State, Teacher
from vsearch.networks.decoders import SoftAttentionDecoder, build_decoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.text.vocab import PAD

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class SourceEncoder(nn.Module):
    """Embedding and a GRU or LSTM of several layers, one way or both, over packed sentences."""

    def __init__(self, config: SourceConfig, vocabulary: int) -> None:
        super().__init__()
        if config.cell not in CELLS:
            raise ConfigError(f"source.cell is {config.cell!r}", f"known: {', '.join(CELLS)}")
        self.config = config
        self.channels = config.hidden * (2 if config.bidirectional else 1)
        self.embedding = nn.Embedding(vocabulary, config.embed, padding_idx=PAD)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(config.dropout)
        between = config.dropout if config.layers > 1 else 0.0
        self.cells = CELLS[config.cell](
            config.embed, config.hidden, config.layers, True, True, between, config.bidirectional
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encode ids (B, N), none of them a pad before a word -> states (B, N, C), zero in padding, and the mask
        (B, N).

        A state is [forward; backward], each as after reading its word.
        """
        mask = ids != PAD
        lengths = mask.sum(1).cpu()
        words = self.dropout(self.embedding(ids))  # (B, N, E)
        if int(lengths.min()) == ids.shape[1]:  # nothing to pack: torch takes half the time
            return self.dropout(self.cells(words)[0]), mask
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.cells(packed)[0], batch_first=True, total_length=ids.shape[1])[0]
        return self.dropout(states), mask

    def last(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return what each direction says after its last word, (B, C): the forward one's at the end, the backward one's
        at the beginning."""
        ends = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
        final = states.gather(1, ends).squeeze(1)  # (B, C)
        if not self.config.bidirectional:
            return final
        return torch.cat([final[:, : self.config.hidden], states[:, 0, self.config.hidden :]], 1)


class TranslationModel(nn.Module):
    """`source` under `decoder`. By `start` and `step` it is itself a decoder to search over, whose memory is ids."""

    def __init__(self, config: TranslatorConfig, source: int, target: int) -> None:
        """Build it for vocabularies of so many words. Raises ConfigError for a decoder or cell that there is not."""
        super().__init__()
        if config.decoder.kind == "adaptive":
            raise ConfigError("a translator has no visual sentinel", "decoder.kind: soft, lstm or gru")
        self.config = config
        self.source = SourceEncoder(config.source, source)
        self.decoder = build_decoder(config.decoder, self.source.channels, target)
        self.attends = isinstance(self.decoder, SoftAttentionDecoder)

    def memory(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode source ids (B, N) -> what the decoder looks at: states (B, N, C) and mask (B, N), or the last state
        (B, 1, C) and None."""
        states, mask = self.source(ids)
        return (states, mask) if self.attends else (self.source.last(states, mask)[:, None], None)

    def forward(self, ids: Tensor, targets: Tensor, sample_probability: float = 0.0) -> Teacher:
        """Run teacher forcing: source ids (B, N), `targets` (B, T) with start and end; see `Decoder.forward`."""
        memory, mask = self.memory(ids)
        lengths = (targets != PAD).sum(1)
        return cast(Teacher, self.decoder(memory, targets, lengths, None, sample_probability, mask))

    def start(self, ids: Tensor) -> State:
        """Return the state before the first word of the translations of `ids` (B, N)."""
        return self.decoder.start(*self.memory(ids))

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take a step as `Decoder.step` does."""
        return self.decoder.step(token, state)


class QuickTranslation(nn.Module):
    """Equals `TranslationModel.start` and `step`, with its weights as they are now: see `QuickDecoder`."""

    def __init__(self, model: TranslationModel, half: bool) -> None:
        super().__init__()
        self.config = model.config
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decoder = QuickDecoder(self.model.decoder, half)

    def start(self, ids: Tensor) -> State:
        """Start as the model does."""
        return self.decoder.start(*self.model.memory(ids))

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take a step as the model does."""
        return self.decoder.step(token, state)


def pad(sentences: list[list[int]]) -> Tensor:
    """Pad the ids of B sentences to (B, N)."""
    rows = [torch.tensor(ids, dtype=torch.long) for ids in sentences]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
