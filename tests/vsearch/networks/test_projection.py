"""Pictures' vectors projected onto captions: by hand, and wherever a decoder is told of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.vsearch.networks.test_told import D, joint_model, make, memory, vectors
from vsearch.captions.beam import beam_search
from vsearch.errors import ConfigError
from vsearch.networks.fast.decoder import QuickDecoder
from vsearch.networks.fast.model import FastModel
from vsearch.networks.joint import build_model
from vsearch.networks.projection import CaptionProjection, centroids
from vsearch.networks.told import Told, told
from vsearch.text.vocab import Vocabulary

X, Y, Z = torch.eye(3)


def test_a_vector_becomes_the_mean_of_captions_by_their_likeness() -> None:
    """v = (0.8, 0, 0.6) has cosines 0.8 and 0 to x and y. At temperature 0.8 their shares are e / (e + 1) and
    1 / (e + 1), so that v goes to (e, 1, 0) / sqrt(e * e + 1): what no caption has, here z, is gone."""
    projection = CaptionProjection(2, 3, 0.8)
    projection.start(torch.stack([2 * X, Y]))
    found = projection((0.8 * X + 0.6 * Z)[None])
    torch.testing.assert_close(found, torch.tensor([[math.e, 1.0, 0.0]]) / math.sqrt(math.e**2 + 1))
    cold = CaptionProjection(2, 3, 0.001)
    cold.start(torch.stack([X, Y]))
    torch.testing.assert_close(cold((0.8 * X + 0.6 * Z)[None]), X[None])


def test_autocast_does_not_coarsen_it() -> None:
    projection = CaptionProjection(50, 8, 0.02)
    given = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        found = projection(given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, projection(given))


def test_it_takes_centroids_of_its_size_only() -> None:
    with pytest.raises(ValueError, match=r"takes \(2, 3\)"):
        CaptionProjection(2, 3, 0.02).start(torch.ones(3, 3))


def test_centroids_find_the_clusters() -> None:
    """Three far-apart bundles of vectors: whatever the start, each ends with centroids, all vectors near one."""
    noise = 0.05 * torch.randn(90, 3, generator=torch.Generator().manual_seed(2))
    bundles = F.normalize(torch.stack([X, Y, Z]).repeat(30, 1) + noise, dim=-1)
    found = centroids(bundles, 6)
    assert found.shape == (6, 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))
    assert (bundles @ found.T).max(1).values.min() > 0.97
    torch.testing.assert_close(found, centroids(bundles, 6), rtol=0, atol=0)
    torch.testing.assert_close(centroids(bundles[:5], 5).sort(0).values, bundles[:5].sort(0).values)
    with pytest.raises(ValueError, match="6 centroids of 5"):
        centroids(bundles[:5], 6)


def test_a_decoder_that_projects_is_told_projected_vectors() -> None:
    model, place = make(centroids=7, centroid_temperature=0.05), 4 * vectors()
    projected = model.project(place)
    assert (projected * place / 4).sum(1).max() < 0.99
    for decoder in (model, QuickDecoder(model, False)):
        seen = told(decoder, place)
        assert isinstance(seen, Told) and torch.equal(seen.vector, projected)
    plain = make()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("projection.")})
    found, expected = (beam_search(told(d, v), memory(), 3, 6) for d, v in ((model, place), (plain, projected)))
    assert [c[0].tokens for c in found] == [c[0].tokens for c in expected]
    assert plain.project(place) is place


def test_a_model_projects_for_its_captions_and_not_for_its_vectors() -> None:
    torch.manual_seed(0)
    words = Vocabulary(["a", "dog", "runs", "on", "grass"])
    config = joint_model(D)
    assert config.decoder is not None
    config = dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, centroids=4))
    model = build_model(config, words).eval()
    fast = FastModel(model)
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert model.decoder is not None and model.decoder.projection is not None
    model.decoder.projection.start(torch.eye(D)[:4])
    first = fast.describe(pixels, beam=3)
    model.decoder.projection.start(-torch.eye(D)[:4])
    second = fast.describe(pixels, beam=3)
    assert np.array_equal(first.vectors, second.vectors)
    assert first.captions is not None and second.captions is not None
    for own, other in zip(first.captions, second.captions, strict=True):
        assert own[0].log_probability != pytest.approx(other[0].log_probability, abs=1e-4)


@pytest.mark.parametrize("settings", [{"vector": 0, "centroids": 4}, {"centroids": 4, "centroid_temperature": 0.0}])
def test_a_projection_needs_a_vector_and_a_temperature(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"decoder\.centroids needs"):
        make(**settings)
