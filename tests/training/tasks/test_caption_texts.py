"""Learning from photos and from captions without photos: what a batch holds, its loss, and what is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny_model import words_file
from tests.support.training_data import features, flickr8k
from training.data.captions import prepare_captions, read_flickr8k
from training.data.prepared import open_prepared
from training.data.texts import Told
from training.evaluate.decoder import evaluate_decoder
from training.recipe import Inputs
from training.run import train
from training.tasks.caption import caption_loss
from training.tasks.caption_texts import Mixed, TextsTask, TextsTaskConfig, moved, unit
from training.tasks.decoding import load_decoder
from training.tasks.trained_head import TrainedHead
from vsearch.captions.beam import greedy
from vsearch.config import DecoderConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.networks.told import told
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CPU = torch.device("cpu")
TOLD = ["a white sail on the sea", "snow on the beach", "mustard on a plate"]  # no photo shows any of it
SMALL = {"embed": 12, "hidden": 32, "attention": 12, "dropout": 0.0, "max_len": 8, "cells": 6}


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, space: PhraseSpace) -> Inputs:
    """Six photos a split with two captions each, and three photos that are not there with two captions each."""
    folder = tmp_path_factory.mktemp("data")
    texts = [Told(frozenset(), [line, f"{line} again"]) for line in TOLD]
    prepare_captions(read_flickr8k(flickr8k(folder / "f")), folder / "c.h5", space, 1, 8, texts=texts)
    with open_prepared(folder / "c.h5", "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    return Inputs(folder / "c.h5", features(folder / "x.h5", names))


def head(inputs: Inputs, folder: Path, recipe: str, dim: int) -> Path:
    settings = {
        "devise.hidden": "16", "devise.dim": str(dim), "loop.epochs": "2", "task.batch": "4", "task.label_batch": "0",
    }  # fmt: skip
    train(recipe, inputs, folder, "cpu", settings)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs, space: PhraseSpace) -> Path:
    return head(inputs, tmp_path_factory.mktemp("head"), "devise", space.vectors.dim)


def task(inputs: Inputs, run: Path, vector: int, centroids: int = 0, **settings: object) -> TextsTask:
    assert inputs.features is not None
    config = from_dict(TextsTaskConfig, {"batch": 4, "texts": 3, "devise": str(run), **settings}, "task")
    projection = {"vector": vector, "centroids": centroids, "centroid_temperature": 0.002}
    decoder = from_dict(DecoderConfig, SMALL | projection)
    return TextsTask(config, decoder, inputs.data, inputs.features, CPU)


def epoch(made: TextsTask, seed: int = 0) -> list[Mixed]:
    return list(made.batches(0, torch.Generator().manual_seed(seed)))


def test_noise_has_the_length_it_is_given_and_vectors_stay_unit() -> None:
    """Normal noise of length s at right angles to a unit vector turns it by atan(s): cosine 1 / sqrt(1 + s^2)."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((4000, 300)))
    for noise in (0.0, 0.5, 1.0):
        found = moved(3 * vectors, noise, rng)
        assert found.dtype == np.float32
        assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4000), abs=1e-5)
        assert (found * vectors).sum(1).mean() == pytest.approx(1 / np.sqrt(1 + noise**2), abs=0.015)
    assert unit(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_a_text_is_told_its_own_place_or_that_of_its_photos_other_captions(
    inputs: Inputs, run: Path, space: PhraseSpace
) -> None:
    for own in (1.0, 0.0):
        made = task(inputs, run, space.vectors.dim, noise=0.0, own=own)
        for batch in epoch(made):
            assert batch.texts.memory.shape == (3, 0, 8)
            assert batch.texts.vector is not None
            for ids, vector in zip(batch.texts.captions[:, 0], batch.texts.vector, strict=True):
                line = " ".join(made.vocabulary.decode(ids.tolist()))
                other = line.removesuffix(" again") if line.endswith(" again") else f"{line} again"
                expected = space.vector((line if own else other).split())
                assert vector.numpy() == pytest.approx(expected, abs=2e-3)


def test_all_texts_come_before_one_comes_again(inputs: Inputs, run: Path, space: PhraseSpace) -> None:
    made = task(inputs, run, space.vectors.dim)
    batches = epoch(made)
    assert len(batches) == made.steps(0) == 3
    rows = [tuple(row) for batch in batches[:2] for row in batch.texts.captions[:, 0].tolist()]
    assert len(set(rows)) == len(rows) == 6


def test_a_photo_shows_its_cells_and_the_place_its_head_gives_it(inputs: Inputs, run: Path, space: PhraseSpace) -> None:
    assert inputs.features is not None
    vectors = TrainedHead(run, inputs.data, inputs.features).embed_pictures()[:, 0]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(18), abs=1e-5)
    for blind in (0.0, 1.0):
        made = task(inputs, run, space.vectors.dim, photo_noise=0.0, blind=blind)
        batch = epoch(made)[0].photos
        assert batch.memory.shape == (4, 0 if blind else 4, 8)
        assert batch.vector is not None
        for row in range(4):
            line = made.vocabulary.decode(batch.captions[row, 0].tolist())
            photos = {int(made.captioned.owner[i]) for i, text in enumerate(made.captioned.texts) if text == line}
            at = min(photos, key=lambda p: np.abs(vectors[p] - batch.vector[row].numpy()).max())  # type: ignore[index]
            assert batch.vector[row].numpy() == pytest.approx(vectors[at], abs=1e-5)
            if not blind:
                assert np.array_equal(batch.memory[row].numpy(), made.grid[at, 0])


