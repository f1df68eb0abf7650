"""Decoder and DeViSE head agree on a caption: the order by hand, in a model, and of trainings on cached features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import cli
from tests.support.tiny_model import model_folder, words_file
from tests.support.training_data import cached_captions, features
from training.data.prepared import open_prepared
from training.data.word_table import read_words
from training.evaluate.decoder import evaluate_decoder, head_reranker
from training.recipe import Inputs
from training.run import train
from vsearch.captions.beam import Hypothesis
from vsearch.captions.rerank import Reranker, caption_embedder
from vsearch.errors import DataError, ModelError
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

PLACES = {"dog": [1.0, 0.0], "cat": [0.0, 1.0], "pet": [0.6, 0.8]}


def place(captions: object) -> np.ndarray:
    return np.array([PLACES[words[0]] for words in captions], np.float32)  # type: ignore[attr-defined]


def caption(token: int, score: float) -> Hypothesis:
    return Hypothesis([token], score * 2, score)


def test_order_by_hand() -> None:
    """A picture at (1, 0): dog -1.0 + w, cat -0.5 + 0, pet -0.8 + 0.6 w. At w = 0.4: -0.6, -0.5, -0.56: cat, pet, dog.
    At w = 1: 0, -0.5, -0.2: dog, pet, cat. One at (0, 1), w = 1: dog -1, cat -0.5 + 1."""
    names = ["dog", "cat", "pet"]
    found = [[caption(1, -0.5), caption(2, -0.8), caption(0, -1.0)], [caption(0, -1.0), caption(1, -0.5)]]
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)

    def ranked(weight: float) -> list[list[str]]:
        ordered = Reranker(place, weight).rerank(found, vectors, lambda c: [names[c.tokens[0]]])
        return [[names[c.tokens[0]] for c in own] for own in ordered]

    assert ranked(0.4)[0] == ["cat", "pet", "dog"]
    assert ranked(1.0) == [["dog", "pet", "cat"], ["cat", "dog"]]


def test_captions_without_a_known_word_lie_nowhere() -> None:
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    placed = caption_embedder(space)([["a", "dog"], ["qqqq"], []])
    assert np.linalg.norm(placed, axis=1).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)
    assert caption_embedder(space)([]).shape == (0, space.vectors.dim)


def test_a_model_lets_its_head_have_a_say() -> None:
    model = modelfolder.load_fast(model_folder(), "cpu")
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8))
    plain = model.describe(pixels, beam=4, n_best=4)
    assert plain.captions is not None
    model.set_rerank_weight(1000.0)  # the head alone decides
    agreed = model.describe(pixels, beam=4, n_best=4)
    assert agreed.captions is not None
    space = PhraseSpace.load(model_folder())
    moved = 0
    for own, before, vector in zip(agreed.captions, plain.captions, agreed.vectors, strict=True):
        assert sorted(c.tokens for c in own) == sorted(c.tokens for c in before)
        cosines = caption_embedder(space)([model.text(c).split() for c in own]) @ vector
        assert (np.diff(cosines) <= 1e-3).all()
        moved += [c.tokens for c in own] != [c.tokens for c in before]
    assert moved
    best = model.describe(pixels, beam=4).captions
    assert best is not None and [len(own) for own in best] == [1, 1, 1]
    assert [own[0].tokens for own in best] == [own[0].tokens for own in agreed.captions]


def test_a_model_without_words_cannot_agree() -> None:
    model = modelfolder.load_fast(model_folder(), "cpu")
    model.embed_captions = None
    with pytest.raises(ModelError, match="lacks a head or words"):
        model.set_rerank_weight(1.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return cached_captions(tmp_path_factory.mktemp("data"))


def test_trainings_agree_by_tuned_words(inputs: Inputs, tmp_path: Path) -> None:
    decoder = {
        "decoder.embed": "8", "decoder.hidden": "12", "decoder.attention": "8", "decoder.max_len": "8",
        "task.batch": "6", "task.captions_per_photo": "2", "loop.epochs": "2", "loop.average": "0.0",
    }  # fmt: skip
    head = {"devise.dim": "12", "devise.hidden": "16", "task.batch": "6", "task.views": "1", "loop.epochs": "2"}
    train("caption-soft", inputs, tmp_path / "decoder", "cpu", decoder)
    train("devise-tuned", inputs, tmp_path / "head", "cpu", head)
    assert inputs.features is not None
    rows = np.arange(3)
    reranker, vectors = head_reranker(tmp_path / "head", inputs.data, inputs.features, rows, 2.0)
    assert vectors.shape == (3, 12) and reranker.weight == 2.0
    with open_prepared(inputs.data, "captions") as file:
        word = read_words(file).words[0]
    assert np.linalg.norm(reranker.embed([[word], [word, "unheard-of"]]), axis=1).tolist() == pytest.approx([1, 1])

    cached = inputs.features
    with open_prepared(inputs.data, "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    (tmp_path / "head" / "features.json").write_text('{"key": "one"}')
    with pytest.raises(DataError, match="of another encoder"):
        head_reranker(tmp_path / "head", inputs.data, features(tmp_path / "f.h5", names, key="two"), rows, 1.0)
    (tmp_path / "head" / "features.json").write_text('{"key": ""}')

    def scores(weight: float, given: Path | None) -> dict[str, float]:
        run, data = tmp_path / "decoder", inputs.data
        return evaluate_decoder(run, data, cached, "test", (3,), head=given, agreement=weight)

    assert scores(0.0, tmp_path / "head") == scores(0.0, None)
    with pytest.raises(DataError, match="trained no DeViSE head"):
        scores(1.0, tmp_path / "decoder")
    run = CliRunner().invoke(
        cli.app,
        ["evaluate", "captions", str(inputs.data), "--split", "test", "--features", str(inputs.features), "--beam", "3",
         "--run", str(tmp_path / "decoder"), "--head", str(tmp_path / "head"), "--agreement", "2", "--json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    wrong = CliRunner().invoke(cli.app, ["evaluate", "captions", str(inputs.data), "--head", str(tmp_path / "head")])
    assert wrong.exit_code == 2 and "--run" in wrong.output
