"""The one place where the parts of a model are joined."""

from __future__ import annotations

from vsearch.config import ModelConfig
from vsearch.errors import ConfigError
from vsearch.networks.decoders import build_decoder
from vsearch.networks.devise import DeviseHead
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import JointModel
from vsearch.text.vocab import Vocabulary


def build(config: ModelConfig, vocabulary: Vocabulary | None = None) -> JointModel:
    """Build the model that `config` describes, with random weights.

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
