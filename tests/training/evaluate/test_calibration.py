"""Curves from cosines to probabilities: what they are fitted to, and how right they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluate.calibration import (
    Judged,
    fit_curve,
    fit_knots,
    log_loss,
    predicted,
    reliability,
    together,
)
from vsearch.errors import DataError
from vsearch.scores import Scores, shares_of


def drawn(slope: float, offset: float, said: float = 1.0, count: int = 40_000, seed: int = 0) -> Judged:
    """Hits that fit with the probability of a logistic curve and are told to with that of `said`."""
    rng = np.random.default_rng(seed)
    cosines = rng.uniform(-0.2, 0.8, count)
    fits = rng.random(count) < said / (1 + np.exp(-(slope * cosines + offset)))
    return Judged(cosines, fits, np.full(count, said))


def test_the_fit_finds_the_curve_that_was_drawn_from() -> None:
    hits = drawn(6, -2)
    slope, offset = fit_curve(hits)
    assert slope == pytest.approx(6, abs=0.25) and offset == pytest.approx(-2, abs=0.1)
    found = reliability(predicted(hits, Scores(0.0, (slope, offset)), "words"), hits.fits)
    assert found.error < 0.02 and found.hits == 40_000


def test_what_people_leave_out_does_not_lower_the_curve() -> None:
    hits = drawn(6, -2, said=0.4)
    slope, offset = fit_curve(hits)
    assert slope == pytest.approx(6, abs=0.6) and offset == pytest.approx(-2, abs=0.15)
    assert fit_curve(Judged(hits.cosines, hits.fits))[1] < -2.5  # taken at their word they would
    at = np.array([0.0, 0.3, 0.7])
    assert shares_of(at, fit_knots(hits)) == pytest.approx(1 / (1 + np.exp(-(6 * at - 2))), abs=0.05)
    share = predicted(hits, Scores(0.0, (slope, offset)), "words")
    assert share.max() < 0.4 and reliability(share, hits.fits).error < 0.02


def test_the_fit_by_hand() -> None:
    """Two cosines, 0 and 1, with 1 of 4 and 3 of 4 that fit: Platt's targets are 5/6 and 1/6, as 4 fit and 4 do not.

    The means are (5/6 + 3/6) / 4 = 1/3 and 2/3: offset ln(1/2), slope ln 2 - ln(1/2) = 2 ln 2.
    """
    cosines = np.repeat([0.0, 1.0], 4)
    fits = np.array([True, False, False, False, True, True, True, False])
    slope, offset = fit_curve(Judged(cosines, fits))
    assert slope == pytest.approx(2 * math.log(2)) and offset == pytest.approx(-math.log(2))


def test_knots_by_hand() -> None:
    """Blocks of one hit each: 0, 1, 0, 1 with rising cosines; the two in the middle fall, and are pooled to a half."""
    hits = Judged(np.array([0.3, 0.1, 0.2, 0.4]), np.array([False, False, True, True]))
    assert fit_knots(hits) == ((-1.0, 0.0), (0.1, 0.0), (0.25, 0.5), (0.4, 1.0), (1.0, 1.0))
    heavy = Judged(hits.cosines, hits.fits, weight=np.array([3.0, 1.0, 1.0, 1.0]))
    assert fit_knots(heavy) == ((-1.0, 0.0), (0.1, 0.0), (0.275, 0.25), (0.4, 1.0), (1.0, 1.0))


def test_sets_of_hits_weigh_the_same() -> None:
    few, many = Judged(np.zeros(2), np.ones(2, bool)), Judged(np.ones(6), np.zeros(6, bool), np.full(6, 0.5))
    both = together(few, many)
    assert both.weight.tolist() == pytest.approx([2, 2] + [4 / 6] * 6) and both.said.tolist() == [1, 1] + [0.5] * 6


def test_what_cannot_be_fitted() -> None:
    for fit in (fit_curve, fit_knots):
        with pytest.raises(DataError, match="0 hits fit"):
            fit(Judged(np.array([0.1, 0.2]), np.array([False, False])))
    with pytest.raises(DataError, match="no more often"):
        fit_curve(Judged(np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, True, False, False])))


def test_log_loss_by_hand() -> None:
    """share(0) = 1/2 and share(ln 3) = 3/4; the second is said of half the photos: told with 3/8."""
    hits = Judged(np.array([0.0, math.log(3)]), np.array([True, False]), np.array([1.0, 0.5]))
    assert log_loss(hits, (1.0, 0.0)) == pytest.approx((math.log(2) - math.log(5 / 8)) / 2)


def test_reliability_by_hand() -> None:
    """share(0) = 1/2, share(ln 3) = 3/4."""
    hits = Judged(np.array([0.0, 0.0, math.log(3), math.log(3)]), np.array([True, True, True, False]))
    found = reliability(predicted(hits, Scores(words=(1.0, 0.0)), "words"), hits.fits)
    assert [(one.count, one.found) for one in found.bins] == [(2, 1.0), (2, 0.5)]
    assert [one.predicted for one in found.bins] == pytest.approx([0.5, 0.75])
    assert found.error == pytest.approx(0.5 * 0.5 + 0.5 * 0.25)  # half of the hits off by 1/2, half by 1/4
