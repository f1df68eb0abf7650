"""A torchvision backbone cut before its pool: picture to grid of cells and pooled vector.

Shapes: B batch, S side in pixels, N grid cells, C channels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vsearch.config import EncoderConfig
from vsearch.errors import ConfigError
from vsearch.torchvision import torchvision

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKBONES = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "wide_resnet50_2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "inception_v3", "vgg16", "vgg16_bn",
)  # fmt: skip
DEPTHS = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}  # blocks of each stage


class Encoder(nn.Module):
    """Normalised pictures (B, 3, S, S) -> grid (B, N, C) and pool (B, C), the mean cell.

    `stages` run in order and are what `fine_tune` opens: of a ResNet, stage 0 is the stem and 1 to 4 are its blocks.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.name not in BACKBONES:
            raise ConfigError(f"unknown encoder {config.name!r}", f"known: {', '.join(BACKBONES)}")
        self.config = config
        self.stages = _split(config.name, _network(config.name, config.width))
        self.channels = _channels(self.stages)
        self._trained_from: int | None = 0
        self._norms = True

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images
        for stage in self.stages:
            x = stage(x)  # (B, C, H, W)
        grid = x.flatten(2).transpose(1, 2)  # (B, N, C)
        return grid, grid.mean(1)  # (B, C)

    def fine_tune(self, from_block: int | None, norms: bool = True) -> None:
        """Train stages `from_block` and later only (S0 opens 2 to 4); None freezes all, 0 trains all.

        Frozen stages stay in evaluation mode whatever `train()` says, so their batch-norm statistics do not move;
        without `norms` those of the trained stages do not move either.
        """
        self._trained_from, self._norms = from_block, norms
        for i, stage in enumerate(self.stages):
            stage.requires_grad_(from_block is not None and i >= from_block)
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for i, stage in enumerate(self.stages):
            if self._trained_from is None or i < self._trained_from:
                stage.eval()
        for layer in self.modules() if not self._norms else ():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        return self

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Load the state dict of the whole torchvision network; its classifier is left out.

        Raises RuntimeError naming missing keys where the dict is of another network.
        """
        whole = _network(self.config.name, self.config.width)
        whole.load_state_dict(state)
        self.stages.load_state_dict(_split(self.config.name, whole).state_dict())


def _network(name: str, width: int = 64) -> nn.Module:
    if width != 64:
        return _narrowed(name, width)
    models = torchvision().models
    extra = {"aux_logits": True, "init_weights": True} if name == "inception_v3" else {}
    return cast(nn.Module, getattr(models, name)(weights=None, **extra))


def _narrowed(name: str, width: int) -> nn.Module:
    """Build a ResNet-18 or -34 with `width`, 2, 4 and 8 times as many channels in its blocks, as torchvision makes
    it."""
    if name not in DEPTHS or width < 1:
        raise ConfigError(f"encoder.width is {width}", f"64; 1 or more for {' and '.join(DEPTHS)}")
    block = torchvision().models.resnet.BasicBlock

    class Narrowed(torchvision().models.ResNet):  # type: ignore[misc]
        def _make_layer(self, block: type[nn.Module], planes: int, *rest: Any, **more: Any) -> nn.Sequential:
            if planes == 64:  # the first: behind the stem
                self.inplanes = width
                self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
                self.bn1 = nn.BatchNorm2d(width)
            return cast(nn.Sequential, super()._make_layer(block, planes * width // 64, *rest, **more))

    net = Narrowed(block, DEPTHS[name])
    net.fc = nn.Linear(8 * width, 1000)
    return cast(nn.Module, net)


def _split(name: str, net: nn.Module) -> nn.ModuleList:
    """Split the backbone into five stages; each later one halves the resolution at least once."""
    if "resne" in name:
        n = cast("dict[str, nn.Module]", dict(net.named_children()))
        stem = nn.Sequential(n["conv1"], n["bn1"], n["relu"], n["maxpool"])
        return nn.ModuleList([stem, n["layer1"], n["layer2"], n["layer3"], n["layer4"]])
    if name == "inception_v3":
        layers = [m for key, m in net.named_children() if key not in {"AuxLogits", "avgpool", "dropout", "fc"}]
    else:
        layers = list(cast(nn.Sequential, net.features).children())
    cuts = [round(i * len(layers) / 5) for i in range(6)]
    return nn.ModuleList([nn.Sequential(*layers[a:b]) for a, b in pairwise(cuts)])


def _channels(stages: nn.ModuleList) -> int:
    with torch.no_grad():
        x = torch.zeros(1, 3, 96, 96)
        for stage in stages:
            training = stage.training
            x = stage.eval()(x)
            stage.train(training)
    return x.shape[1]
