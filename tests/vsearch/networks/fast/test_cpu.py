"""The kernels of a CPU: equal to the plain ones, in blocks and over rows of any number."""

from __future__ import annotations

import pytest
import torch

from vsearch.networks.attention import Attention
from vsearch.networks.fast.cpu import ROWS, CpuKernels, evened


@pytest.mark.parametrize("scoring", ["additive", "tanh"])
def test_scores_of_few_pictures_at_a_time_are_the_same(scoring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven pictures of three rows: all at once, then in blocks of one, of three with one over, and of two."""
    torch.manual_seed(0)
    attention, memory, query, own = Attention(3, 4, 5, scoring), torch.randn(7, 6, 3), torch.randn(21, 4), torch.ones(5)
    keys, sizes = attention.keys(memory).detach(), list[int]()
    whole = attention.scores(query, keys, own.expand(21, 5)).detach()
    plain = attention.energy

    def counted(k: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        sizes.append(len(q))
        return plain(k, q)

    monkeypatch.setattr(attention, "energy", counted)
    for pictures in (1, 3, 2):
        monkeypatch.setattr("vsearch.networks.fast.cpu.BLOCK", pictures * 3 * 6 * 5)
        with torch.no_grad():
            scores = attention.scores(query, keys, own.expand(21, 5), CpuKernels())
            torch.testing.assert_close(scores, whole)
    assert sizes == [*[1] * 7, 21, 3, 3, 1, 21, 2, 2, 2, 1, 21]


@pytest.mark.parametrize("count", [1, ROWS - 1, ROWS, ROWS + 1])
def test_rows_are_evened_and_cut_again(count: int) -> None:
    rows, seen = torch.randn(count, 3, requires_grad=True), list[int]()

    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return 2 * x

    found = CpuKernels().rows(double, rows)
    assert torch.equal(found, 2 * rows) and seen[0] % ROWS == 0
    torch.autograd.backward(found.sum())
    assert rows.grad is not None and torch.equal(rows.grad, torch.full_like(rows, 2))
    assert torch.equal(evened(rows)[:count], rows) and not evened(rows)[count:].any()
