"""Choosing a ranking: which queries are asked, what fits, the logistic fit, and how reliable it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli import app
from tests.support.tiny_model import model_folder
from tests.support.training_data import flickr8k
from training.data.captions import prepare_captions
from training.data.sources.captions import read_captions
from training.evaluate import scores as module
from training.evaluate.captions import read_split
from training.evaluate.scores import Judged, Photos, fit_curve, picture_hits, queries, recalls, reliability, word_hits
from vsearch.errors import DataError
from vsearch.scores import Scores
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace

TEXTS = [
    [["a", "brown", "dog"], ["the", "dog", "runs"]],
    [["a", "brown", "cat"], ["the", "cat", "runs"]],
    [["a", "white", "dog"], ["a", "dog"]],
    [["snow"], ["white", "snow"]],
]


def test_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARES", (0.5, 0.5))
    # two of the four photos: brown, dog, runs, white; cat and snow stand in one. Side by side, and both in two photos:
    # none (brown dog, dog runs, white dog in one each)
    assert queries(TEXTS) == [("brown",), ("dog",), ("runs",), ("white",)]
    monkeypatch.setattr(module, "SHARES", (0.25, 0.25))
    assert queries(TEXTS) == [
        ("cat",),
        ("snow",),
        ("brown", "cat"),
        ("brown", "dog"),
        ("cat", "runs"),
        ("dog", "runs"),
        ("white", "dog"),
        ("white", "snow"),
    ]


def test_what_fits_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PICTURE_HITS", 1)
    vectors = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    hits = picture_hits(Photos(vectors, np.zeros_like(vectors), TEXTS))
    # nearest: 0 -> 2 (0.8), shared "dog", in it; 1 -> 2 (0.48 + 0.48), shared "cat", not in it; 2 -> 1 (0.96), shared
    # "dog", not in it; 3 -> 1 (0.8), shared "snow", not in it
    assert hits.cosines == pytest.approx([0.8, 0.96, 0.96, 0.8])
    assert hits.fits.tolist() == [True, False, False, False]


def test_what_fits_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARES", (0.5, 0.5))
    monkeypatch.setattr(module, "WORD_HITS", 1)
    space = PhraseSpace.load(model_folder())
    dog = space.vector(["dog"])
    vectors = np.array(
        [dog, -dog, -dog, -dog]
    )  # whatever is looked for: 0 where it is nearer to dog than to its opposite
    hits = word_hits(Photos(vectors, np.zeros_like(vectors), TEXTS), space, 0.0)
    asked = [word for (word,) in queries(TEXTS) if word in space.vectors]
    assert "dog" in asked and len(hits.fits) == len(asked)
    at = asked.index("dog")
    assert hits.cosines[at] == pytest.approx(1, abs=1e-5) and hits.fits[at]
    held = [{word for tokens in group for word in tokens} for group in TEXTS]
    first = [0 if float(space.vector([word]) @ dog) > 0 else 1 for word in asked]  # the first of the equal ones
    assert hits.fits.tolist() == [word in held[photo] for word, photo in zip(asked, first, strict=True)]


def test_recalls_follow_the_weight() -> None:
    """Pictures that say nothing, captions that say all: found by these alone."""
    space = PhraseSpace.load(model_folder())
    texts = [[["brown", "dog"]], [["white", "sail"]], [["red", "shirt"]]]
    captions = np.concatenate([space.vectors_of(group) for group in texts])
    vectors = np.repeat(captions.mean(axis=0, keepdims=True), 3, axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = recalls(Photos(vectors.astype(np.float32), captions, texts), space, [0.0, 1.0])
    assert rows[0]["r1"] == 0 and rows[1]["r1"] == 100  # equal scores count as missed


def test_the_fit_finds_the_curve_that_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-0.2, 0.8, 40_000)
    fits = rng.random(40_000) < 1 / (1 + np.exp(-(6 * cosines - 2)))
    slope, offset = fit_curve(Judged(cosines, fits))
    assert slope == pytest.approx(6, abs=0.25) and offset == pytest.approx(-2, abs=0.1)
    ranking = Scores(0.0, (slope, offset))
    found = reliability(Judged(cosines, fits), ranking, "words")
    assert found.error < 0.02 and found.hits == 40_000


def test_the_fit_by_hand() -> None:
    """Two cosines, 0 and 1, with 1 of 4 and 3 of 4 that fit: Platt's targets are 5/6 and 1/6, as 4 fit and 4 do not.

    The means are (5/6 + 3/6) / 4 = 1/3 and 2/3: offset ln(1/2), slope ln 2 - ln(1/2) = 2 ln 2.
    """
    cosines = np.repeat([0.0, 1.0], 4)
    fits = np.array([True, False, False, False, True, True, True, False])
    slope, offset = fit_curve(Judged(cosines, fits))
    assert slope == pytest.approx(2 * math.log(2)) and offset == pytest.approx(-math.log(2))


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="0 hits fit"):
        fit_curve(Judged(np.array([0.1, 0.2]), np.array([False, False])))
    with pytest.raises(DataError, match="no more often"):
        fit_curve(Judged(np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, True, False, False])))


def test_reliability_by_hand() -> None:
    ranking = Scores(words=(1.0, 0.0))  # share(0) = 1/2, share(ln 3) = 3/4
    hits = Judged(np.array([0.0, 0.0, math.log(3), math.log(3)]), np.array([True, True, True, False]))
    found = reliability(hits, ranking, "words")
    assert [(one.count, one.found) for one in found.bins] == [(2, 1.0), (2, 0.5)]
    assert [one.predicted for one in found.bins] == pytest.approx([0.5, 0.75])
    assert found.error == pytest.approx(0.5 * 0.5 + 0.5 * 0.25)  # half of the hits off by 1/2, half by 1/4


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRID", (0.0, 0.5, 1.0))
    monkeypatch.setattr(module, "SHARES", (0.2, 0.5))
    monkeypatch.setattr(module, "fit_curve", lambda hits: (3.0, 0.5) if len(hits.fits) else None)
    folder = tmp_path / "model"
    modelfolder.save(
        modelfolder.load(model_folder(), "cpu"),
        folder,
        model_folder() / "words.bin",
        PhraseSpace.load(model_folder()),
    )
    Scores(0.75).save(folder)
    assert Scores.load(folder) == Scores(0.75)
    data = tmp_path / "captions.h5"
    prepare_captions(read_captions(flickr8k(tmp_path / "flickr8k")), data, PhraseSpace.load(folder), 1, 12, 64)
    arguments = ["evaluate", "ranking", str(data), "--model", str(folder), "--device", "cpu"]
    plain = CliRunner().invoke(app, arguments)
    assert plain.exit_code == 0, plain.output
    assert "caption weight 0.75" in plain.output and "scores are cosines" in plain.output
    written = CliRunner().invoke(app, [*arguments, "--write", "--json"])
    assert written.exit_code == 0, written.output
    table = json.loads(written.output)
    chosen = Scores.load(folder)
    assert chosen.caption_weight in (0.0, 0.5, 1.0) and chosen.words == chosen.picture == (3.0, 0.5)
    assert table["ranking"] == {"caption_weight": chosen.caption_weight, "words": [3.0, 0.5], "picture": [3.0, 0.5]}
    assert set(table["recalls"]) == {"picture alone", "caption alone", "mix"}
    means = {name: np.mean(list(row.values())) for name, row in table["recalls"].items()}
    assert means["mix"] == max(means.values())
    assert table["reliabilities"]["picture"]["hits"] > 0
    measured = CliRunner().invoke(app, [*arguments, "--split", "test"])
    assert "expected calibration error" in measured.output
    assert len(read_split(data, "test").names) == 6


def test_a_new_model_in_the_folder_has_no_ranking(tmp_path: Path) -> None:
    model = modelfolder.load(model_folder(), "cpu")
    modelfolder.save(model, tmp_path)
    Scores(0.5).save(tmp_path)
    modelfolder.save(model, tmp_path)
    assert Scores.load(tmp_path) == Scores()
