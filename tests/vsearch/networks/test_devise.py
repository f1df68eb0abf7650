"""The DeViSE head, and its losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vsearch.config import DeviseConfig
from vsearch.networks.devise import DeviseHead
from vsearch.networks.losses import Contrastive, captions_loss, contrastive_loss, cosine_loss, hinge_rank_loss

X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [math.sqrt(0.5), math.sqrt(0.5)]


def test_head_gives_unit_vectors_and_trains_whole() -> None:
    torch.manual_seed(0)
    head = DeviseHead(DeviseConfig(hidden=8, dropout=0.2, dim=5), 6)
    out = head(torch.randn(7, 6))
    assert out.shape == (7, 5) and out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.ones(7))
    torch.autograd.backward(cosine_loss(out, torch.randn(7, 5)))
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_head_answers_float32_under_autocast() -> None:
    head = DeviseHead(DeviseConfig(hidden=8, dim=5), 6).eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = head(torch.randn(3, 6))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))


def two_branches() -> DeviseHead:
    torch.manual_seed(0)
    head = DeviseHead(DeviseConfig(hidden=8, dropout=0.0, dim=2, classes=3), 4)
    assert head.branch is not None
    head.branch.start(torch.eye(3, 4), torch.zeros(3), torch.tensor([X, Y, DIAGONAL]))
    return head


def test_branch_is_the_sum_of_class_vectors_by_their_probabilities() -> None:
    """By hand: logits (ln 6, 0, 0) at temperature 1 are probabilities of 3/4, 1/8, 1/8."""
    branch = two_branches().branch
    assert branch is not None
    pool = torch.tensor([[math.log(6), 0.0, 0.0, 5.0]])
    x, y = 3 * (0.75 + 0.125 * DIAGONAL[0]), 3 * (0.125 + 0.125 * DIAGONAL[1])
    torch.testing.assert_close(branch(pool), torch.tensor([[x, y]]))
    with torch.no_grad():
        branch.log_temperature.fill_(math.log(2))  # logits of ln 36 at a temperature of 2 are the same
        branch.map.copy_(torch.tensor([Y, X]))
        branch.log_gate.fill_(0.0)
        branch.shift[0] = torch.tensor([0.0, 8.0])
    torch.testing.assert_close(branch(2 * pool), torch.tensor([[y / 3, x / 3 + 6]]))


def test_both_branches_are_added_and_the_classifier_stays() -> None:
    head = two_branches()
    assert head.branch is not None
    pool = torch.randn(5, 4)
    total = head.layers(pool) + head.branch(pool)
    torch.testing.assert_close(head(pool), total / total.norm(dim=1, keepdim=True))
    torch.autograd.backward(cosine_loss(head(pool), torch.randn(5, 2)))
    still = {name for name, p in head.named_parameters() if p.grad is None}
    assert still == {"branch.classifier.weight", "branch.classifier.bias"}
    assert all(p.grad.any() for name, p in head.named_parameters() if p.grad is not None)


def test_branch_takes_only_what_fits() -> None:
    branch = two_branches().branch
    assert branch is not None
    with pytest.raises(ValueError, match=r"this branch takes \(3, 2\), not \(3, 5\)"):
        branch.start(torch.eye(3, 4), torch.zeros(3), torch.zeros(3, 5))


def test_head_of_the_paper_has_no_branch() -> None:
    assert {name.split(".")[0] for name in DeviseHead(DeviseConfig(), 4).state_dict()} == {"layers"}


def test_cosine_loss_by_hand() -> None:
    """Angles of 0, 90 and 45 degrees, and lengths that must not matter: 1 - (1 + 0 + sqrt 1/2) / 3."""
    loss = cosine_loss(torch.tensor([X, X, X]), torch.tensor([[3.0, 0.0], Y, [5.0, 5.0]]))
    assert loss.item() == pytest.approx(1 - (1 + math.sqrt(0.5)) / 3)


def test_hinge_rank_loss_by_hand() -> None:
    """Labels x, y and the diagonal d; margin 0.1, s = sqrt 1/2.

    Picture at x with label x: max(0, .1 - 1 + 0) + max(0, .1 - 1 + s) = 0.
    Picture at x with label d: max(0, .1 - s + 1) + max(0, .1 - s + 0) = 1.1 - s.
    """
    loss = hinge_rank_loss(torch.tensor([X, X]), torch.tensor([0, 2]), torch.tensor([X, Y, DIAGONAL]))
    assert loss.item() == pytest.approx((1.1 - math.sqrt(0.5)) / 2)


def test_hinge_rank_loss_skips_the_right_label() -> None:
    """With a margin above 2 every wrong label counts: here one of them, 3 - 1 + 0; the right one would add 3."""
    loss = hinge_rank_loss(torch.tensor([X]), torch.tensor([0]), torch.tensor([X, Y]), margin=3.0)
    assert loss.item() == pytest.approx(2.0)


def test_contrastive_loss_by_hand() -> None:
    """Pictures x, y against targets x, y at scale 2: each softmax is e^2 / (e^2 + 1), both ways."""
    loss = contrastive_loss(torch.tensor([X, Y]), torch.tensor([X, Y]), 2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_captions_loss_by_hand() -> None:
    """The first picture (1, 0) has the captions (1, 0) and (0, 1), the second (0, 1) has (0, 1). At scale 2 the cosines
    are 2 or 0: the first finds its own with e^2 / (e^2 + 2) and 1 / (e^2 + 2), the second with e^2 / (2 e^2 + 1);
    captions find theirs with e^2 / (e^2 + 1), 1 / (e^2 + 1) and e^2 / (e^2 + 1)."""
    e2 = math.exp(2)
    pictures, owner = torch.tensor([X, Y]), torch.tensor([0, 0, 1])
    first = (math.log(e2 / (e2 + 2)) + math.log(1 / (e2 + 2))) / 2
    to_text = -(first + math.log(e2 / (2 * e2 + 1))) / 2
    to_picture = -(2 * math.log(e2 / (e2 + 1)) + math.log(1 / (e2 + 1))) / 3
    for share in (0.0, 0.65, 1.0):
        loss = captions_loss(pictures, torch.tensor([X, Y, Y]), owner, 2.0, share)
        assert loss.item() == pytest.approx(share * to_text + (1 - share) * to_picture, rel=1e-5)


def test_captions_loss_of_one_caption_each_is_the_contrastive_one() -> None:
    torch.manual_seed(0)
    pictures, captions = (F.normalize(torch.randn(5, 3), dim=-1) for _ in range(2))
    one = captions_loss(pictures, captions, torch.arange(5), 4.0)
    torch.testing.assert_close(one, contrastive_loss(pictures, captions, 4.0))


def test_contrastive_loss_leaves_out_the_same_group() -> None:
    """Rows 0 and 1 are one picture's. Row 0 competes with row 2 only: log(1 + e^(0 - 1)); so do 1 and, with two, 2."""
    vectors = torch.tensor([X, X, Y])
    loss = contrastive_loss(vectors, vectors, 1.0, group=torch.tensor([7, 7, 8]))
    assert loss.item() == pytest.approx((2 * math.log(1 + math.exp(-1)) + math.log(1 + 2 * math.exp(-1))) / 3)


def test_temperature_is_learned_and_bounded() -> None:
    contrastive = Contrastive(0.5)
    assert contrastive.scale.item() == pytest.approx(2.0)
    torch.autograd.backward(contrastive(torch.tensor([X, Y]), torch.tensor([X, Y])))
    assert contrastive.log_scale.grad is not None and contrastive.log_scale.grad.item() < 0  # sharper is better here
    with torch.no_grad():
        contrastive.log_scale.fill_(50.0)
    assert contrastive.scale.item() == pytest.approx(100.0)
