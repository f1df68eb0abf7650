"""Encoder and head together, and trained parts put into a model folder."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.support.tiny_model import model_folder
from tests.support.training_data import features, prepared_captions
from training.assemble.model import assemble
from training.data.captions import prepare_captions, read_flickr8k
from training.data.features import encoder_network, write_features
from training.recipe import Inputs
from training.run import train
from training.tasks.finetune import FinetuneConfig, FinetuneTask
from vsearch.errors import ConfigError, DataError
from vsearch.networks.fast.model import FastModel
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace

CPU = torch.device("cpu")
HEAD = {
    "devise.dim": "12", "devise.hidden": "16", "task.batch": "9", "task.views": "1", "loop.epochs": "4",
    "loop.lr": "0.02", "loop.average": "0.0",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    space = PhraseSpace.load(model_folder())
    return prepared_captions(folder, space, 9)


@pytest.fixture(scope="module")
def cached(data: Path) -> Path:
    """Features of the tiny model's own encoder."""
    model = modelfolder.load(model_folder(), "cpu")
    path = data.with_name("features.h5")
    write_features(encoder_network(model.encoder, model.config.preprocess, CPU), data, path, CPU, grid=False)
    return path


def task_of(data: Path, **settings: object) -> FinetuneTask:
    config = FinetuneConfig(**{"batch": 6, "contrastive": 1.0, **settings})  # type: ignore[arg-type]
    return FinetuneTask(config, modelfolder.load(model_folder(), "cpu"), data, CPU)


def test_three_groups_share_out_every_parameter(data: Path) -> None:
    task = task_of(data)
    groups = task.groups()
    assert [g.scale for g in groups] == [0.001, 0.01, 1.0]
    ids = [id(p) for g in groups for p in g.parameters]
    assert sorted(ids) == sorted(id(p) for p in task.module.parameters())
    assert id(next(task.module.encoder.stages[0].parameters())) in {id(p) for p in groups[0].parameters}
    assert id(next(task.module.encoder.stages[4].parameters())) in {id(p) for p in groups[1].parameters}


def test_gradients_reach_what_is_trained_and_nothing_else(data: Path) -> None:
    task = task_of(data, scales=(0.0, 0.01, 1.0))
    task.groups()
    batch = next(iter(task.batches(0, torch.Generator().manual_seed(0))))
    assert batch.images.shape == (6, 3, 64, 64) and batch.target.shape == (6, 12)
    task.module.train()
    task.loss(batch).value.backward()  # type: ignore[no-untyped-call]
    early = {id(p) for stage in list(task.module.encoder.stages)[:3] for p in stage.parameters()}
    for name, parameter in task.module.named_parameters():
        if id(parameter) in early:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_statistics_of_batch_norm_stay_unless_asked_for(data: Path) -> None:
    for norms in (False, True):
        task = task_of(data, norms=norms)
        before = {k: v.clone() for k, v in task.module.state_dict().items() if "running_mean" in k}
        task.module.train()
        task.loss(next(iter(task.batches(0, torch.Generator().manual_seed(0)))))
        moved = [k for k, v in task.module.state_dict().items() if k in before and not torch.equal(v, before[k])]
        assert bool(moved) == norms


def test_head_then_both_then_a_model_that_searches(data: Path, cached: Path, tmp_path: Path) -> None:
    train("devise-tuned", Inputs(data, cached), tmp_path / "head", "cpu", HEAD)
    assemble(model_folder(), [tmp_path / "head"], tmp_path / "first", data)
    first = modelfolder.load(tmp_path / "first", "cpu")
    assert first.devise is not None and first.devise.config.hidden == 16
    assert first.config.identity != modelfolder.read_config(model_folder()).identity
    space, old = PhraseSpace.load(tmp_path / "first"), PhraseSpace.load(model_folder())
    assert float(space.vector(["dog"]) @ old.vector(["dog"])) < 0.9999  # the words were tuned

    prepare_captions(read_flickr8k(data.parent / "f"), tmp_path / "c.h5", space, min_word_freq=1, max_len=8)
    settings = {"loop.epochs": "2", "task.batch": "9", "loop.lr": "0.01", "loop.average": "0.0"}
    train("devise-finetune", Inputs(tmp_path / "c.h5", start=tmp_path / "first"), tmp_path / "both", "cpu", settings)
    log = [json.loads(line) for line in (tmp_path / "both" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and {"cosine", "contrastive", "recall"} <= set(log[-1])
    assemble(tmp_path / "first", [tmp_path / "both"], tmp_path / "second")
    second = modelfolder.load(tmp_path / "second", "cpu")
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8))
    vectors = [FastModel(m).describe(pixels, captions=False).vectors for m in (first, second)]
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    assert second.decoder is not None  # kept from the base


