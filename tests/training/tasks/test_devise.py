"""Tasks: what they learn, which parameters they train, what they refuse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_model import words_file
from tests.support.training_data import features, flickr8k, prepared_captions, teacher, tiny_imagenet
from training.data.augment import augment
from training.data.captions import read_flickr8k
from training.data.distil import prepare_distil
from training.data.labels import prepare_labels, read_tiny_imagenet
from training.data.prepared import open_prepared
from training.recipe import Inputs
from training.run import train
from training.tasks.caption import CaptionTask, CaptionTaskConfig
from training.tasks.devise import DeviseTask, DeviseTaskConfig
from training.tasks.distil import DistilBatch, DistilConfig, DistilTask
from vsearch.config import DecoderConfig, DeviseConfig, EncoderConfig, PreprocessConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.losses import captions_loss
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Captions and labels with random features, four cells of eight channels."""
    folder = tmp_path_factory.mktemp("data")
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    prepared_captions(folder, space, 9)
    prepare_labels(read_tiny_imagenet(tiny_imagenet(folder / "t")), folder / "l.h5", space)
    files = []
    for prepared, kind in (("c.h5", "captions"), ("l.h5", "labels")):
        with open_prepared(folder / prepared, kind) as file:
            names = list(file["pictures/name"].asstr()[:])
        files += [folder / prepared, features(folder / f"features-{prepared}", names)]
    return Inputs(*files)


def small_devise(inputs: Inputs, **settings: object) -> DeviseTask:
    config = DeviseTaskConfig(**{"batch": 9, **settings})  # type: ignore[arg-type]
    head = DeviseConfig(hidden=16, dropout=0.0, dim=12)
    assert inputs.features is not None
    return DeviseTask(config, head, inputs.data, inputs.features, CPU, inputs.labels, inputs.label_features)


def test_every_trained_parameter_gets_a_gradient(inputs: Inputs) -> None:
    devise = small_devise(inputs, contrastive=1.0, label_batch=6)
    decoder = DecoderConfig(embed=8, hidden=12, attention=8, max_len=8)
    assert inputs.features is not None
    caption = CaptionTask(CaptionTaskConfig(batch=4), decoder, inputs.data, inputs.features, CPU)
    for task in (devise, caption):
        batch = next(iter(task.batches(0, torch.Generator().manual_seed(0))))
        task.loss(batch).value.backward()  # type: ignore[arg-type, no-untyped-call]
        for name, parameter in task.module.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_devise_loss_is_the_weighted_sum_of_its_parts(inputs: Inputs) -> None:
    task = small_devise(inputs, cosine=2.0, hinge=0.5, contrastive=0.25)
    out = task.loss(next(iter(task.batches(0, torch.Generator().manual_seed(0)))))
    expected = 2 * out.parts["cosine"] + 0.5 * out.parts["hinge"] + 0.25 * out.parts["contrastive"]
    assert out.value.detach().item() == pytest.approx(expected.detach().item(), rel=1e-5)


@pytest.mark.parametrize("words", ["fixed", "tuned"])
def test_all_captions_of_a_photo_are_its_targets(inputs: Inputs, words: str) -> None:
    settings = {"batch": 4, "cosine": 2.0, "contrastive": 1.0, "all_captions": True, "to_text": 0.7, "words": words}
    task = small_devise(inputs, **settings)
    batch = next(task.batches(0, torch.Generator().manual_seed(0)))
    assert batch.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and len(batch.target) == 8  # two of each
    found = task.loss(batch)
    predicted, target = task.embed(batch.pool), task.phrases(batch.target)
    torch.testing.assert_close(found.parts["cosine"], 1 - (predicted[batch.owner] * target).sum(1).mean())
    expected = captions_loss(predicted, target, batch.owner, task.module.contrastive.scale, 0.7)
    torch.testing.assert_close(found.parts["contrastive"], expected)
    torch.testing.assert_close(found.value, 2 * found.parts["cosine"] + expected)
    assert found.items == 4


def test_all_captions_go_with_neither_hinge_nor_averages(inputs: Inputs) -> None:
    for other in ({"hinge": 1.0}, {"captions_averaged": 2}):
        with pytest.raises(ConfigError, match=r"task\.all_captions goes with neither"):
            small_devise(inputs, all_captions=True, **other)
    with pytest.raises(ConfigError, match=r"task\.to_text is 1\.5"):
        small_devise(inputs, to_text=1.5)


