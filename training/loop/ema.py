"""The exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Follows the weights of `module`: after each step every float moves by `1 - decay` towards its present value;
    what is no float is copied.

    The lists of tensors are made once, so the module must change in place, as optimisers and `load_state_dict` do.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        live = module.state_dict()
        self.module, self.values = module, {k: v.clone() for k, v in live.items()}
        floats = [k for k, v in live.items() if v.is_floating_point()]
        others = [k for k in live if k not in set(floats)]
        self.floats = [self.values[k] for k in floats], [live[k] for k in floats]
        self.others = [(self.values[k], live[k]) for k in others]

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.floats[0], self.floats[1], 1 - self.decay)
        for mean, value in self.others:
            mean.copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over an average; an empty one stands for the weights as they are."""
        for name, value in (values or self.module.state_dict()).items():
            self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the module the averaged weights within the block."""
        own = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.values)
        try:
            yield
        finally:
            self.module.load_state_dict(own)
