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
from tests.support.training_data import draw, flickr8k
from training.data.captions import prepare_captions
from training.data.scenes import prepare_scenes
from training.data.sources.captions import read_captions
from training.data.sources.scenes import Scene
from training.evaluate import scores as module
from training.evaluate.calibration import Judged
from training.evaluate.captions import read_split
from training.evaluate.scores import (
    FEWEST,
    Labelled,
    Photos,
    choose_scores,
    label_hits,
    picture_hits,
    queries,
    recalls,
    said_share,
    word_hits,
)
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


def test_how_much_people_say_of_what_they_see() -> None:
    """Three photos show a dog by one caption, one by two: 3 * 2 / (2 * 2) = 1.5 more show it unsaid: 4 of 5.5."""
    dog, none = ["a", "dog"], ["snow"]
    texts = [[dog, none], [dog, none], [none, dog], [dog, dog], [none, none]]
    assert said_share(["dog"], texts) == pytest.approx(4 / 5.5)
    assert said_share(["a", "dog"], texts) == pytest.approx(4 / 5.5)
    assert said_share(["dog", "snow"], texts) == 1  # in no caption both
    assert said_share(["dog"], [[dog], [none]]) == 1  # one caption each: nobody could have left it out
    assert said_share(["dog"], [[dog, none]] * 400) == FEWEST


def test_what_fits_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORD_HITS", 3)
    space = PhraseSpace.load(model_folder())
    dog = space.vector(["dog"])
    vectors = np.array([dog, -dog, dog, dog])
    shares = np.array([[1, 0, 0.5], [1, 0, 0], [0.005, 0, 0], [0, 0, 0]], np.float32)
    hits = label_hits(Labelled(vectors, np.zeros_like(vectors), shares, ["dog", "boat", "..."]), space, 0.0)
    # the nearest to "dog" are 0, 2 and 3; 2 covers too little to be judged; nothing shows a boat, "..." has no word
    assert hits.cosines == pytest.approx([1, 1], abs=1e-5) and hits.fits.tolist() == [True, False]
    assert hits.said.tolist() == [1, 1]


@pytest.mark.parametrize(("steep", "form"), [(False, "logistic"), (True, "rising")])
def test_the_form_of_the_curve_is_chosen_on_the_other_half(
    monkeypatch: pytest.MonkeyPatch, steep: bool, form: str
) -> None:
    rng = np.random.default_rng(0)
    photos = Photos(np.zeros((10, 2), np.float32), np.zeros((10, 2), np.float32), [[["dog"], ["dog"]]] * 10)
    sizes: list[int] = []

    def drawn(given: Photos, space: object, weight: float) -> Judged:
        sizes.append(len(given.texts))
        cosines = rng.uniform(0, 1, 4000)
        share = np.where(cosines > 0.5, 0.9, 0.1) if steep else 1 / (1 + np.exp(-(4 * cosines - 2)))
        return Judged(cosines, rng.random(4000) < share)

    monkeypatch.setattr(module, "word_hits", drawn)
    monkeypatch.setattr(module, "picture_hits", lambda photos: drawn(photos, None, 0.0))
    monkeypatch.setattr(module, "recalls", lambda photos, space, weights: [{"r1": float(w == 0.2)} for w in weights])
    choice = choose_scores(photos, PhraseSpace.load(model_folder()))
    assert sizes == [5, 5, 10, 10]  # both halves, all, and all by pictures
    assert choice.ranking.caption_weight == 0.2 and min(choice.losses, key=choice.losses.__getitem__) == form
    assert bool(choice.ranking.words_knots) == steep
    assert choice.ranking.calibrate(0.75, "words") == pytest.approx(0.9 if steep else 1 / (1 + math.exp(-1)), abs=0.03)
    assert choice.reliabilities["words"].hits == 8000 and choice.reliabilities["words"].error < 0.05


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRID", (0.0, 0.5, 1.0))
    monkeypatch.setattr(module, "SHARES", (0.2, 0.5))
    monkeypatch.setattr(module, "fit_curve", lambda hits: (3.0, 0.5) if len(hits.fits) else None)
    monkeypatch.setattr(module, "fit_knots", lambda hits: ((-1.0, 0.5), (1.0, 0.5)))
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
    assert table["ranking"] == {
        "caption_weight": chosen.caption_weight, "words": [3.0, 0.5], "picture": [3.0, 0.5],
        "words_knots": [list(knot) for knot in chosen.words_knots],
    }  # fmt: skip
    assert set(table["choice"]["losses"]) == {"logistic", "rising"}
    assert set(table["recalls"]) == {"picture alone", "caption alone", "mix"}
    means = {name: np.mean(list(row.values())) for name, row in table["recalls"].items()}
    assert means["mix"] == max(means.values())
    assert table["reliabilities"]["picture"]["hits"] > 0
    scenes = tmp_path / "scenes.h5"
    draw(tmp_path / "dog.jpg", "red")
    draw(tmp_path / "boat.jpg", "blue")
    shown = [Scene(tmp_path / "dog.jpg", {"dog": 1.0}), Scene(tmp_path / "boat.jpg", {"boat": 0.2})] * 2
    prepare_scenes(shown, scenes, PhraseSpace.load(folder), dev=["dog.jpg", "boat.jpg"])
    both = CliRunner().invoke(app, [*arguments, "--labels", str(scenes), "--write"])
    assert both.exit_code == 0, both.output
    assert (
        "labels: 8 hits" in both.output
        and "labels: 4 hits" in both.output
        and "each half's on the other" in both.output
    )
    measured = CliRunner().invoke(app, [*arguments, "--split", "test"])
    assert "expected calibration error" in measured.output
    assert len(read_split(data, "test").names) == 6


def test_a_new_model_in_the_folder_has_no_ranking(tmp_path: Path) -> None:
    model = modelfolder.load(model_folder(), "cpu")
    modelfolder.save(model, tmp_path)
    Scores(0.5).save(tmp_path)
    modelfolder.save(model, tmp_path)
    assert Scores.load(tmp_path) == Scores()