def test_devise_refuses_targets_of_another_size_and_labels_that_are_not_there(inputs: Inputs) -> None:
    assert inputs.features is not None
    with pytest.raises(ConfigError, match=r"devise\.dim is 7, the targets have 12"):
        DeviseTask(DeviseTaskConfig(), DeviseConfig(dim=7), inputs.data, inputs.features, CPU)
    with pytest.raises(ConfigError, match="label_batch"):
        DeviseTask(DeviseTaskConfig(label_batch=3), DeviseConfig(dim=12), inputs.data, inputs.features, CPU)


def test_devise_learns_its_training_photos_and_the_run_leaves_what_it_promises(inputs: Inputs, tmp_path: Path) -> None:
    overrides = {
        "devise.dim": "12", "devise.hidden": "64", "devise.dropout": "0.0", "task.batch": "9", "task.label_batch": "6",
        "loop.epochs": "40", "loop.lr": "0.01", "loop.average": "0.0",
    }  # fmt: skip
    train("devise", inputs, tmp_path, "cpu", overrides)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["cosine"] < 0.5 * log[0]["cosine"]
    assert {"t2i_r10", "i2t_r10", "recall", "label_cosine"} <= set(log[-1])
    assert (tmp_path / "best.safetensors").is_file()


def test_captions_are_learnt_by_heart(inputs: Inputs, tmp_path: Path) -> None:
    overrides = {
        "decoder.embed": "16", "decoder.hidden": "32", "decoder.attention": "16", "decoder.dropout": "0.0",
        "task.batch": "6", "task.label_smoothing": "0.0", "loop.epochs": "15", "loop.lr": "0.01", "loop.average": "0.0",
    }  # fmt: skip
    train("caption", Inputs(inputs.data, inputs.features), tmp_path, "cpu", overrides)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["cross_entropy"] < 0.6 * log[0]["cross_entropy"]
    assert log[-1]["top5"] > log[0]["top5"]
    assert log[-1]["bleu4"] >= 0 and log[-1]["cider"] >= 0


def test_caption_penalty_is_that_of_the_paper(inputs: Inputs) -> None:
    assert inputs.features is not None
    decoder = DecoderConfig(embed=8, hidden=12, attention=8, dropout=0.0, max_len=8)
    task = CaptionTask(CaptionTaskConfig(batch=4, alpha=0.5), decoder, inputs.data, inputs.features, CPU)
    batch = next(iter(task.batches(0, torch.Generator().manual_seed(0))))
    out = task.loss(batch)
    attention = task.module.decoder(batch.memory.float(), batch.captions[:, 0], batch.lengths[:, 0]).attention
    by_hand = np.mean(
        [(1 - sum(a[t, n] for t in range(a.shape[0]))) ** 2 for a in attention.detach().numpy() for n in range(4)]
    )
    assert out.parts["stochastic"].detach().item() == pytest.approx(by_hand, rel=1e-4)
    assert out.value.detach().item() == pytest.approx(
        (out.parts["cross_entropy"] + 0.5 * out.parts["stochastic"]).detach().item(), rel=1e-5
    )


def test_caption_wants_a_grid(inputs: Inputs, tmp_path: Path) -> None:
    import h5py

    assert inputs.features is not None
    with h5py.File(inputs.features) as old, h5py.File(tmp_path / "pool.h5", "w") as new:
        new["name"], new["pool"] = old["name"][:], old["pool"][:]
    with pytest.raises(DataError, match="no grid"):
        CaptionTask(CaptionTaskConfig(), DecoderConfig(), inputs.data, tmp_path / "pool.h5", CPU)


def small_distil(tmp_path: Path, **settings: object) -> DistilTask:
    photos = [p.path for p in read_flickr8k(flickr8k(tmp_path / "f"))]
    shards = read_tiny_imagenet(tiny_imagenet(tmp_path / "t"))
    prepare_distil(tmp_path / "d.h5", photos, shards.train, shards.classes, teacher(tmp_path / "teacher"), crops=1)
    config = DistilConfig(**{"batch": 8, "epoch_pictures": 24, "held_out": 6, "sides": (32,), **settings})  # type: ignore[arg-type]
    return DistilTask(config, EncoderConfig(), PreprocessConfig(), tmp_path / "d.h5", 4, CPU)


