"""The reference of `benchmarks.captioning`: soft attention as the well-known PyTorch tutorial on Show, Attend and Tell
trains and decodes it (github.com/sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning), told again in plain words.

Training walks over the steps of a batch sorted by length and multiplies the attention's projection of all cells in each
of them; a caption is searched for one photo at a time, whose cells are repeated for each beam. All in float32.

Shapes: B captions, N cells, C channels, L longest caption, K beams, H hidden, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from vsearch.networks.decoders import SoftAttentionDecoder
from vsearch.text.vocab import END, START


class TutorialDecoder(nn.Module):
    """The tutorial's layers, with the weights of a decoder of this project: both compute the same function.

    What the tutorial has not, the layer norm of the cells, is outside: `cells` does it once.
    """

    def __init__(self, ours: SoftAttentionDecoder) -> None:
        super().__init__()
        c, channels, words = ours.config, ours.norm.normalized_shape[0], ours.embedding.num_embeddings
        assert ours.gate is not None and ours.attention.score is not None
        self.norm = nn.LayerNorm(channels)
        self.embedding = nn.Embedding(words, c.embed)
        self.from_cells = nn.Linear(channels, c.attention)
        self.from_hidden = nn.Linear(c.hidden, c.attention, bias=False)
        self.score = nn.Linear(c.attention, 1, bias=False)
        self.start_hidden, self.start_cell = nn.Linear(channels, c.hidden), nn.Linear(channels, c.hidden)
        self.gate = nn.Linear(c.hidden, channels)
        self.lstm = nn.LSTMCell(c.embed + channels, c.hidden)
        self.dropout = nn.Dropout(c.dropout)
        self.output = nn.Linear(c.hidden, words)
        self.take(ours)

    @torch.no_grad()
    def take(self, ours: SoftAttentionDecoder) -> None:
        assert ours.gate is not None and ours.attention.score is not None
        whole = (
            (self.norm, ours.norm),
            (self.embedding, ours.embedding), (self.from_cells, ours.attention.key), (self.gate, ours.gate),
            (self.from_hidden, ours.attention.query), (self.score, ours.attention.score),
        )  # fmt: skip
        for own, given in whole:
            own.load_state_dict(given.state_dict())
        for own, weight, bias in zip(
            (self.start_hidden, self.start_cell), ours.initial.weight.chunk(2), ours.initial.bias.chunk(2), strict=True
        ):
            own.weight.copy_(weight)
            own.bias.copy_(bias)
        self.output.weight.copy_(ours.output.weight)
        self.output.bias.copy_(ours.output.bias)
        self.lstm.weight_ih.copy_(torch.cat([ours.input.weight, ours.context.weight], 1))
        self.lstm.bias_ih.copy_(ours.input.bias)
        self.lstm.weight_hh.copy_(ours.cell.recurrent.weight)
        self.lstm.bias_hh.copy_(ours.cell.recurrent.bias)

    def cells(self, features: Tensor) -> Tensor:
        """Map features (B, N, C) -> what the tutorial calls encoder_out."""
        found: Tensor = self.norm(features.float())
        return found

    def start(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden and cell (B, H) before the first word."""
        mean = cells.mean(1)
        return self.start_hidden(mean), self.start_cell(mean)

    def look(self, cells: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return context (B, C) and weights (B, N)."""
        scores = self.score(torch.relu(self.from_cells(cells) + self.from_hidden(hidden)[:, None])).squeeze(2)
        weights = torch.softmax(scores, 1)
        return (cells * weights[..., None]).sum(1), weights

    def step(self, words: Tensor, cells: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map embedded `words` (B, E) -> hidden and cell (B, H) and the weights (B, N) by which it looked."""
        context, weights = self.look(cells, hidden)
        context = torch.sigmoid(self.gate(hidden)) * context
        hidden, cell = self.lstm(torch.cat([words, context], 1), (hidden, cell))
        return hidden, cell, weights


def training_loss(model: TutorialDecoder, features: Tensor, captions: Tensor, lengths: Tensor) -> Tensor:
    """Return the tutorial's loss, alpha_c = 1, of `captions` (B, L), `lengths` (B,), each over its `features`
    (B, N, C)."""
    lengths, order = lengths.sort(descending=True)
    cells, captions = model.cells(features)[order], captions[order]
    words = model.embedding(captions)
    hidden, cell = model.start(cells)
    steps = (lengths - 1).tolist()
    logits = cells.new_zeros(len(cells), max(steps), model.output.out_features)
    looks = cells.new_zeros(len(cells), max(steps), cells.shape[1])
    for t in range(max(steps)):
        going = sum(n > t for n in steps)
        hidden, cell, weights = model.step(words[:going, t], cells[:going], hidden[:going], cell[:going])
        logits[:going, t] = model.output(model.dropout(hidden))
        looks[:going, t] = weights
    told = pack_padded_sequence(logits, steps, batch_first=True).data
    wanted = pack_padded_sequence(captions[:, 1:], steps, batch_first=True).data
    return nn.functional.cross_entropy(told, wanted) + ((1 - looks.sum(1)) ** 2).mean()


def training_step(
    model: TutorialDecoder, optimizer: torch.optim.Optimizer, features: Tensor, captions: Tensor, lengths: Tensor
) -> None:
    loss = training_loss(model, features, captions, lengths)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.clamp_(-5, 5)
    optimizer.step()


@torch.no_grad()
def caption(model: TutorialDecoder, features: Tensor, beam: int = 5, max_len: int = 20) -> list[int]:
    """Return the words of one photo of `features` (N, C): beams leave as they end; the most probable of all wins.

    What has not ended after `max_len` words is cut off there, where nothing has ended.
    """
    cells = model.cells(features[None]).expand(beam, -1, -1)
    hidden, cell = model.start(cells)
    sequences = torch.full((beam, 1), START, device=features.device)
    scores = cells.new_zeros(beam, 1)
    ended: list[tuple[float, list[int]]] = []
    for t in range(max_len + 1):
        hidden, cell, _ = model.step(model.embedding(sequences[:, -1]), cells, hidden, cell)
        found = scores + torch.log_softmax(model.output(hidden), 1)  # (K, V)
        flat = found[0] if t == 0 else found.flatten()
        scores, place = flat.topk(beam)
        parent, word = place // found.shape[1], place % found.shape[1]
        sequences = torch.cat([sequences[parent], word[:, None]], 1)
        done = word == END
        for score, sequence in zip(scores[done].tolist(), sequences[done].tolist(), strict=True):
            ended.append((score, sequence[1:-1]))
        beam -= int(done.sum())
        if beam == 0 or t == max_len:
            break
        kept = parent[~done]
        sequences, scores = sequences[~done], scores[~done][:, None]
        hidden, cell, cells = hidden[kept], cell[kept], cells[kept]
    return max(ended)[1] if ended else [int(i) for i in sequences[0, 1 : max_len + 1]]