def test_wrong_parts_are_refused(data: Path, cached: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="goes on from a model"):
        train("devise-finetune", Inputs(data), tmp_path / "x", "cpu")
    names = [f"{split}{i}.jpg" for split in ("train", "dev", "test") for i in range(9)]
    other = features(tmp_path / "f.h5", names, channels=512, key="another")
    train("devise-tuned", Inputs(data, other), tmp_path / "other", "cpu", HEAD)
    with pytest.raises(DataError, match="features of another encoder than the model's"):
        assemble(model_folder(), [tmp_path / "other"], tmp_path / "m", data)
    with pytest.raises(DataError, match="was begun on features of another encoder"):
        train("devise-tuned", Inputs(data, cached), tmp_path / "other", "cpu", HEAD)
    train("devise-tuned", Inputs(data, cached), tmp_path / "head", "cpu", HEAD)
    with pytest.raises(ConfigError, match="the words were tuned"):
        assemble(model_folder(), [tmp_path / "head"], tmp_path / "m")
    with pytest.raises(DataError, match=r"no best\.safetensors"):
        assemble(model_folder(), [tmp_path], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_parts_fit_the_encoder_that_the_model_ends_up_with(data: Path, cached: Path, tmp_path: Path) -> None:
    """A head made on features of the base's encoder is wrong once another run has replaced that encoder, unless the
    head is replaced as well."""
    train("devise-tuned", Inputs(data, cached), tmp_path / "head", "cpu", HEAD)
    settings = {"loop.epochs": "1", "task.batch": "9", "loop.lr": "0.01", "loop.average": "0.0"}
    train("devise-finetune", Inputs(data, start=model_folder()), tmp_path / "both", "cpu", settings)
    with pytest.raises(DataError, match="features of another encoder than the model's"):
        assemble(model_folder(), [tmp_path / "both", tmp_path / "head"], tmp_path / "m", data)
    assert not (tmp_path / "m").exists()
    (tmp_path / "both" / "best.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="is damaged"):
        assemble(model_folder(), [tmp_path / "both"], tmp_path / "m")


def test_a_recipe_that_does_not_fit_leaves_the_run_as_it_is(data: Path, cached: Path, tmp_path: Path) -> None:
    train("devise-tuned", Inputs(data, cached), tmp_path, "cpu", {**HEAD, "loop.epochs": "1"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match="another network") as caught:
        train("devise-tuned", Inputs(data, cached), tmp_path, "cpu", {**HEAD, "devise.hidden": "8"})
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_the_loop_may_change_when_a_training_goes_on(data: Path, cached: Path, tmp_path: Path) -> None:
    train("devise-tuned", Inputs(data, cached), tmp_path, "cpu", {**HEAD, "loop.epochs": "1"})
    with pytest.raises(ConfigError, match="begun with another 'task'"):
        train("devise-tuned", Inputs(data, cached), tmp_path, "cpu", {**HEAD, "task.cosine": "0.5"})
    assert json.loads((tmp_path / "recipe.json").read_text())["task"]["cosine"] == 1.0
    train("devise-tuned", Inputs(data, cached), tmp_path, "cpu", {**HEAD, "loop.epochs": "2"})
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_training_goes_on_with_the_files_it_was_begun_with(data: Path, cached: Path, tmp_path: Path) -> None:
    run, again = tmp_path / "run", {**HEAD, "loop.epochs": "2"}
    train("devise-tuned", Inputs(data, cached), run, "cpu", {**HEAD, "loop.epochs": "1"})
    other = tmp_path / "c.h5"
    other.write_bytes(data.read_bytes())
    with h5py.File(other, "r+") as file:
        file["words/weight"][0] *= 2
    with pytest.raises(DataError, match="begun with another `data`"):
        train("devise-tuned", Inputs(other, cached), run, "cpu", again)
    moved = tmp_path / "moved.h5"
    moved.write_bytes(data.read_bytes())
    train("devise-tuned", Inputs(moved, cached), run, "cpu", again)  # the same file under another name
    assert len((run / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["recipe.json", "features.json", "inputs.json"])
def test_a_damaged_note_is_named(data: Path, cached: Path, tmp_path: Path, name: str) -> None:
    train("devise-tuned", Inputs(data, cached), tmp_path / "run", "cpu", {**HEAD, "loop.epochs": "1"})
    (tmp_path / "run" / name).write_text("[")
    if name != "inputs.json":  # which only a training that goes on asks for
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            assemble(model_folder(), [tmp_path / "run"], tmp_path / "m", data)
    with pytest.raises(DataError, match=f"cannot read .*{name}"):
        train("devise-tuned", Inputs(data, cached), tmp_path / "run", "cpu", {**HEAD, "loop.epochs": "2"})
    assert not (tmp_path / "m").exists()


def test_recipes_that_train_nothing_are_refused(data: Path) -> None:
    with pytest.raises(ConfigError, match="everything frozen"):
        FinetuneConfig(scales=(0.0, 0.0, 0.0))
    task = task_of(data, cosine=0.0, contrastive=0.0)
    with pytest.raises(ConfigError, match="no loss"):
        task.loss(next(iter(task.batches(0, torch.Generator().manual_seed(0)))))


def test_a_split_without_pictures_is_named(data: Path, cached: Path, tmp_path: Path) -> None:
    space = PhraseSpace.load(model_folder())
    photos = [photo for photo in read_flickr8k(data.parent / "f") if photo.split == "train"]
    prepare_captions(photos, tmp_path / "c.h5", space, min_word_freq=1, max_len=8)
    with pytest.raises(DataError, match="the dev split"):
        train("devise-tuned", Inputs(tmp_path / "c.h5", cached), tmp_path / "x", "cpu", HEAD)
    assert not (tmp_path / "x").exists()


def test_files_in_each_others_place_are_named(data: Path, cached: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no 'name'"):
        train("devise-tuned", Inputs(data, data), tmp_path / "x", "cpu", HEAD)
    model = modelfolder.load(model_folder(), "cpu")
    network = encoder_network(model.encoder, model.config.preprocess, CPU)
    with pytest.raises(DataError, match="has no 'pictures/name'"):
        write_features(network, cached, tmp_path / "f.h5", CPU)
    with pytest.raises(DataError, match="not a readable HDF5"):
        write_features(network, tmp_path / "none.h5", tmp_path / "f.h5", CPU)
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_recipe_does_not_use_is_refused(data: Path, cached: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`features` has no use"):
        train("devise-finetune", Inputs(data, cached, start=model_folder()), tmp_path / "x", "cpu")
    with pytest.raises(ConfigError, match="`start` has no use"):
        train("devise-tuned", Inputs(data, cached, start=model_folder()), tmp_path / "x", "cpu", HEAD)
    assert not (tmp_path / "x").exists()
