"""Hierarchical precision: how near to the right label the answers are in an is-a hierarchy.

Frome et al. 2013, "DeViSE", section 4 and its appendix. Shapes: Q queries, K labels. Shares are in percent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DataError
from vsearch.metrics.retrieval import Floats, Integers
from vsearch.text import wordnet

Parents = Mapping[str, Sequence[str]]
Flags = NDArray[np.bool_]


def read_hierarchy(path: Path) -> dict[str, list[str]]:
    """Read the parents of each node, from a file with `child parent` a line, as ImageNet's wordnet.is_a.txt has it.

    Empty lines and those that start with # are passed over. DataError if the file is missing or of another form.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the hierarchy {path}: {error}", "name a file of `child parent` lines") from None
    parents: dict[str, list[str]] = defaultdict(list)
    for n, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise DataError(f"{path}, line {n} is not `child parent`: {line!r}", "put two names on a line")
        parents[words[0]].append(words[1])
    return dict(parents)


def wordnet_parents() -> dict[str, list[str]]:
    """Read the hypernyms of every noun of WordNet 3.0; DataError where NLTK's corpus is not installed."""
    found = wordnet.synsets()
    if not found:
        raise DataError("WordNet is not here", f"{wordnet.INSTALL}, or name a file")
    return {wnid: list(synset.hypernyms) for wnid, synset in found.items()}


def distances(labels: Sequence[str], parents: Parents) -> Floats:
    """Count the steps (K, K) from label to label: up to a common ancestor and down again, by the shortest way; inf: no
    such way.

    A label may be an ancestor of another. DataError for labels that the hierarchy does not know.
    """
    nodes = {*parents, *(above for list_ in parents.values() for above in list_)}
    strange = [label for label in labels if label not in nodes]
    if strange:
        raise DataError(
            f"the hierarchy lacks {len(strange)} classes, {strange[0]} first", "name the hierarchy of these"
        )
    up = [_ancestors(label, parents) for label in labels]
    columns = {node: n for n, node in enumerate(dict.fromkeys(node for steps in up for node in steps))}
    table = np.full((len(columns), len(labels)), np.inf, np.float32)  # (nodes, K): steps up from label to node
    for k, steps in enumerate(up):
        for node, count in steps.items():
            table[columns[node], k] = count
    rows = [
        np.min([table[columns[node]] + count for node, count in steps.items()], axis=0)  # (K,)
        for steps in up
    ]
    return np.array(rows, np.float32).reshape(len(labels), len(labels))


def correct_sets(distance: Floats, k: int) -> Flags:
    """Return the paper's hCorrectSet(k) of each label, as flags (K, K): all labels within the least radius that holds
    k.

    Where fewer than `k` labels can be reached, those.
    """
    k = min(k, len(distance))
    radius = np.sort(distance, axis=1)[:, k - 1 : k]  # (K, 1)
    return np.asarray((distance <= radius) & np.isfinite(distance))


def hierarchical_precision(similarity: Floats, label: Integers, distance: Floats, k: int) -> float:
    """Return the mean share of the `k` nearest labels that lie in the correct set of the right one: (Q, K), (Q,),
    (K, K).

    Of labels that tie, wrong ones come first. With k = 1 this is flat hit@1.
    """
    right = correct_sets(distance, k)[label]  # (Q, K)
    order = np.lexsort((right, -similarity))[:, :k]  # (Q, k)
    return 100 * float(np.take_along_axis(right, order, 1).mean())


def _ancestors(label: str, parents: Parents) -> dict[str, int]:
    """Return `label` itself and every node above it, with the steps up to it."""
    steps, edge, height = {label: 0}, {label}, 0
    while edge:
        height += 1
        edge = {above for node in edge for above in parents.get(node, ())} - steps.keys()
        steps |= dict.fromkeys(edge, height)
    return steps
