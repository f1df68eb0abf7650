"""Backbones cut before their pool, frozen as told, and folded without a change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vsearch.config import EncoderConfig
from vsearch.errors import ConfigError
from vsearch.networks.encoder import BACKBONES, Encoder
from vsearch.networks.fast.batchnorm import folded
from vsearch.torchvision import torchvision

CHANNELS = {"resnet18": 512, "resnet34": 512, "mobilenet_v3_small": 576, "mobilenet_v3_large": 960, "vgg16": 512}


def encoder(name: str = "resnet18") -> Encoder:
    """An encoder in evaluation mode with random weights, cheaply made, whose batch norms do something."""
    torch.manual_seed(0)
    with torch.device("meta"):
        made = Encoder(EncoderConfig(name))
    made.to_empty(device="cpu")
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = (6 / module.weight[0].numel()) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return made.eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_five_stages_and_known_channels(name: str) -> None:
    with torch.device("meta"):
        made = Encoder(EncoderConfig(name))
        grid, pool = made.eval()(torch.zeros(2, 3, 160, 160))
    assert len(made.stages) == 5
    assert made.channels == CHANNELS.get(name, made.channels)
    assert pool.shape == (2, made.channels)
    side = int(grid.shape[1] ** 0.5)
    assert grid.shape == (2, side * side, made.channels) and side in (3, 5)


def test_a_resnet_of_another_width() -> None:
    torch.manual_seed(0)
    made = Encoder(EncoderConfig("resnet34", width=40))
    found = [sum(p.numel() for p in stage.parameters()) for stage in made.stages]
    with torch.device("meta"):
        whole = Encoder(EncoderConfig("resnet34"))
        same = Encoder(EncoderConfig("resnet34", width=64))
    own = [sum(p.numel() for p in stage.parameters()) for stage in whole.stages]
    assert made.channels == 8 * 40 and made(torch.zeros(1, 3, 64, 64))[0].shape == (1, 4, 320)
    assert sum(found) == pytest.approx(sum(own) * (40 / 64) ** 2, rel=0.01)
    assert [p.shape for p in same.parameters()] == [p.shape for p in whole.parameters()]
    convolution = made.stages[4][0].conv2  # type: ignore[index]
    assert convolution.weight.std().item() == pytest.approx((2 / (320 * 9)) ** 0.5, rel=0.02)  # He's, by fan-out
    for config in (EncoderConfig("resnet50", width=32), EncoderConfig("resnet18", width=0)):
        with pytest.raises(ConfigError, match="encoder.width"):
            Encoder(config)


def test_pool_is_the_mean_cell_and_cells_are_in_row_order() -> None:
    made, images = encoder(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        grid, pool = made(images)
        x = images
        for stage in made.stages:
            x = stage(x)
    torch.testing.assert_close(pool, grid.mean(1))
    torch.testing.assert_close(grid[1, 5], x[1, :, 1, 2])  # cell 5 of 3 x 3 is row 1, column 2


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_loaded_backbone_is_torchvisions_own(name: str) -> None:
    torch.manual_seed(1)
    whole = getattr(torchvision().models, name)(weights=None).eval()
    seen: list[torch.Tensor] = []
    whole.avgpool.register_forward_hook(lambda module, inputs, output: seen.append(output))
    made = encoder(name)
    made.load_backbone(whole.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole(images)
        _, pool = made(images)
    torch.testing.assert_close(pool, seen[0].flatten(1), atol=1e-5, rtol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    weights = torchvision().models.resnet34(weights=None).state_dict()
    with pytest.raises(RuntimeError, match=r"layer1\.2\.conv1\.weight"):
        encoder().load_backbone(weights)


def test_unknown_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="resnet19") as caught:
        Encoder(EncoderConfig("resnet19"))
    assert "resnet18" in caught.value.hint


@pytest.mark.parametrize("from_block", [0, 2, 4, None])
def test_frozen_means_frozen(from_block: int | None) -> None:
    """No gradient and no moving statistics below `from_block`; both in all stages above."""
    made = encoder()
    made.fine_tune(from_block)
    made.train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    _, pool = made(torch.randn(4, 3, 64, 64))
    if from_block is None:
        assert not pool.requires_grad
    else:
        pool.sum().backward()
    first = 5 if from_block is None else from_block
    for i, stage in enumerate(made.stages):
        assert all((p.grad is not None) == (i >= first) for p in stage.parameters())
        for name, value in stage.state_dict().items():
            if "running" in name:
                assert torch.equal(value, before[f"stages.{i}.{name}"]) == (i < first), f"stage {i} {name}"


def test_evaluation_mode_can_be_left_and_entered_again() -> None:
    made = encoder()
    made.fine_tune(3)
    assert [stage.training for stage in made.stages] == [False] * 5
    made.train()
    assert [stage.training for stage in made.stages] == [False, False, False, True, True]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "inception_v3"])
def test_folding_changes_nothing_but_the_layers(name: str) -> None:
    made = encoder(name)
    fast = folded(made)
    assert any(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert all(p.requires_grad for p in made.parameters())
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        (grid, _), (fast_grid, _) = made(images), fast(images)
    torch.testing.assert_close(fast_grid, grid, atol=1e-4 * float(grid.abs().max()), rtol=1e-3)
