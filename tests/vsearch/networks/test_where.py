"""Where in a picture: the shares of the cells sum to the cosine, whatever the head, and lie where the evidence is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.tiny_model import draw_pictures, model_folder
from vsearch.config import DeviseConfig
from vsearch.errors import QueryError
from vsearch.model import Model
from vsearch.networks.devise import DeviseHead
from vsearch.networks.where import shares


def head_of(classes: int, seed: int = 0) -> DeviseHead:
    """A head over 24 channels, 10 numbers a vector, with random weights; the branch's shifts and gate random, too."""
    torch.manual_seed(seed)
    head = DeviseHead(DeviseConfig(hidden=32, dropout=0.5, dim=10, classes=classes), 24).eval()
    if head.branch is not None:
        with torch.no_grad():
            head.branch.classifier.weight.normal_(0, 0.5)
            head.branch.shift.normal_(0, 0.3)
            head.branch.log_gate.fill_(0.4)
            head.branch.log_temperature.fill_(0.7)
    return head


def weights_of(head: DeviseHead) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {name: t.numpy() for name, t in head.state_dict().items()}


@pytest.mark.parametrize("classes", [0, 17])
@pytest.mark.parametrize("seed", range(5))
def test_the_shares_sum_to_the_cosine(classes: int, seed: int) -> None:
    head = head_of(classes, seed)
    grid, query = torch.randn(49, 24).relu() * 3, torch.randn(10)
    found = shares(weights_of(head), grid.numpy(), query.numpy())
    with torch.no_grad():
        cosine = float(head(grid.mean(0)[None])[0] @ F.normalize(query, dim=0))
    assert found.shape == (49,)
    assert float(found.sum()) == pytest.approx(cosine, abs=1e-5)
    assert float(found.std()) > 1e-4


def test_equal_cells_have_equal_shares() -> None:
    grid = torch.rand(24).expand(9, 24).numpy()
    for classes in (0, 17):
        found = shares(weights_of(head_of(classes)), grid, torch.randn(10).numpy())
        assert float(found.max() - found.min()) < 1e-12


def test_where_no_cell_shows_a_class_all_share_it_alike() -> None:
    """Without any activation only biases are left, and these belong to no cell."""
    found = shares(weights_of(head_of(17)), np.zeros((4, 24), np.float32), torch.randn(10).numpy())
    np.testing.assert_allclose(found, found.mean())


def test_a_class_is_seen_where_its_channel_is_active() -> None:
    """Layers that say nothing, a branch whose class 3 reads channel 5: the cell with that channel gets all of it."""
    head = head_of(6)
    assert head.branch is not None
    with torch.no_grad():
        for parameter in head.layers[3].parameters():
            parameter.zero_()
        head.branch.classifier.weight.zero_()
        head.branch.classifier.bias.zero_()
        head.branch.classifier.weight[3, 5] = 8.0
    grid = torch.zeros(9, 24)
    grid[7, 5] = 20.0
    query = head.branch.places()[3].detach()
    found = shares(weights_of(head), grid.numpy(), query.numpy())
    assert int(found.argmax()) == 7 and float(found[7]) > 0.9 * float(found.sum())


def test_a_photo_and_a_query(tmp_path: Path) -> None:
    """The whole way, by the quick encoder: a map as large as the grid, which sums to the model's own cosine."""
    model = Model(model_folder(), "cpu")
    photo = draw_pictures(tmp_path / "photos") / "red.png"
    for query in ("dog", "a boat -snow"):
        found = model.where(photo, query)
        assert found.shape == (2, 2) and found.dtype == np.float32
        assert float(found.sum()) == pytest.approx(float(model.embed_image(photo) @ model.embed_text(query)), abs=2e-2)
    vector = model.embed_text("dog")
    assert np.allclose(model.where(photo, vector), model.where(photo, "dog"), atol=1e-6)
    with pytest.raises(QueryError):
        model.where(photo, '"open')
