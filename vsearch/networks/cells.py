"""The recurrent cells and the output layer of decoders. Shapes: see `vsearch.networks`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.networks.kernels import PLAIN, Kernels

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class Cell(nn.Module):
    """An RNN, GRU or LSTM cell whose input part is already multiplied; equal to nn.RNNCell, GRUCell and LSTMCell."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        self.recurrent = nn.Linear(hidden, GATES[kind] * hidden)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor, kernels: Kernels = PLAIN) -> tuple[Tensor, Tensor]:
        """Return hidden and cell (R, H) from `inputs` (R, gates * H); gates in torch's order (i f g o; r z n)."""
        own = kernels.linear(self.recurrent, hidden)
        if self.kind == "lstm":
            i, f, g, o = (inputs + own).chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            return o.sigmoid() * cell.tanh(), cell
        if self.kind == "gru":
            (r, z, n), (own_r, own_z, own_n) = inputs.chunk(3, -1), own.chunk(3, -1)
            new = torch.tanh(n + torch.sigmoid(r + own_r) * own_n)
            return new + torch.sigmoid(z + own_z) * (hidden - new), cell
        return torch.tanh(inputs + own), cell


class TiedOutput(nn.Module):
    """Layer from features (..., H) to logits (..., V) by way of the embedding's own matrix (Press and Wolf 2017).

    Equal to nn.Linear(H, V) with this `weight` and `bias`.
    """

    def __init__(self, embedding: nn.Embedding, hidden: int) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple: its weights are the decoder's, and saved once
        self.project = nn.Linear(hidden, embedding.embedding_dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    @property
    def weight(self) -> Tensor:
        """The matrix (V, H) of the plain layer that this equals."""
        return self._embedding[0].weight @ self.project.weight

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(self.project(features), self._embedding[0].weight, self.bias)