def test_the_loss_is_that_of_all_captions_on_average(inputs: Inputs, run: Path, space: PhraseSpace) -> None:
    made = task(inputs, run, space.vectors.dim, alpha=0.0, label_smoothing=0.0)
    batch = epoch(made)[0]
    loss = made.loss(batch)
    photos, texts = (caption_loss(made.module.decoder, part, 0.0, 0.0)[0] for part in (batch.photos, batch.texts))
    assert loss.items == 7
    assert loss.value.item() == pytest.approx((4 * photos.item() + 3 * texts.item()) / 7, rel=1e-5)
    assert {"photos_cross_entropy", "texts_cross_entropy", "texts_top5"} <= loss.parts.keys()


def test_it_learns_to_say_what_no_photo_shows(inputs: Inputs, run: Path, space: PhraseSpace, tmp_path: Path) -> None:
    settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
    settings |= {
        "decoder.vector": str(space.vectors.dim), "task.devise": str(run), "task.batch": "4", "task.texts": "3",
        "task.captions_per_photo": "1", "decoder.centroids": "0",
        "task.noise": "0.1", "task.own": "1.0", "task.label_smoothing": "0", "task.word_vectors": "none",
        "loop.epochs": "40", "loop.lr": "0.02", "loop.average": "0.0",
    }  # fmt: skip
    train("caption-texts", inputs, tmp_path / "run", "cpu", settings)
    made = task(inputs, run, space.vectors.dim)
    decoder = load_decoder(tmp_path / "run", 8, len(made.vocabulary))
    places = torch.from_numpy(np.stack([space.vector(line.split()) for line in TOLD]))
    found = greedy(told(decoder, places), torch.zeros(3, 0, 8), 8)
    assert [" ".join(made.vocabulary.decode(caption.tokens)).removesuffix(" again") for caption in found] == TOLD
    assert inputs.features is not None
    scores = evaluate_decoder(tmp_path / "run", inputs.data, inputs.features, "train", (2,))
    assert scores["bleu1_beam2"] > 60


def test_words_that_the_head_tuned_place_the_texts_too(inputs: Inputs, space: PhraseSpace, tmp_path: Path) -> None:
    assert inputs.features is not None
    run = head(inputs, tmp_path / "tuned", "devise-tuned", space.vectors.dim)
    state = load_file(run / "best.safetensors")
    state["phrases.mean"] += 0.3  # as after a longer training
    save_file(state, run / "best.safetensors")
    made = task(inputs, run, space.vectors.dim, noise=0.0, own=1.0)
    trained = TrainedHead(run, inputs.data, inputs.features)
    assert trained.tuned
    expected = trained.embed_captions([line.split() for line in TOLD])
    assert np.abs(expected - space.vectors_of([line.split() for line in TOLD])).max() > 0.01
    assert made.vectors[::2] == pytest.approx(expected, abs=1e-6)


def test_settings_that_do_not_fit_are_named(inputs: Inputs, run: Path, space: PhraseSpace, tmp_path: Path) -> None:
    dim = space.vectors.dim
    with pytest.raises(ConfigError, match=r"decoder\.vector is 3"):
        task(inputs, run, 3)
    with pytest.raises(ConfigError, match=r"task\.devise is empty"):
        task(inputs, Path(), dim, devise="")
    with pytest.raises(ConfigError, match=r"task\.own is 2"):
        task(inputs, run, dim, own=2.0)
    with pytest.raises(ConfigError, match="too small"):
        task(inputs, run, dim, texts=0)
    with pytest.raises(DataError, match="no DeViSE head"):
        train("caption-soft", inputs, tmp_path / "decoder", "cpu", {"loop.epochs": "1", "task.batch": "6",
              "task.captions_per_photo": "2", "decoder.hidden": "8"})  # fmt: skip
        task(inputs, tmp_path / "decoder", dim)
    with pytest.raises(ConfigError, match="features"):
        train("caption-texts", replace(inputs, features=None), tmp_path / "none", "cpu")


def test_places_are_projected_onto_centroids_of_the_texts(inputs: Inputs, run: Path, space: PhraseSpace) -> None:
    """With a centroid for each of the three photos that are not there, and almost no temperature, every text's place
    becomes that of its photo, and a photo's place becomes one of the three."""
    made = task(inputs, run, space.vectors.dim, noise=0.0, photo_noise=0.0, own=1.0, centroids=3)
    projection = made.module.decoder.projection
    assert projection is not None
    whole = unit(np.stack([made.vectors[2 * i] + made.vectors[2 * i + 1] for i in range(3)]))
    assert np.sort(projection.centroids.numpy(), 0) == pytest.approx(np.sort(whole, 0), abs=1e-5)
    for batch in epoch(made):
        for ids, vector in zip(batch.texts.captions[:, 0], batch.texts.vector, strict=True):  # type: ignore[arg-type]
            line = " ".join(made.vocabulary.decode(ids.tolist())).removesuffix(" again")
            assert vector.numpy() == pytest.approx(whole[TOLD.index(line)], abs=1e-3)
        assert (batch.photos.vector.numpy() @ whole.T).max(1) == pytest.approx(np.ones(4), abs=1e-3)  # type: ignore
    with pytest.raises(ConfigError, match=r"decoder\.centroids is 4"):
        task(inputs, run, space.vectors.dim, centroids=4)
