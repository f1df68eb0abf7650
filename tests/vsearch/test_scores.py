"""Scores: the file, the curve, and captions mixed into vectors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from vsearch.errors import ConfigError, ModelError
from vsearch.scores import Scores, mix
from vsearch.storage import modelfolder


def test_round_trip(tmp_path: Path) -> None:
    ranking = Scores(0.25, (8.5, -4.0), None)
    ranking.save(tmp_path)
    assert Scores.load(tmp_path) == ranking
    assert [path.name for path in tmp_path.iterdir()] == ["ranking.json"]


def test_without_a_file_scores_are_cosines(tmp_path: Path) -> None:
    ranking = Scores.load(tmp_path)
    assert ranking == Scores() and ranking.weight("words") == 0
    assert ranking.calibrate(-0.3, "words") == -0.3 and not ranking.is_calibrated("picture")


def test_the_curve() -> None:
    ranking = Scores(0.5, (4.0, -2.0), (2.0, math.log(3)))
    assert ranking.calibrate(0.5, "words") == pytest.approx(0.5)  # 4 / 2 - 2 = 0, 1 / (1 + 1)
    assert ranking.calibrate(0.0, "picture") == pytest.approx(0.75)  # 1 / (1 + exp(-ln 3)) = 1 / (1 + 1/3)
    assert ranking.calibrate(1.0, "words") == pytest.approx(1 / (1 + math.exp(-2)))
    assert ranking.weight("words") == 0.5 and ranking.weight("picture") == 0
    assert Scores(words=(1e9, 0.0)).calibrate(-1.0, "words") == 0


@pytest.mark.parametrize(
    "table",
    [
        {"caption_weight": 1.5},
        {"caption_weight": -0.1},
        {"words": [0.0, 1.0]},
        {"words": [1.0]},
        {"other": 1},
        [1],
        {"words_knots": [[0.1, 0.5], [0.2, 0.4]]},
        {"words_knots": [[0.2, 0.1], [0.2, 0.4]]},
        {"words_knots": [[0.1, 1.5]]},
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path, table: object) -> None:
    (tmp_path / "ranking.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"ranking\.json") as caught:
        Scores.load(tmp_path)
    assert "`training.evaluate.scores`" in caught.value.hint


def test_between_knots_the_curve_is_straight(tmp_path: Path) -> None:
    ranking = Scores(0.5, (4.0, -2.0), None, ((0.2, 0.1), (0.6, 0.9)))
    ranking.save(tmp_path)
    assert Scores.load(tmp_path) == ranking and ranking.is_calibrated("words")
    shares = [ranking.calibrate(cosine, "words") for cosine in (-1.0, 0.2, 0.3, 0.6, 1.0)]
    assert shares == pytest.approx([0.1, 0.1, 0.3, 0.9, 0.9])  # and before its first and behind its last knot, level


def test_a_curve_must_rise_and_be_finite() -> None:
    for curve in ((-1.0, 0.0), (math.inf, 0.0), (1.0, math.nan)):
        with pytest.raises(ConfigError, match="slope above 0"):
            Scores(picture=curve)


def test_mix() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    captions = np.array([[0, 1], [0, 0], [0, 1], [-1, 0]], np.float32)
    mixed = mix(vectors, captions, 0.5)
    # (1/2, 1/2) at length 1; no caption: as it is; the same: as it is; one takes the other away: as it is
    half = math.sqrt(0.5)
    assert mixed == pytest.approx(np.array([[half, half], [1, 0], [0, 1], [1, 0]]), abs=1e-6)
    # (3, 1) / sqrt(10)
    assert mix(vectors, captions, 0.25)[0] == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)], abs=1e-6)
    assert mix(vectors, captions, 1.0)[:2] == pytest.approx(np.array([[0, 1], [1, 0]]), abs=1e-6)
    assert np.array_equal(mix(vectors, captions, 0.0), vectors)


def test_the_bundled_model_has_a_ranking() -> None:
    ranking = Scores.load(modelfolder.bundled())
    assert 0 < ranking.caption_weight < 1 and ranking.is_calibrated("words") and ranking.is_calibrated("picture")
