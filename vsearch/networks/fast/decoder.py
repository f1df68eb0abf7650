"""Equals `Decoder.start` and `Decoder.step`: the same for a search, with matrices in bfloat16 where that is quick.

Shapes: see `vsearch.networks`.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from vsearch.networks.decoder import Decoder, State
from vsearch.networks.fast.cpu import CpuKernels
from vsearch.networks.fast.process import half_factors


class QuickDecoder(nn.Module):
    """A decoder to search over, with `decoder`'s weights as they are now."""

    def __init__(self, decoder: Decoder, half: bool) -> None:
        """Copy the decoder; with `half` its matrices are in bfloat16, so that autocast need not cast them in every
        step.

        Those of the output layer are rounded to it only while they are multiplied, and its sums are float32.
        """
        super().__init__()
        self.config, self.rounds = decoder.config, half
        self.decoder = _rounded(decoder) if half else decoder

    def start(self, memory: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> State:
        """Start as the decoder does."""
        return self.decoder.start(memory, mask, vector)._replace(kernels=CpuKernels())

    def project(self, vectors: Tensor) -> Tensor:
        """Project as the decoder does."""
        return self.decoder.project(vectors)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Take a step as the decoder does."""
        features, state, attention = self.decoder.advance(self.decoder.inputs(token), state)
        with half_factors(self.rounds):
            logits = self.decoder.logits(features)
        return logits, state, attention


def _rounded(decoder: Decoder) -> Decoder:
    """Return a copy whose matrices, but for the output layer's, are in bfloat16."""
    fast = copy.deepcopy(decoder).requires_grad_(False)
    exact = set(fast.output.modules())
    for layer in fast.modules():
        if isinstance(layer, nn.Linear) and layer not in exact:
            layer.bfloat16()
    return fast
