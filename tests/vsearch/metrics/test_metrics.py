"""Metrics by hand, and against coco-caption's own code where it is installed."""

from __future__ import annotations

import importlib
import math
import random

import numpy as np
import pytest

from vsearch.metrics.caption import Cider, bleu, cider, rouge_l
from vsearch.metrics.retrieval import (
    evaluate_retrieval,
    hit_at,
    picture_to_text_ranks,
    recall_at,
    text_to_picture_ranks,
)


def split(*captions: str) -> list[list[str]]:
    return [caption.split() for caption in captions]


def test_bleu_by_hand() -> None:
    """Every 1-, 2- and 3-gram of "the cat sat" is in a reference, no 4-gram exists; brevity penalty e^(1 - 4/3)."""
    scores = bleu([split("the cat sat down")], split("the cat sat"))
    penalty = 100 * math.exp(1 - 4 / 3)
    assert scores == {
        "bleu1": pytest.approx(penalty),
        "bleu2": pytest.approx(penalty),
        "bleu3": pytest.approx(penalty),
        "bleu4": 0.0,
    }


def test_bleu_is_of_the_corpus_over_all_references() -> None:
    """Unigrams: "a dog" matches 1 of 2 (only dog), "two red cats" 3 of 3 over two references: 4 of 5 in all.

    Reference lengths closest to 2 and 3 are 2 and 3: no penalty. Bigrams: 0 of 1 and 1 of 2 ("red cats"): 1 of 3.
    """
    scores = bleu([split("the dog"), split("two cats sit", "red cats")], split("a dog", "two red cats"))
    assert scores["bleu1"] == pytest.approx(100 * 4 / 5)
    assert scores["bleu2"] == pytest.approx(100 * math.sqrt(4 / 5 * 1 / 3))


def test_bleu_of_empty_captions_is_zero() -> None:
    assert bleu([split("a dog")], [[]]) == {f"bleu{n}": 0.0 for n in (1, 2, 3, 4)}


def test_cider_by_hand() -> None:
    """Two pictures, "a b" and "c d": every n-gram is in one of two, so all idf are log 2 and cancel in the cosines.

    "a b" against itself: cosine 1 for orders 1 and 2, nothing for 3 and 4: (1 + 1 + 0 + 0) / 4.
    "c e" against "c d": order 1 has 1 / (sqrt 2 sqrt 2), order 2 nothing: 1/2 / 4. Same lengths: no discount.
    """
    scores = Cider([split("a b"), split("c d")]).score(split("a b", "c e"))
    assert scores.tolist() == pytest.approx([1000 * 2 / 4, 1000 * 0.5 / 4])
    assert cider([split("a b"), split("c d")], split("a b", "c e")) == pytest.approx(1000 * (2 / 4 + 0.5 / 4) / 2)


def test_cider_d_clips_and_discounts_by_hand() -> None:
    """A thrice against "a b": tf-idf (3, 0) and (1, 1) times log 2: cosine 3 / (3 sqrt 2), clipped 1 / (3 sqrt 2).

    CIDEr-D also takes e^(-1 / 72) for one word too many (sigma 6); bigrams share nothing.
    """
    references = [split("a b"), split("c d")]
    plain = Cider(references, plain=True).score(split("a a a"), [0])[0]
    clipped = Cider(references).score(split("a a a"), [0])[0]
    assert plain == pytest.approx(1000 / math.sqrt(2) / 4)
    assert clipped == pytest.approx(1000 / (3 * math.sqrt(2)) * math.exp(-1 / 72) / 4)


def test_cider_means_over_references_and_knows_the_picture() -> None:
    scorer = Cider([split("a b", "c d"), split("e f")])
    assert scorer.score(split("a b"), [0]).tolist() == pytest.approx([500 / 2])
    assert scorer.score(split("a b"), [1]).tolist() == [0.0]


def test_cider_of_one_picture_is_zero() -> None:
    """Every n-gram is in all pictures there are: idf 0."""
    assert cider([split("a dog")], split("a dog")) == 0.0


