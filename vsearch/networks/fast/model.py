"""Equals `JointModel.forward`, and `beam_search` over its decoder: one pass of the encoder for both heads, quickly.

Shapes: see `vsearch.networks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsearch.captions.beam import Hypothesis
from vsearch.captions.rerank import EmbedCaptions, Reranker
from vsearch.captions.search import Rerank, search_captions
from vsearch.config import ModelConfig
from vsearch.device import fast_bf16, moved
from vsearch.errors import ModelError
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.encoder import EncodePixels, quick_encoder
from vsearch.networks.joint import JointModel
from vsearch.networks.told import told


@dataclass(frozen=True)
class Encoded:
    """What the encoder sees in B pictures: grid (B, N, C), on the device of the model, and unit vectors (B, D)."""

    grid: Tensor
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Description:
    """What a model says of B pictures: unit vectors (B, D), with D = 0 where the model has no DeViSE head, and for each
    picture its captions, best first; None where none were asked for or the model has no decoder."""

    vectors: NDArray[np.float32]
    captions: list[list[Hypothesis]] | None


class FastModel:
    """A model at work on pictures: `joint`, with copies of its encoder and decoder that compute the same faster.

    The copies are made again when the weights of `joint` have changed. Evaluation mode holds for each call, whatever
    the model's mode is.
    """

    def __init__(self, joint: JointModel, embed_captions: EmbedCaptions | None = None) -> None:
        """Take `embed_captions` to rank captions again, see `vsearch.captions.rerank`; None: they stay as found."""
        self.joint, self.embed_captions = joint, embed_captions
        self.rerank_weight = 0.0 if joint.decoder is None else joint.decoder.config.agreement
        self._copies: tuple[object, EncodePixels, QuickDecoder | None] | None = None

    @property
    def config(self) -> ModelConfig:
        """The settings of `joint`."""
        return self.joint.config

    @torch.inference_mode()
    def describe(
        self,
        pixels: Tensor,
        *,
        captions: bool = True,
        beam: int | None = None,
        n_best: int = 1,
        block_repeats: bool | None = None,
    ) -> Description:
        """Place and caption uint8 pixels (B, S, S, 3), on any device.

        `beam` and `block_repeats` are the decoder's own where None.
        """
        encoded = self.encode(pixels)
        if not captions or self.joint.decoder is None:
            return Description(encoded.vectors, None)
        return Description(encoded.vectors, self.write(encoded, beam=beam, n_best=n_best, block_repeats=block_repeats))

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Encoded:
        """Return what `describe` sees in the pictures, for `write` to caption more than once."""
        with self._evaluating():
            parameter, devise = next(self.joint.encoder.parameters()), self.joint.devise
            encode, _ = self._parts()
            grid, pool = encode(moved(pixels, parameter.device))
            vectors = pool.new_zeros(len(pool), 0) if devise is None else devise(pool.to(parameter.dtype))
            return Encoded(grid.to(parameter.dtype), vectors.float().cpu().numpy())

    @torch.inference_mode()
    def write(
        self, encoded: Encoded, *, beam: int | None = None, n_best: int = 1, block_repeats: bool | None = None
    ) -> list[list[Hypothesis]]:
        """Return the captions of each picture, best first, as `describe` does. Raises ValueError without a decoder."""
        if self.joint.decoder is None:
            raise ValueError("this model has no decoder")
        with self._evaluating():
            _, decoder = self._parts()
            assert decoder is not None
            seen = told(decoder, torch.from_numpy(encoded.vectors).to(encoded.grid.device))
            return search_captions(
                seen, encoded.grid, decoder.config, beam=beam, n_best=n_best, block_repeats=block_repeats,
                rerank=self._rerank(encoded.vectors),
            )  # fmt: skip

    def text(self, caption: Hypothesis) -> str:
        """Return the caption as a line of words. Raises ValueError if the model has no vocabulary."""
        return self.joint.text(caption)

    def set_rerank_weight(self, weight: float) -> None:
        """Let the DeViSE head have a say in captions with this weight, see `vsearch.captions.rerank`; 0: none.

        Raises ModelError if the model has no decoder, head or words.
        """
        if self.joint.decoder is None or self.joint.devise is None or self.embed_captions is None:
            raise ModelError("this model lacks a head or words", "use one that describes and places pictures")
        self.rerank_weight = weight

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Hold evaluation mode within the block, whatever the model's mode is."""
        training = self.joint.training
        self.joint.eval()
        try:
            yield
        finally:
            self.joint.train(training)

    def _rerank(self, vectors: NDArray[np.float32]) -> Rerank | None:
        """Return what ranks the captions of pictures again, whose vectors (B, D) these are; None without weight, head
        or words."""
        if not self.rerank_weight or self.embed_captions is None or self.joint.devise is None:
            return None
        reranker = Reranker(self.embed_captions, self.rerank_weight)
        return lambda found: reranker.rerank(found, vectors, self._words)

    def _words(self, caption: Hypothesis) -> list[str]:
        return self.text(caption).split()

    def _parts(self) -> tuple[EncodePixels, QuickDecoder | None]:
        """Return the copies of encoder and decoder; made again when the weights have changed."""
        encoder, decoder = self.joint.encoder, self.joint.decoder
        tensors = [t for part in (encoder, decoder) if part for t in (*part.parameters(), *part.buffers())]
        key = tuple((t.data_ptr(), t._version) for t in tensors)
        if self._copies is None or self._copies[0] != key:
            half = fast_bf16(tensors[0].device)
            with torch.inference_mode(False):
                encode = quick_encoder(encoder, self.config.preprocess, half)
                self._copies = (key, encode, None if decoder is None else QuickDecoder(decoder, half))
        return self._copies[1:]
