"""The joint model: its one look at a picture, and what may not be joined."""

from __future__ import annotations

import pytest
import torch

from vsearch.config import DecoderConfig, DeviseConfig, ModelConfig, PreprocessConfig, WordsConfig
from vsearch.errors import ConfigError
from vsearch.image.pixels import normalise
from vsearch.networks.joint import build_model
from vsearch.text.vocab import Vocabulary

DECODER = DecoderConfig(embed=16, hidden=16, attention=16, max_len=6, beam=3)


@pytest.mark.parametrize("devise", [DeviseConfig(hidden=32, dim=8), None])
def test_one_look_is_the_encoders_cells_under_the_head(devise: DeviseConfig | None) -> None:
    torch.manual_seed(0)
    config = ModelConfig(preprocess=PreprocessConfig(side=64), devise=devise, decoder=DECODER)
    model = build_model(config, Vocabulary(["dog"])).eval()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        grid, vectors = model(pixels)
        cells, pool = model.encoder(normalise(pixels, config.preprocess))
        assert torch.equal(grid, cells) and grid.shape[::2] == (2, model.encoder.channels)
        if model.devise is None:
            assert vectors.shape == (2, 0)
        else:
            assert torch.equal(vectors, model.devise(pool)) and torch.equal(model.embed(pixels), vectors)
            assert vectors.shape == (2, 8)


def test_build_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="vocabulary"):
        build_model(ModelConfig(decoder=DECODER))
    with pytest.raises(ConfigError, match=r"devise\.dim is 8 and words\.dim is 9"):
        build_model(ModelConfig(devise=DeviseConfig(dim=8), words=WordsConfig(dim=9)))
