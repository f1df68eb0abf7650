"""Caption metrics over a corpus, all in percent: BLEU by NLTK, CIDEr and ROUGE-L as coco-caption computes them.

References are, for each picture, several tokenised captions; a hypothesis is one tokenised caption for each picture.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[str]
References = Sequence[Sequence[Tokens]]
Grams = dict[tuple[str, ...], float]
ORDERS = (1, 2, 3, 4)


def bleu(references: References, hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """Compute corpus BLEU-1 to 4 (Papineni et al. 2002) over all references, unsmoothed: keys bleu1 to bleu4, 0 to 100.

    Raises ValueError if the two differ in length or are empty.
    """
    from nltk.translate.bleu_score import corpus_bleu

    _check(references, hypotheses)
    weights = [tuple(1 / n if i <= n else 0.0 for i in ORDERS) for n in ORDERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NLTK warns where an order has no match at all: then BLEU is 0
        scores = corpus_bleu([list(r) for r in references], list(hypotheses), weights)
    return {f"bleu{n}": 100 * float(s) if s > 1e-9 else 0.0 for n, s in zip(ORDERS, scores, strict=True)}


def cider(references: References, hypotheses: Sequence[Tokens], plain: bool = False) -> float:
    """Return the mean of `Cider(references, plain).score(hypotheses)`: what papers on captioning report as CIDEr."""
    _check(references, hypotheses)
    return float(Cider(references, plain).score(hypotheses).mean())


class Cider:
    """CIDEr-D (Vedantam et al. 2015, section 7), which coco-caption calls CIDEr; `plain` is CIDEr itself (eq. 1 to 3).

    The document frequency of an n-gram is the number of pictures that have it in a reference, so that scores of
    different sets do not compare. It is counted once here: scoring again, as self-critical training does, is cheap.
    """

    def __init__(self, references: References, plain: bool = False, sigma: float = 6.0) -> None:
        self.plain, self.sigma = plain, sigma
        counts = [[_grams(tokens) for tokens in captions] for captions in references]
        frequency: Counter[tuple[str, ...]] = Counter()
        for captions in counts:
            frequency.update({gram for caption in captions for gram in caption})
        self._log_pictures = math.log(max(1, len(references)))
        self._log_frequency = {gram: math.log(n) for gram, n in frequency.items()}
        self._vectors = [
            [(self._weigh(grams), len(tokens)) for grams, tokens in zip(counted, captions, strict=True)]
            for counted, captions in zip(counts, references, strict=True)
        ]

    def score(self, hypotheses: Sequence[Tokens], pictures: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Return the score of each hypothesis, 0 to 1000, against the references of picture `pictures[i]` (None: of
        i)."""
        rows = range(len(hypotheses)) if pictures is None else pictures
        return np.array([self._one(tokens, row) for tokens, row in zip(hypotheses, rows, strict=True)])

    def _one(self, tokens: Tokens, picture: int) -> float:
        vector = self._weigh(_grams(tokens))
        own = self._vectors[picture]
        total = sum(self._similarity(vector, reference, len(tokens) - length) for reference, length in own)
        return 1000 * total / max(1, len(own))

    def _weigh(self, grams: Counter[tuple[str, ...]]) -> list[tuple[Grams, float]]:
        """Return for each order the tf-idf of its n-grams, and their norm."""
        vectors: list[Grams] = [{} for _ in ORDERS]
        for gram, count in grams.items():
            vectors[len(gram) - 1][gram] = count * (self._log_pictures - self._log_frequency.get(gram, 0.0))
        return [(vector, math.sqrt(sum(v * v for v in vector.values()))) for vector in vectors]

    def _similarity(self, one: list[tuple[Grams, float]], other: list[tuple[Grams, float]], longer: int) -> float:
        """Return the mean cosine over the orders; clipped and discounted by the difference in length unless plain."""
        total = 0.0
        for (a, norm_a), (b, norm_b) in zip(one, other, strict=True):
            if norm_a and norm_b:
                shared = ((v, b[gram]) for gram, v in a.items() if gram in b)
                total += sum((x if self.plain else min(x, y)) * y for x, y in shared) / (norm_a * norm_b)
        discount = 1.0 if self.plain else math.exp(-(longer**2) / (2 * self.sigma**2))
        return total * discount / len(ORDERS)


def rouge_l(references: References, hypotheses: Sequence[Tokens], beta: float = 1.2) -> float:
    """Compute ROUGE-L (Lin 2004) as coco-caption has it: best precision and best recall over the references, 0 to
    100."""
    _check(references, hypotheses)
    scores = []
    for captions, hypothesis in zip(references, hypotheses, strict=True):
        common = [_longest_common(hypothesis, caption) for caption in captions]
        precision = max(common, default=0) / max(1, len(hypothesis))
        recall = max((n / max(1, len(c)) for n, c in zip(common, captions, strict=True)), default=0.0)
        both = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / both if both else 0.0)
    return 100 * float(np.mean(scores))


def _grams(tokens: Tokens) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for n in ORDERS for i in range(len(tokens) - n + 1))


def _longest_common(a: Tokens, b: Tokens) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def _check(references: References, hypotheses: Sequence[Tokens]) -> None:
    if not hypotheses or len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} captions against the references of {len(references)} pictures")
