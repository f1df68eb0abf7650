"""Attention by hand: two cells, one query."""

from __future__ import annotations

import math

import pytest
import torch

from vsearch.networks.attention import Attention
from vsearch.networks.kernels import PLAIN


def set_to_identity(attention: Attention) -> None:
    with torch.no_grad():
        attention.key.weight.copy_(torch.eye(2))
        attention.key.bias.zero_()
        attention.query.weight.copy_(torch.eye(2))
        if attention.score is not None:
            attention.score.weight.fill_(1)


def test_dot_product_by_hand() -> None:
    """Keys (2, 0) and (0, 1), query (1, 1): scores sqrt 2 and sqrt 1/2: weights are a logistic of sqrt 1/2."""
    attention = Attention(2, 2, 2, "dot")
    set_to_identity(attention)
    memory = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    context, weights = attention(torch.tensor([[1.0, 1.0]]), memory, attention.keys(memory))
    first = 1 / (1 + math.exp(-1 / math.sqrt(2)))
    assert weights.tolist() == [pytest.approx([first, 1 - first])]
    assert context.tolist() == [pytest.approx([2 * first, 1 - first])]


def test_additive_by_hand() -> None:
    """Keys (2, 0) and (0, 1), query (-1, 1): relu(1, 1) sums to 2, relu(-1, 2) to 2: equal weights."""
    attention = Attention(2, 2, 2, "additive")
    set_to_identity(attention)
    memory = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    context, weights = attention(torch.tensor([[-1.0, 1.0]]), memory, attention.keys(memory))
    assert weights.tolist() == [pytest.approx([0.5, 0.5])]
    assert context.tolist() == [pytest.approx([1.0, 0.5])]


@pytest.mark.parametrize("scoring", ["additive", "dot"])
def test_masked_cells_get_nothing(scoring: str) -> None:
    torch.manual_seed(0)
    attention, memory, query = Attention(3, 4, 5, scoring), torch.randn(2, 4, 3), torch.randn(4, 4)
    mask = torch.tensor([[True, True, False, False], [False, False, False, False]])
    context, weights = attention(query, memory, attention.keys(memory), mask)
    short, short_weights = attention(query[:2], memory[:1, :2], attention.keys(memory[:1, :2]))
    torch.testing.assert_close(weights[:2, :2], short_weights)
    torch.testing.assert_close(context[:2], short)
    assert not weights[:2, 2:].any()
    assert not weights[2:].any() and not context[2:].any()  # nothing to attend to: no weight, no NaN


@pytest.mark.parametrize("scoring", ["additive", "dot"])
def test_own_key_scores_like_one_more_cell(scoring: str) -> None:
    torch.manual_seed(0)
    attention, keys, query, own = (
        Attention(3, 4, 5, scoring),
        torch.randn(2, 4, 5),
        torch.randn(6, 4),
        torch.randn(6, 5),
    )
    scores = attention.scores(query, keys, own)
    assert scores.shape == (6, 5)
    for row in range(6):
        alone = torch.cat([keys[row // 3], own[row : row + 1]])[None]
        torch.testing.assert_close(scores[row : row + 1], attention.scores(query[row : row + 1], alone))


def test_weighted_shares_the_memory_of_a_picture() -> None:
    memory = torch.tensor([[[1.0], [2.0]], [[10.0], [20.0]]])
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    assert PLAIN.weighted(weights, memory).tolist() == [[1.0], [1.5], [20.0], [10.0]]
