"""The quick dropout against torch's: its share, its scale, its gradient; and the head that trains with it."""

from __future__ import annotations

import pytest
import torch

from vsearch.config import DeviseConfig
from vsearch.networks.devise import DeviseHead
from vsearch.networks.fast.dropout import QuickDropout, quick_dropout
from vsearch.networks.fast.training import speed_up


@pytest.mark.parametrize("cut", [128, 51])
def test_quick_dropout_drops_its_share_and_keeps_the_mean(cut: int) -> None:
    """A million draws: the share dropped has a standard deviation of 0.0005 at most."""
    torch.manual_seed(0)
    x = torch.ones(1000, 1001, requires_grad=True)
    out = quick_dropout(x * 1, cut)
    share = cut / 256
    assert (out == 0).float().mean().item() == pytest.approx(share, abs=0.003)
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)))
    for part in (out[:, ::8], out[:, 7::8]):  # all of the eight bytes of a draw are alike
        assert (part == 0).float().mean().item() == pytest.approx(share, abs=0.006)
    torch.autograd.backward(out.sum())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach())  # the gradient passes where the value did
    assert not torch.equal(quick_dropout(x * 1, cut), out)
    torch.manual_seed(0)
    torch.testing.assert_close(quick_dropout(x * 1, cut), out)


def test_head_in_training_is_relu_and_dropout_between_its_layers() -> None:
    """With the mask read off the result: where a hidden value was kept, it and its gradient are doubled."""
    torch.manual_seed(0)
    head = speed_up(DeviseHead(DeviseConfig(hidden=64, dropout=0.5, dim=5), 6).train())
    pool = torch.randn(9, 6)
    first, last = head.layers[0], head.layers[3]
    assert isinstance(first, torch.nn.Linear) and isinstance(last, torch.nn.Linear)
    torch.manual_seed(1)
    quick = quick_dropout(first(pool), 128)
    mask = (quick > 0).float() * 2
    expected = torch.nn.functional.normalize(last(first(pool).relu() * mask), dim=-1)
    torch.manual_seed(1)
    found = head(pool)
    torch.testing.assert_close(found, expected)
    towards = torch.randn(9, 5)
    gradients = [torch.autograd.grad((out * towards).sum(), list(head.parameters())) for out in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(head.eval()(pool), head(pool))


@pytest.mark.parametrize("p", [0.0, 0.001, 1.0])
def test_where_bytes_cannot_say_it_dropout_is_torchs(p: float) -> None:
    x = torch.randn(50, 50)
    torch.manual_seed(2)
    found = QuickDropout(p).train()(x.clone())
    torch.manual_seed(2)
    assert torch.equal(found, torch.nn.functional.dropout(x.relu(), p))
