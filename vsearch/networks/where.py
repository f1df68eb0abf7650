"""Where in a picture: the head's answer to a query split exactly into one share a cell.

Shapes: N cells, C channels, D word-vector size, K classes.

The pooled vector is the mean of the cells g_n, and the layers of the head are linear in it once it is known which of
their hidden units are active. With the query's unit vector q, the active units m (0 or 1), the layers W1, b1, W2, b2
and the length |o| of the head's answer before it is brought to length 1,

    cosine = sum over n of s_n,    s_n = q . (W2 (m * (W1 g_n + b1)) + b2) / (N |o|)

A head with a class branch (see `ClassBranch`) adds p_k (q . v_k) for each class k: its probability p_k in the whole
picture and the place v_k that it draws the picture to. The softmax is not linear, so a class is divided among the cells
by its class activation map (Zhou et al. 2016, "Learning Deep Features for Discriminative Localization"), of which only
what it has over the mean class counts, for the softmax does not see what all classes have in common:

    a_nk = max(0, (W_k - mean over j of W_j) . g_n),    r_nk = a_nk / sum over n of a_nk   (1 / N where all are 0)
    s_n += sum over k of r_nk p_k (q . v_k) / |o|

As each r sums to one over the cells, the shares still sum to the cosine. They are signed: a cell may speak against.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vsearch.networks.devise import ClassBranch, DeviseHead


@torch.inference_mode()
def shares(head: DeviseHead, grid: Tensor, query: Tensor) -> Tensor:
    """Return the share of each cell of one picture, `grid` (N, C), in its cosine with a vector (D,): float64 (N,).

    They sum to the cosine of `query` with what the head, in evaluation mode, says of the mean cell.
    """
    cells, wanted = grid.double(), F.normalize(query.double(), dim=0)
    pool = cells.mean(0)
    first, last = cast("tuple[torch.nn.Linear, torch.nn.Linear]", (head.layers[0], head.layers[3]))
    hidden = _linear(first, pool)
    towards = (wanted @ last.weight.double()) * (hidden > 0)  # (H,), what each active unit adds to the product
    found = _linear(first, cells) @ towards + wanted @ last.bias.double()  # (N,)
    found = found / len(cells)
    out = _linear(last, hidden.relu())
    if head.branch is not None:
        own, places = _branch(head.branch, cells, pool, wanted)
        found, out = found + own, out + places
    return cast(Tensor, found / out.norm().clamp_min(1e-12))


def _branch(branch: ClassBranch, cells: Tensor, pool: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares (N,) of the cells in the branch's product with `wanted` (D,), and its answer (D,)."""
    logits = _linear(branch.classifier, pool) / branch.log_temperature.double().exp()
    chances, places = logits.softmax(0), branch.places().double()  # (K,), (K, D)
    weight = branch.classifier.weight.double()
    maps = (cells @ (weight - weight.mean(0)).T).relu()  # (N, K)
    sums = maps.sum(0)
    parts = torch.where(sums > 0, maps / sums.clamp_min(1e-300), 1 / len(cells))
    return parts @ (chances * (places @ wanted)), chances @ places


def _linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.double(), layer.bias.double())