def test_distil_mixes_sources_as_asked_and_trains_every_parameter(tmp_path: Path) -> None:
    task = small_distil(tmp_path, phases=(0.0, 0.5), sides=(32, 48), photos=(0.25, 1.0))
    early = list(task.batches(0, torch.Generator().manual_seed(0)))
    late = list(task.batches(2, torch.Generator().manual_seed(0)))
    assert len(early) == task.steps(0) == 3
    assert [int((b.label < 0).sum()) for b in early] == [2, 2, 2]
    assert [int((b.label < 0).sum()) for b in late] == [8, 8, 8]
    assert early[0].images.shape == (8, 3, 32, 32) and late[0].images.shape == (8, 3, 48, 48)
    out = task.loss(early[0])
    out.value.backward()  # type: ignore[no-untyped-call]
    weights = {"feature": 2.0, "class": 1.0, "label": 0.3}
    assert out.value.detach().item() == pytest.approx(
        sum(weights[k] * v.detach().item() for k, v in out.parts.items()), rel=1e-5
    )
    assert all(p.grad is not None for p in task.module.parameters())
    assert set(task.evaluate()) == {"held_out_feature", "held_out_class"}


def test_a_mixture_is_taught_the_mixture_of_both_answers(tmp_path: Path) -> None:
    task = small_distil(tmp_path, mixup=0.4, photos=(0.5,))
    torch.manual_seed(0)
    plain = DistilBatch(torch.randn(3, 3, 8, 8), torch.randn(3, 5), torch.randn(3, 4), torch.tensor([1, -1, 0]))
    found = plain.mixed(0.75, torch.tensor([1, 2, 0]), 2.0)
    assert torch.allclose(found.images[0], 0.75 * plain.images[0] + 0.25 * plain.images[1], atol=1e-6)
    assert torch.allclose(found.pool[2], 0.75 * plain.pool[2] + 0.25 * plain.pool[0], atol=1e-6)
    classes = (plain.logits / 2).softmax(1)
    assert torch.allclose((found.logits[1] / 2).softmax(0), 0.75 * classes[1] + 0.25 * classes[2], atol=1e-6)
    assert (found.label.tolist(), found.mixed_label.tolist(), found.share) == ([1, -1, 0], [-1, 0, 1], 0.75)  # type: ignore[union-attr]

    batch = next(iter(task.batches(0, torch.Generator().manual_seed(1))))
    assert batch.mixed_label is not None and sorted(batch.mixed_label.tolist()) == sorted(batch.label.tolist())
    task.module.eval()
    with torch.no_grad():
        mixed = task.losses(batch)["label"]
        own, other = (
            float(task.losses(dataclasses.replace(batch, label=label, mixed_label=None, share=1.0))["label"])
            for label in (batch.label, batch.mixed_label)
        )
    assert float(mixed) == pytest.approx(batch.share * own + (1 - batch.share) * other, rel=1e-4)
    nothing = dataclasses.replace(batch, label=0 * batch.label - 1, mixed_label=0 * batch.label - 1)
    assert "label" not in task.losses(nothing)


def test_a_mixture_by_no_distribution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.mixup is -0\.1"):
        small_distil(tmp_path, mixup=-0.1)


def test_distil_batches_are_repeatable(tmp_path: Path) -> None:
    task = small_distil(tmp_path, photos=(0.5,))
    first, second = (next(iter(task.batches(1, torch.Generator().manual_seed(3)))) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.pool, second.pool)


def test_augment_without_a_generator_only_resizes_and_normalises() -> None:
    preprocess = PreprocessConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    pictures = np.full((2, 10, 12, 3), 51, np.uint8)
    out = augment(pictures, 8, preprocess, None)
    assert out.shape == (2, 3, 8, 8)
    assert out.numpy() == pytest.approx(np.full((2, 3, 8, 8), 0.2), abs=1e-6)
    changed = augment(pictures, 8, preprocess, np.random.default_rng(0))
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1
    assert float(changed[0, 0, 0, 0]) != float(changed[1, 0, 0, 0])  # brightness differs from picture to picture
