"""A decoder with the vectors of its pictures given beforehand, for a search that hands it memories only."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from vsearch.config import DecoderConfig
from vsearch.networks.decoder import State


class Tellable(Protocol):
    """A decoder as it is searched over, plain or fast."""

    config: DecoderConfig

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        """Return the state before the first word, as `Decoder.start`."""
        ...

    def project(self, vectors: Tensor) -> Tensor:
        """Return the pictures' places among words as `start` expects them, as `Decoder.project`."""
        ...

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take a step, as `Decoder.step`."""
        ...


class Told(NamedTuple):
    """A decoder, and the vectors (B, D) of the pictures that it describes next, projected if it projects them."""

    decoder: Tellable
    vector: Tensor

    def start(self, memory: Tensor) -> State:
        """Return the state before the first word of the pictures whose cells are `memory` (B, N, C)."""
        return self.decoder.start(memory, vector=self.vector)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take one step of the decoder."""
        return self.decoder.step(token, state)


def told(decoder: Tellable, vector: Tensor | None) -> Tellable | Told:
    """Return what to search with: `decoder`, told the vectors (B, D) of its pictures if it takes them, as it projects
    them.

    Raises ValueError if it takes them and `vector` is None.
    """
    if not decoder.config.vector:
        return decoder
    if vector is None:
        raise ValueError("this decoder takes the vectors of its pictures")
    return Told(decoder, decoder.project(vector))
