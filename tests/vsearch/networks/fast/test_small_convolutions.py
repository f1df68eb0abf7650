"""Convolutions over small maps: the same results and gradients as PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vsearch.config import EncoderConfig
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.small_convolutions import CHANNELS, _SmallMaps, quicken


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (5, 2, 0), ((1, 3), (1, 2), (0, 1))])
@pytest.mark.parametrize("side", [5, 12])  # the product, and where the map is too large for it
def test_gradients_are_those_of_a_plain_convolution(kernel: int, stride: int, padding: int, side: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(CHANNELS, 6, kernel, stride, padding, bias=False)
    quick = quicken(nn.Sequential(copy.deepcopy(plain)))
    assert [type(layer) for layer in quick.children()] == [_SmallMaps]
    x = torch.randn(2, CHANNELS, side, side).to(memory_format=torch.channels_last)
    for own, expected in zip(gradients(quick, x), gradients(plain, x), strict=True):
        assert torch.allclose(own, expected, rtol=1e-4, atol=1e-4)


def test_autocast_computes_in_its_type_and_leaves_the_gradient_in_the_weights() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(CHANNELS, 6, 3, padding=1, bias=False)
    quick = quicken(nn.Sequential(copy.deepcopy(plain)))
    x = torch.randn(2, CHANNELS, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        own, expected = gradients(quick, x), gradients(plain, x)
    assert own[0].dtype == torch.bfloat16 and own[2].dtype == torch.float32
    for a, b in zip(own, expected, strict=True):
        assert float((a.float() - b.float()).norm() / b.float().norm()) < 0.02


def test_weights_names_and_frozen_parts_stay() -> None:
    encoder = Encoder(EncoderConfig("resnet18"))
    before = encoder.state_dict()
    quicken(encoder)
    assert sum(isinstance(m, _SmallMaps) for m in encoder.modules()) == 7
    after = encoder.state_dict()
    assert list(after) == list(before) and all(after[k].data_ptr() == before[k].data_ptr() for k in before)
    encoder.fine_tune(4)
    encoder(torch.randn(2, 3, 64, 64))[1].sum().backward()
    found = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert found == {"4"}
