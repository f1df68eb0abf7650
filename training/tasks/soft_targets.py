"""What an ensemble of trained decoders says at every word of the training captions, for another one to learn from.

Knowledge distillation (Hinton et al. 2015, section 2) word by word, as Kim and Rush (2016, 3.1) do it for sequences:
the student's loss is mixed with its cross-entropy to the mean of the teachers' probabilities. They are computed once,
under teacher forcing on the first view of each photo, and of each word the KEPT likeliest are kept.

Shapes: M captions, T steps of the longest, B photos of a batch, K captions of each, P packed words, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.caption_set import CaptionSet
from training.tasks.decoding import load_decoder
from vsearch.device import autocast
from vsearch.networks.decoder import Decoder, pack

KEPT, AT_ONCE = 16, 50  # words of a step; photos looked at in one go


class SoftTargets:
    """The mean probabilities of the decoders in the run folders `teachers`, for the captions of the training photos."""

    def __init__(
        self, teachers: Sequence[Path], captioned: CaptionSet, grid: NDArray[np.float16],
        captions: Mapping[int, Sequence[int]], device: torch.device,
    ) -> None:  # fmt: skip
        """Take `captions`, the rows of each photo's captions, and `grid` (I, A, N, C).

        Raises DataError for a run without a decoder, or one of other features or another vocabulary.
        """
        decoders = [
            load_decoder(run, grid.shape[3], len(captioned.vocabulary)).requires_grad_(False).to(device)
            for run in teachers
        ]
        steps, kept = captioned.ids.shape[1] - 1, min(KEPT, len(captioned.vocabulary))
        self.words = np.zeros((len(captioned.ids), steps, kept), np.int32)  # (M, T, kept)
        self.shares = np.zeros(self.words.shape, np.float16)
        photos = list(captions)
        for start in range(0, len(photos), AT_ONCE):
            some = photos[start : start + AT_ONCE]
            rows = np.asarray([row for photo in some for row in captions[photo]])
            owner = np.repeat(np.arange(len(some)), [len(captions[photo]) for photo in some])
            self._fill(decoders, grid[some, 0], captioned, rows, owner, device)

    @torch.inference_mode()
    def _fill(
        self, decoders: Sequence[Decoder], cells: NDArray[np.float16], captioned: CaptionSet, rows: NDArray[np.int64],
        owner: NDArray[np.int64], device: torch.device,
    ) -> None:  # fmt: skip
        lengths = torch.from_numpy(captioned.lengths[rows])
        longest = int(lengths.max())
        memory = torch.from_numpy(cells).to(device).float()
        ids, pictures = (
            torch.from_numpy(captioned.ids[rows][:, :longest]).to(device),
            torch.from_numpy(owner).to(device),
        )
        total: Tensor | float = 0.0
        for decoder in decoders:
            with autocast(device):
                logits = decoder(memory, ids, lengths, pictures).logits
            total = total + logits.float().softmax(-1)  # (P, V)
        assert isinstance(total, Tensor)
        shares, words = total.topk(self.words.shape[2], -1)  # (P, kept)
        place = np.arange(len(rows) * (longest - 1)).reshape(len(rows), -1)
        row, step = np.divmod(packed_steps(torch.from_numpy(place), lengths).numpy(), longest - 1)  # (P,)
        self.words[rows[row], step] = words.cpu().numpy()
        self.shares[rows[row], step] = (shares / shares.sum(1, keepdim=True)).cpu().numpy()

    def of(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return words and their shares, which sum to 1, of the captions `rows` (B, K): (B, K, T, kept) each."""
        return torch.from_numpy(self.words[rows]).long(), torch.from_numpy(self.shares[rows]).float()


def packed_steps(values: Tensor, lengths: Tensor) -> Tensor:
    """Return values (M, T, ...) of the steps of M captions of `lengths` (M,) words, marks included, in packed order
    (P, ...).

    The order is that of the logits of `Decoder.forward`.
    """
    return pack(values[:, : int(lengths.max()) - 1], lengths).data


def soft_loss(logits: Tensor, words: Tensor, shares: Tensor) -> Tensor:
    """Return the mean cross-entropy of `logits` (P, V) to the distributions `shares` over `words`, both (P, kept)."""
    return -(shares.to(logits.dtype) * logits.log_softmax(-1).gather(1, words)).sum(1).mean()
