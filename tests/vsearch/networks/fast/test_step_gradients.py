"""Teacher forcing with collected gradients against the plain kernels, in value and gradient, at uneven lengths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsearch.config import DecoderConfig
from vsearch.networks.decoders import KINDS, build_decoder
from vsearch.networks.fast.step_gradients import StepGradients, teaching_kernels
from vsearch.networks.fast.training import speed_up

CAPTIONS = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 8, 9, 4, 2], [1, 2, 0, 0, 0, 0]])
LENGTHS = torch.tensor([4, 6, 2])
ROWS = torch.tensor([1, 0, 1])


def taught(kind: str, scoring: str, frozen: bool, fast: bool) -> tuple[Tensor, list[Tensor | None]]:
    torch.manual_seed(3)
    config = DecoderConfig(kind=kind, embed=8, hidden=7, attention=9, dropout=0.0, scoring=scoring)
    model = build_decoder(config, 6, 11).train()
    if frozen:
        next(p for name, p in model.named_parameters() if "recurrent.weight" in name).requires_grad_(False)
    if fast:
        speed_up(model)
    memory = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(5), requires_grad=True)
    out = model(memory, CAPTIONS, LENGTHS, ROWS)
    torch.autograd.backward(F.cross_entropy(out.logits, out.targets))
    return out.logits, [memory.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scoring", ["additive", "tanh", "dot"])
@pytest.mark.parametrize("frozen", [False, True])
def test_equal_to_the_plain_kernels(kind: str, scoring: str, frozen: bool) -> None:
    logits, gradients = taught(kind, scoring, frozen, fast=True)
    plain, expected = taught(kind, scoring, frozen, fast=False)
    torch.testing.assert_close(logits, plain)
    assert [g is None for g in gradients] == [g is None for g in expected]
    for gradient, other in zip(gradients, expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)


def test_nothing_is_collected_where_no_gradient_is_taken() -> None:
    nothing = torch.zeros(1, 0, 0)
    assert isinstance(teaching_kernels(nothing, nothing, None), StepGradients)
    with torch.no_grad():
        assert not isinstance(teaching_kernels(nothing, nothing, None), StepGradients)
