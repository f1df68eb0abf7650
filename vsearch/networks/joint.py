"""The joint model: one look at a picture gives its place among words, and the cells that a decoder describes.

Shapes: see `vsearch.networks`.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from vsearch.captions.beam import Hypothesis
from vsearch.config import ModelConfig
from vsearch.errors import ConfigError
from vsearch.image.pixels import normalise
from vsearch.networks.decoder import Decoder
from vsearch.networks.decoders import build_decoder
from vsearch.networks.devise import DeviseHead
from vsearch.networks.encoder import Encoder
from vsearch.text.vocab import Vocabulary


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

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode uint8 pixels (B, S, S, 3) -> grid (B, N, C), unit vectors (B, D) float32; D = 0 without a head."""
        grid, pool = self.encoder(normalise(pixels, self.config.preprocess))
        return grid, pool.new_zeros(len(pool), 0) if self.devise is None else self.devise(pool)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed uint8 pixels (B, S, S, 3) -> unit vectors (B, D) float32. Raises ValueError without a DeViSE head."""
        if self.devise is None:
            raise ValueError("this model has no DeViSE head")
        return cast(Tensor, self(pixels)[1])

    def text(self, caption: Hypothesis) -> str:
        """Return the caption as a line of words. Raises ValueError without a vocabulary."""
        if self.vocabulary is None:
            raise ValueError("this model has no vocabulary")
        return " ".join(self.vocabulary.decode(caption.tokens))


def build_model(config: ModelConfig, vocabulary: Vocabulary | None = None) -> JointModel:
    """Return the model that `config` describes, with random weights: the one place where its parts are joined.

    Raises ConfigError for unknown kinds, for a decoder without a vocabulary, and where DeViSE and words differ in size.
    """
    encoder = Encoder(config.encoder)
    told = config.decoder.vector if config.decoder else 0
    if told and told != (config.devise.dim if config.devise else 0):
        raise ConfigError(f"decoder.vector is {told}, which is not devise.dim", "make them equal, or decoder.vector 0")
    if config.decoder is not None and vocabulary is None:
        raise ConfigError("a caption decoder needs a vocabulary", "give the model folder a vocab.json")
    if config.devise and config.words and config.devise.dim != config.words.dim:
        raise ConfigError(f"devise.dim is {config.devise.dim} and words.dim is {config.words.dim}", "make them equal")
    devise = DeviseHead(config.devise, encoder.channels) if config.devise else None
    decoder = None
    if config.decoder is not None and vocabulary is not None:
        decoder = build_decoder(config.decoder, encoder.channels, len(vocabulary))
    return JointModel(config, encoder, devise, decoder, vocabulary)
