"""Rewards for captions of photos and of photos that are not there: what is drawn, what it is worth, what is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tasks.test_caption_texts import CPU, SMALL, TOLD, head, inputs, run, space
from training.data.caption_set import read_caption_set
from training.recipe import Inputs
from training.run import train
from training.tasks.caption_texts import TextsTask, unit
from training.tasks.self_critical_texts import CriticalBatch, CriticalTextsConfig, CriticalTextsTask
from vsearch.config import DecoderConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vocab import END, START

__all__ = ["head", "inputs", "run", "space"]  # fixtures


@pytest.fixture(scope="module")
def started(inputs: Inputs, run: Path, space: PhraseSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a decoder that knows its captions somewhat."""
    folder = tmp_path_factory.mktemp("started")
    settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
    settings |= {
        "decoder.vector": str(space.vectors.dim), "decoder.centroids": "3", "decoder.tied": "false",
        "task.devise": str(run), "task.batch": "4",
        "task.captions_per_photo": "2", "task.texts": "6", "task.word_vectors": "none", "loop.epochs": "12",
        "loop.lr": "0.02", "loop.average": "0.0",
    }  # fmt: skip
    train("caption-texts", inputs, folder, "cpu", settings)
    return folder


def task(inputs: Inputs, run: Path, start: Path | str, space: PhraseSpace, **settings: object) -> CriticalTextsTask:
    assert inputs.features is not None
    base = {"batch": 4, "texts": 3, "devise": str(run), "start": str(start), "drawn_photos": 4, "drawn_texts": 2}
    config = CriticalTextsConfig(**{**base, **settings})  # type: ignore[arg-type]
    decoder = from_dict(DecoderConfig, SMALL | {"vector": space.vectors.dim, "centroids": 3})
    return CriticalTextsTask(config, decoder, inputs.data, inputs.features, CPU)


def epoch(made: CriticalTextsTask) -> list[CriticalBatch]:
    return list(made.batches(0, torch.Generator().manual_seed(0)))


def test_what_is_drawn_for_is_worth_most_as_its_people_said_it(
    inputs: Inputs, run: Path, started: Path, space: PhraseSpace
) -> None:
    """A judge's row belongs to the photo whose vector and cells are shown: its own captions score best there."""
    made = task(inputs, run, started, space, noise=0.0, photo_noise=0.0, blind=0.0)
    places = made.projected(made.sums)
    [batch] = epoch(made)
    assert batch.photos.memory.shape == (4, 4, 8) and batch.texts.memory.shape == (2, 0, 8)
    for vector, row in zip(batch.texts.vector, batch.texts.rows.tolist(), strict=True):
        photo = int(np.abs(places - vector.numpy()).sum(1).argmin())
        own = [i for i in range(len(made.texts.words)) if made.texts.photo[i] == photo]
        drawn = [[START, *made.vocabulary.encode(words, 8)[1:-1], END] for words in made.texts.words]
        scores = made.judges["texts"].rewards(drawn, [row] * len(drawn))
        assert set(scores.topk(2).indices.tolist()) == set(own)
    for cells, row in zip(batch.photos.memory, batch.photos.rows.tolist(), strict=True):
        photo = int(made.judged_photos[row])
        assert np.array_equal(cells.numpy(), made.grid[photo, 0])
        said = made.captioned.ids[made.captions[photo][0]].tolist()
        assert made.judges["photos"].rewards([said], [row]).item() > 1


def test_photos_that_a_model_captioned_are_taught_and_not_judged(
    inputs: Inputs, run: Path, started: Path, space: PhraseSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = read_caption_set(inputs.data)
    first = marked.rows("train")[0]
    marked.guessed[first] = True
    monkeypatch.setattr("training.tasks.caption.read_caption_set", lambda data: marked)
    made = task(inputs, run, started, space)
    assert int(first) in made.captions and int(first) not in made.judged_photos.tolist()
    assert len(made.judged_photos) == 5


def test_the_projection_is_that_of_the_start(inputs: Inputs, run: Path, started: Path, space: PhraseSpace) -> None:
    made = task(inputs, run, started, space)
    assert made.projection is not None and made.module.decoder.projection is not None
    assert torch.equal(made.projection.centroids, made.module.decoder.projection.centroids)
    assert unit(made.projection.centroids.numpy()) == pytest.approx(made.projection.centroids.numpy(), abs=1e-3)


def test_the_loss_mixes_cross_entropy_and_rewards(inputs: Inputs, run: Path, started: Path, space: PhraseSpace) -> None:
    """With all weight on the cross-entropy the loss is that of caption-texts, whatever is drawn."""
    made = task(inputs, run, started, space, xe_weight=1.0)
    [batch] = epoch(made)
    loss = made.loss(batch)
    assert loss.value.item() == pytest.approx(TextsTask.loss(made, batch.taught).value.item(), rel=1e-5)
    assert {"photos_reward", "texts_reward", "photos_cross_entropy", "texts_cross_entropy"} <= loss.parts.keys()
    mixed = task(inputs, run, started, space, xe_weight=0.0).loss(batch)
    assert abs(mixed.value.item()) < 10 and loss.items == mixed.items == 6


def test_rewards_rise_on_both(inputs: Inputs, run: Path, started: Path, space: PhraseSpace) -> None:
    made = task(inputs, run, started, space, xe_weight=0.0, samples=24, drawn_photos=6, drawn_texts=3, noise=0.2)
    [batch] = epoch(made)
    optimizer = torch.optim.Adam([p for g in made.groups() for p in g.parameters], lr=0.01)
    torch.manual_seed(0)
    rewards = []
    for _ in range(40):
        loss = made.loss(batch)
        rewards.append([loss.parts[f"{name}_reward"].item() for name in ("photos", "texts")])
        optimizer.zero_grad()
        loss.value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    before, after = np.mean(rewards[:5], 0), np.mean(rewards[-5:], 0)
    assert (after > 1.15 * before).all(), (before, after)
    assert len(TOLD) == len(made.judged_texts)


def test_a_run_leaves_what_it_promises(
    inputs: Inputs, run: Path, started: Path, space: PhraseSpace, tmp_path: Path
) -> None:
    settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
    settings |= {
        "decoder.vector": str(space.vectors.dim), "decoder.centroids": "3", "decoder.tied": "false",
        "task.devise": str(run), "task.batch": "6",
        "task.start": str(started), "task.texts": "3", "task.drawn_photos": "3", "task.drawn_texts": "2",
    }  # fmt: skip
    train("self-critical-texts", inputs, tmp_path / "run", "cpu", settings)
    assert (tmp_path / "run" / "best.safetensors").is_file()
    with pytest.raises(ConfigError, match="features"):
        train("self-critical-texts", replace(inputs, features=None), tmp_path / "none", "cpu")


def test_a_start_is_needed_and_has_to_fit(inputs: Inputs, run: Path, space: PhraseSpace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.start is empty"):
        task(inputs, run, "", space)
    with pytest.raises(DataError, match="cannot read"):
        task(inputs, run, tmp_path, space)
    with pytest.raises(ConfigError, match="below 2"):
        CriticalTextsConfig(samples=1)