def test_rouge_l_by_hand() -> None:
    """ "a b c d" against "a x b": common "a b", precision 2/4, recall 2/3, F with beta 1.2."""
    expected = (1 + 1.44) * 0.5 * (2 / 3) / (2 / 3 + 1.44 * 0.5)
    assert rouge_l([split("a x b")], split("a b c d")) == pytest.approx(100 * expected)
    assert rouge_l([split("a x b", "q")], split("z")) == 0.0


def random_captions(pictures: int) -> tuple[list[list[list[str]]], list[list[str]]]:
    rng = random.Random(4)
    [words] = split("a dog runs through the green grass man in red shirt on beach with ball")

    def caption() -> list[str]:
        return rng.choices(words, weights=range(len(words), 0, -1), k=rng.randint(3, 12))

    return [[caption() for _ in range(rng.randint(1, 5))] for _ in range(pictures)], [
        caption() for _ in range(pictures)
    ]


def test_equal_to_coco_captions_own_code() -> None:
    theirs_cider = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    theirs_rouge = importlib.import_module("pycocoevalcap.rouge.rouge").Rouge()
    references, hypotheses = random_captions(60)
    gts = {i: [" ".join(c) for c in captions] for i, captions in enumerate(references)}
    res = {i: [" ".join(c)] for i, c in enumerate(hypotheses)}
    mean, each = theirs_cider.compute_score(gts, res)
    assert cider(references, hypotheses) == pytest.approx(100 * mean)
    assert Cider(references).score(hypotheses) == pytest.approx(100 * np.asarray(each))
    assert rouge_l(references, hypotheses) == pytest.approx(100 * theirs_rouge.compute_score(gts, res)[0])


@pytest.mark.parametrize("metric", [bleu, cider, rouge_l])
def test_mismatched_sets_are_refused(metric: object) -> None:
    for references, hypotheses in (([split("a")], []), ([], []), ([split("a")], split("a", "b"))):
        with pytest.raises(ValueError, match="captions against"):
            metric(references, hypotheses)  # type: ignore[operator]


# Three texts over two pictures; texts 0 and 1 are of picture 0, text 2 of picture 1.
SIMILARITY = np.array([[0.9, 0.1], [0.2, 0.3], [0.5, 0.4]])
OWNER = np.array([0, 0, 1])


def test_ranks_by_hand() -> None:
    """Text 1 finds picture 1 first (0.3 > 0.2), text 2 picture 0 first (0.5 > 0.4): ranks 1, 2, 2.

    Picture 0's best own text is 0 (0.9), first of all. Picture 1's own is text 2 (0.4), first of 0.1, 0.3, 0.4.
    """
    assert text_to_picture_ranks(SIMILARITY, OWNER).tolist() == [1, 2, 2]
    assert picture_to_text_ranks(SIMILARITY, OWNER).tolist() == [1, 1]
    table = evaluate_retrieval(SIMILARITY, OWNER)
    assert table["t2i_r1"] == pytest.approx(100 / 3)
    assert (table["t2i_r5"], table["t2i_median"]) == (100.0, 2.0)
    assert (table["i2t_r1"], table["i2t_median"]) == (100.0, 1.0)


def test_own_texts_do_not_push_each_other_down() -> None:
    """Picture 0's texts score 0.9 and 0.8, a foreign one 0.85: the best own one is still first."""
    similarity = np.array([[0.9, 0.0], [0.8, 0.0], [0.85, 1.0]])
    assert picture_to_text_ranks(similarity, OWNER).tolist() == [1, 1]
    similarity[2, 0] = 0.95
    assert picture_to_text_ranks(similarity, OWNER).tolist() == [2, 1]


def test_a_model_without_opinion_ranks_last() -> None:
    flat = np.zeros((3, 2))
    assert text_to_picture_ranks(flat, OWNER).tolist() == [2, 2, 2]
    assert picture_to_text_ranks(flat, OWNER).tolist() == [2, 3]


def test_pictures_without_texts_are_left_out() -> None:
    assert picture_to_text_ranks(np.ones((3, 4)) * np.arange(3)[:, None], OWNER).shape == (2,)


def test_recall_and_hits() -> None:
    assert recall_at(np.array([1, 3, 6, 11]), 5) == 50.0
    similarity, label = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.4]]), np.array([2, 1])
    assert [hit_at(similarity, label, k) for k in (1, 2, 3)] == [0.0, 50.0, 100.0]
