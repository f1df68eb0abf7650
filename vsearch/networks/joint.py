"""The joint model: one look at a picture gives its place among words, and its description.

Shapes: B batch, S side in pixels, C channels, D word-vector size, N grid cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsearch.captions.beam import Hypothesis, beam_search
from vsearch.captions.rerank import EmbedCaptions, Reranker
from vsearch.config import ModelConfig
from vsearch.device import autocast, fast_bf16, moved
from vsearch.errors import ModelError
from vsearch.image.pixels import normalise
from vsearch.networks.decoder import Decoder
from vsearch.networks.devise import DeviseHead
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.openvino import EncodePixels, compiled, quick_encoder, usable
from vsearch.networks.told import told
from vsearch.text.vocab import Vocabulary

COMPILE_AFTER = 1000  # pictures seen; compiling takes as long as what it saves on some more


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


class JointModel(nn.Module):
    """An encoder under a DeViSE head and a caption decoder, either of which may be missing."""

    def __init__(
        self,
        config: ModelConfig,
        encoder: Encoder,
        devise: DeviseHead | None,
        decoder: Decoder | None,
        vocabulary: Vocabulary | None,
    ) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.encoder, self.devise, self.decoder = encoder, devise, decoder
        self.embed_captions: EmbedCaptions | None = None  # captions' phrase vectors; see `vsearch.captions.rerank`
        self._fast: tuple[object, EncodePixels, QuickDecoder | None] | None = None
        self._seen = 0  # pictures, through what `_fast` holds

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed uint8 pixels (B, S, S, 3) -> unit vectors (B, D) float32, by the plain path: for training and as a
        reference.

        Raises ValueError where the model has no DeViSE head.
        """
        if self.devise is None:
            raise ValueError("this model has no DeViSE head")
        return cast(Tensor, self.devise(self.encoder(normalise(pixels, self.config.preprocess))[1]))

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
        """Run one pass of the encoder over uint8 pixels (B, S, S, 3) for both heads, the quick way; any device.

        On a processor that multiplies bfloat16 the encoder is run by OpenVINO once it has seen COMPILE_AFTER pictures,
        where that is installed.
        `beam` and `block_repeats` are the decoder's own where None. Evaluation mode holds for the call,
        whatever the model's mode is.
        """
        encoded = self.encode(pixels)
        if not captions or self.decoder is None:
            return Description(encoded.vectors, None)
        return Description(encoded.vectors, self.write(encoded, beam=beam, n_best=n_best, block_repeats=block_repeats))

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Encoded:
        """Return what `describe` sees in the pictures, for `write` to caption more than once."""
        with self._evaluating():
            parameter = next(self.encoder.parameters())
            encode, _ = self._fast_parts()
            grid, pool = encode(moved(pixels, parameter.device))
            self._count(len(pixels), parameter.device)
            vectors = pool.new_zeros(len(pool), 0) if self.devise is None else self.devise(pool.to(parameter.dtype))
            return Encoded(grid.to(parameter.dtype), vectors.float().cpu().numpy())

    @torch.inference_mode()
    def write(
        self, encoded: Encoded, *, beam: int | None = None, n_best: int = 1, block_repeats: bool | None = None
    ) -> list[list[Hypothesis]]:
        """Return the captions of each picture, best first, as `describe` does. Raises ValueError without a decoder."""
        if self.decoder is None:
            raise ValueError("this model has no decoder")
        with self._evaluating():
            _, decoder = self._fast_parts()
            assert decoder is not None
            c = decoder.config
            width, block = beam or c.beam, c.block_repeats if block_repeats is None else block_repeats
            reranker = self._reranker(c.agreement)
            count = n_best if reranker is None else max(n_best, width)
            seen = told(decoder, torch.from_numpy(encoded.vectors).to(encoded.grid.device))
            with autocast(encoded.grid.device):
                found = beam_search(seen, encoded.grid, width, c.max_len, c.length_power, count, block)
            if reranker is None:
                return found
            return [own[:n_best] for own in reranker.rerank(found, encoded.vectors, self._words)]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Hold evaluation mode within the block, whatever the model's mode is."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def text(self, caption: Hypothesis) -> str:
        """Return the caption as a line of words."""
        if self.vocabulary is None:
            raise ValueError("this model has no vocabulary")
        return " ".join(self.vocabulary.decode(caption.tokens))

    def set_rerank_weight(self, weight: float) -> None:
        """Let the DeViSE head have a say in captions with this weight, see `vsearch.captions.rerank`; 0: none.

        Raises ModelError where the model has no decoder, head or words.
        """
        if self.decoder is None or self.devise is None or self.embed_captions is None:
            raise ModelError("this model has not both heads and words", "use one that describes and places pictures")
        self.decoder.config = dataclasses.replace(self.decoder.config, agreement=weight)
        self._fast = None

    def _reranker(self, weight: float) -> Reranker | None:
        """Return None where captions cannot be ranked again: without weight, head or words."""
        if not weight or self.embed_captions is None or self.devise is None:
            return None
        return Reranker(self.embed_captions, weight)

    def _words(self, caption: Hypothesis) -> list[str]:
        return self.text(caption).split()

    def _fast_parts(self) -> tuple[EncodePixels, QuickDecoder | None]:
        """Return copies of encoder and decoder that compute the same faster; made again when the weights have
        changed."""
        tensors = [t for part in (self.encoder, self.decoder) if part for t in (*part.parameters(), *part.buffers())]
        key = tuple((t.data_ptr(), t._version) for t in tensors)
        if self._fast is None or self._fast[0] != key:
            half = fast_bf16(tensors[0].device)
            with torch.inference_mode(False):
                encode = quick_encoder(self.encoder, self.config.preprocess, half)
                self._fast = (key, encode, None if self.decoder is None else QuickDecoder(self.decoder, half))
            self._seen = 0
        return self._fast[1:]

    def _count(self, pictures: int, device: torch.device) -> None:
        """Exchange the quick encoder for a quicker one when it has seen enough pictures."""
        before, self._seen = self._seen, self._seen + pictures
        if before < COMPILE_AFTER <= self._seen and usable(device):
            assert self._fast is not None
            with torch.inference_mode(False):
                self._fast = (self._fast[0], compiled(self.encoder, self.config.preprocess), self._fast[2])
