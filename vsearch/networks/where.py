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

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]


def shares(weights: Mapping[str, Floats], grid: Floats, query: Floats) -> Doubles:
    """Return the share of each cell of one picture, `grid` (N, C), in its cosine with a vector (D,): float64 (N,).

    `weights` are those of a `DeviseHead`, by their names. The shares sum to the cosine of `query` with what the head,
    in evaluation mode, says of the mean cell.
    """
    cells, wanted = grid.astype(np.float64), query.astype(np.float64)
    wanted /= max(float(np.linalg.norm(wanted)), 1e-12)
    pool = cells.mean(0)
    hidden = _linear(weights, "layers.0", pool)
    towards = (wanted @ weights["layers.3.weight"]) * (hidden > 0)  # (H,), what each active unit adds to the product
    found = _linear(weights, "layers.0", cells) @ towards + wanted @ weights["layers.3.bias"]  # (N,)
    found = found / len(cells)
    out = _linear(weights, "layers.3", np.maximum(hidden, 0))
    if "branch.vectors" in weights:
        own, places = _branch(weights, cells, pool, wanted)
        found, out = found + own, out + places
    return np.asarray(found / max(float(np.linalg.norm(out)), 1e-12))


def _branch(weights: Mapping[str, Floats], cells: Doubles, pool: Doubles, wanted: Doubles) -> tuple[Doubles, Doubles]:
    """Return the shares (N,) of the cells in the branch's product with `wanted` (D,), and its answer (D,)."""
    logits = _linear(weights, "branch.classifier", pool) / np.exp(weights["branch.log_temperature"].astype(np.float64))
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()  # (K,)
    places = weights["branch.vectors"] @ weights["branch.map"].astype(np.float64) + weights["branch.shift"]
    places *= np.exp(weights["branch.log_gate"].astype(np.float64))  # (K, D)
    weight = weights["branch.classifier.weight"].astype(np.float64)
    maps = np.maximum(cells @ (weight - weight.mean(0)).T, 0)  # (N, K)
    sums = maps.sum(0)
    parts = np.where(sums > 0, maps / np.maximum(sums, 1e-300), 1 / len(cells))
    return parts @ (chances * (places @ wanted)), chances @ places


def _linear(weights: Mapping[str, Floats], name: str, x: Doubles) -> Doubles:
    return np.asarray(x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"])
