"""The two-branch DeViSE head in training: what teaches it, what stays as it was given, what it refuses."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from tests.support.tiny_model import words_file
from tests.support.training_data import THINGS, draw, features, flickr8k, tiny_imagenet
from training.data.captions import prepare_captions, read_flickr8k
from training.data.classifier import last_layer, prepare_classifier, read_classifier
from training.data.labels import prepare_labels, read_tiny_imagenet
from training.data.prepared import open_prepared
from training.data.scenes import prepare_scenes
from training.data.sources.broader import Broader
from training.data.sources.scenes import Scene
from training.data.texts import Told
from training.recipe import Inputs
from training.run import train
from training.tasks.devise_classes import ClassesTask, ClassesTaskConfig, WiderBatch, scene_loss
from training.tasks.labels import read_labelled_set
from training.tasks.trained_head import TrainedHead
from vsearch.config import DeviseConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.losses import contrastive_loss
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CPU, CHANNELS = torch.device("cpu"), 8
STATE = {"fc.weight": torch.randn(3, CHANNELS, generator=torch.Generator().manual_seed(0)), "fc.bias": torch.zeros(3)}
CLASSES = [(f"n{i}", [thing]) for i, thing in enumerate(THINGS)]
TERMS = [Broader(["snow", "water"], [0, 2]), Broader(["sea"], [1, 2])]
TOLD = [Told(frozenset(), [f"a {x} dog", f"the {x} boat", f"{x} snow"]) for x in ("red", "blue")]
TOLD += [Told(frozenset(), ["the only one of its photo"])]


def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


def scenes(folder: Path, count: int = 12) -> list[Scene]:
    """Photos that show a dog, a boat, both in turns, of which the third cannot be read."""
    folder.mkdir()
    found = []
    for i in range(count):
        path = folder / f"s{i}.png"
        draw(path, "red")
        found.append(Scene(path, [{"dog": 0.25}, {"boat": 1.0}, {"dog": 0.04, "boat": 0.16}][i % 3]))
    found[2].path.write_bytes(b"no picture")
    return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("data")
    photos = read_flickr8k(flickr8k(folder / "f", 9))
    prepare_captions(photos, folder / "c.h5", space(), min_word_freq=1, max_len=8, texts=TOLD)
    prepare_labels(read_tiny_imagenet(tiny_imagenet(folder / "t")), folder / "l.h5", space())
    prepare_classifier(STATE, CLASSES, folder / "k.h5", space(), TERMS)
    report = prepare_scenes(scenes(folder / "s"), folder / "s.h5", space(), dev_every=4)
    assert (report.pictures, report.classes, len(report.skipped)) == (11, 2, 1)
    made = {}
    for prepared, kind in (("c.h5", "captions"), ("l.h5", "labels"), ("s.h5", "scenes")):
        with open_prepared(folder / prepared, kind) as file:
            names = list(file["pictures/name"].asstr()[:])
        made[prepared] = features(folder / f"features-{prepared}", names)
        with h5py.File(made[prepared], "a") as file:  # no two photos of two files are alike
            file["pool"][:] = file["pool"][:] + 0.1 * len(made)
    return Inputs(
        folder / "c.h5", made["c.h5"], folder / "l.h5", made["l.h5"],
        classifier=folder / "k.h5", scenes=folder / "s.h5", scene_features=made["s.h5"],
    )  # fmt: skip


def small(inputs: Inputs, **settings: Any) -> ClassesTask:
    config = ClassesTaskConfig(**{"batch": 9, "contrastive": 1.0, "soft_batch": 6, **settings})
    torch.manual_seed(0)
    return ClassesTask(config, DeviseConfig(hidden=16, dropout=0.0, dim=12, classes=3), inputs, CPU)


def first(task: ClassesTask) -> WiderBatch:
    return next(task.batches(0, torch.Generator().manual_seed(0)))


def test_scenes_are_stored_with_their_shares_and_a_dev_split(inputs: Inputs) -> None:
    assert inputs.scenes is not None
    with open_prepared(inputs.scenes, "scenes") as file:
        share, split = file["scenes/share"][:], file["pictures/split"][:]
        assert file["pictures/name"].asstr()[2] == "s3.png"  # what cannot be read leaves no gap
    np.testing.assert_allclose(share[:3], np.array([[0.0, 0.25], [1.0, 0.0], [0.0, 0.25]]), atol=1e-3)  # boat, dog
    assert split.tolist() == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_a_name_counts_as_looked_for_in_the_photos_of_its_folder_only(tmp_path: Path) -> None:
    asked = [frozenset({"dog"}), frozenset({"dog"}), frozenset({"boat", "dog"}), None]
    made = [Scene(scene.path, {"dog": 1.0}, own) for scene, own in zip(scenes(tmp_path / "s")[3:7], asked, strict=True)]
    made += [Scene(tmp_path / "s" / "s8.png", {"boat": 0.5})]
    prepare_scenes(made, tmp_path / "s.h5", space(), dev_every=0)
    with open_prepared(tmp_path / "s.h5", "scenes") as file:
        assert file["scenes/asked"][:].tolist() == [[False, True]] * 2 + [[True, True]] * 3  # boat, dog


def test_photos_in_which_nothing_was_looked_for_are_asked_softly_only(inputs: Inputs, tmp_path: Path) -> None:
    found = [scene for i, scene in enumerate(scenes(tmp_path / "s")) if i != 2]
    nothing = [dataclasses.replace(scene, labels={}, asked=frozenset()) for scene in found[5:]]
    prepare_scenes(found[:2] + nothing, tmp_path / "s.h5", space(), dev_every=0)
    with open_prepared(tmp_path / "s.h5", "scenes") as file:
        made = features(tmp_path / "f.h5", list(file["pictures/name"].asstr()[:]))
    task = small(dataclasses.replace(inputs, scenes=tmp_path / "s.h5", scene_features=made), scene_batch=50)
    assert task.scene_rows.tolist() == list(range(8)) and task.asked_rows.tolist() == [0, 1]
    assert first(task).asked.all()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["scenes/asked"][:] = False
    with pytest.raises(DataError, match="to train on has labels"):
        small(dataclasses.replace(inputs, scenes=tmp_path / "s.h5", scene_features=made), scene_batch=2)


def test_everything_trained_gets_a_gradient_and_the_classifier_none(inputs: Inputs) -> None:
    task = small(inputs, label_batch=5, scene_batch=8)
    torch.autograd.backward(task.loss(first(task)).value)
    still = {name for name, p in task.module.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == {"devise.branch.classifier.weight", "devise.branch.classifier.bias"}


def test_the_loss_is_the_weighted_sum_of_its_parts(inputs: Inputs) -> None:
    task = small(inputs, soft_weight=0.5, scene_batch=4, scene_weight=0.25, cosine=2.0)
    found = task.loss(first(task))
    parts = {name: float(value.detach()) for name, value in found.parts.items()}
    expected = 2 * parts["cosine"] + parts["contrastive"] + 0.5 * parts["soft"] + 0.25 * parts["scenes"]
    assert found.value.item() == pytest.approx(expected, rel=1e-5)
    assert found.items == 9


def test_soft_loss_is_least_where_the_head_says_what_the_classifier_says(inputs: Inputs) -> None:
    task = small(inputs)
    pool = first(task).soft_pool
    told = (pool @ STATE["fc.weight"].T).softmax(-1)
    cosines = task.embed(pool) @ task.names.vectors(task.module.phrases).T
    logits = cosines * task.module.contrastive.scale
    expected = F.cross_entropy(logits, told)
    torch.testing.assert_close(task.loss(first(task)).parts["soft"], expected)


def test_a_broader_term_is_as_likely_as_the_classes_it_covers(inputs: Inputs) -> None:
    task = small(inputs, broader_weight=0.5)
    batch = first(task)
    told = (batch.soft_pool @ STATE["fc.weight"].T).softmax(-1)
    sums = torch.stack([told[:, 0] + told[:, 2], told[:, 1] + told[:, 2]], 1)
    share = sums / sums.sum(1, keepdim=True)
    cosines = task.embed(batch.soft_pool) @ task.broader.vectors(task.module.phrases).T
    parts, value = task.loss(batch).parts, task.loss(batch).value
    torch.testing.assert_close(parts["broader"], F.cross_entropy(cosines * task.module.contrastive.scale, share))
    rest = parts["cosine"] + parts["contrastive"] + 0.3 * parts["soft"]
    torch.testing.assert_close(value, rest + 0.5 * parts["broader"])


def test_any_photo_may_be_asked_softly_but_none_of_dev(inputs: Inputs) -> None:
    task = small(inputs, label_batch=5, scene_batch=8, soft_batch=2000)
    drawn = {row.tobytes() for row in first(task).soft_pool.numpy()}
    assert inputs.scenes is not None
    for pool, rows in (
        (task.pool, task.train_rows),
        (task.label_pool, task.label_rows),
        (task.scene_pool, task.scene_rows),
    ):
        known = {pool[i, 0].astype(np.float32).tobytes() for i in rows}
        assert len(known & drawn) == len(known)
        rest = {pool[i, 0].astype(np.float32).tobytes() for i in set(range(len(pool))) - set(rows.tolist())}
        assert rest and not rest & drawn


def test_scene_loss_by_hand() -> None:
    """Two photos, three names, the last of which neither shows; the second photo shows nothing."""
    logits = torch.tensor([[math.log(2), 0.0, math.log(5)], [0.0, 0.0, 0.0]])
    share = torch.tensor([[0.36, 0.04, 0.0], [0.0, 0.0, 0.0]])  # weights 3/4 and 1/4 of the photo
    photo = -(0.75 * math.log(2 / 8) + 0.25 * math.log(1 / 8))
    names = -(math.log(2 / 3) + math.log(1 / 2)) / 2
    assert scene_loss(logits, share).item() == pytest.approx((photo + names) / 2, rel=1e-5)
    assert scene_loss(logits, torch.zeros(2, 3)).item() == 0


def test_a_name_that_was_not_looked_for_has_no_part_in_the_scene_loss() -> None:
    logits = torch.tensor([[math.log(2), 0.0, 9.0], [math.log(3), 5.0, 0.0]])
    share = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    asked = torch.tensor([[True, True, False], [False, True, True]])
    photo = -(math.log(2 / 3) + math.log(math.exp(5) / (math.exp(5) + 1))) / 2
    names = -(math.log(1) + math.log(math.exp(5) / (math.exp(5) + 1))) / 2
    assert scene_loss(logits, share, asked).item() == pytest.approx((photo + names) / 2, rel=1e-5)


def test_pairs_are_two_captions_of_one_photo_without_it(inputs: Inputs) -> None:
    task = small(inputs, pair_batch=200)
    one, other = first(task).pairs
    words = task.captions.table.words
    found = set()
    for rows in zip(one.tolist(), other.tolist(), strict=True):
        a, b = (" ".join(words[i] for i in row if i >= 0) for row in rows)
        found.add((a, b))
    own = [told.captions for told in TOLD[:2]]
    assert found == {(a, b) for captions in own for a in captions for b in captions if a != b}


def test_pairs_tune_words_and_nothing_else(inputs: Inputs) -> None:
    task = small(inputs, pair_batch=12, pair_weight=0.5, blend=0.4)
    batch = first(task)
    parts = task.loss(batch).parts
    one, other = map(task.phrases, batch.pairs)
    expected = contrastive_loss(one, other, task.module.contrastive.scale)
    torch.testing.assert_close(parts["pairs"], expected)
    torch.autograd.backward(parts["pairs"], retain_graph=True)
    moved = {name for name, p in task.module.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"contrastive.log_scale", *(f"phrases.{name}" for name in ("shift", "log_factor", "map", "mean"))}
    rest = parts["cosine"] + parts["contrastive"] + 0.3 * parts["soft"]
    torch.testing.assert_close(task.loss(batch).value, rest + 0.5 * parts["pairs"])


def test_decoders_can_be_told_the_places_that_such_a_head_gives(inputs: Inputs, tmp_path: Path) -> None:
    assert inputs.features is not None
    settings = {"loop.epochs": "1", "task.batch": "9", "devise.dim": "12", "devise.classes": "3", "task.blend": "0.3"}
    train("devise-classes", inputs, tmp_path, "cpu", settings)
    places = TrainedHead(tmp_path, inputs.data, inputs.features)
    assert places.tuned and places.embed_pictures().shape == (27, 1, 12)
    assert float(places.encoder.blend) == pytest.approx(0.3)


def test_nothing_pulls_the_branch_to_zero(inputs: Inputs) -> None:
    task = small(inputs)
    decay = {id(p): group.decay for group in task.groups() for p in group.parameters}
    found = {name: decay.get(id(p)) for name, p in task.module.named_parameters()}
    assert {name for name, value in found.items() if value is None} == {
        "devise.branch.classifier.weight", "devise.branch.classifier.bias",
    }  # fmt: skip
    assert {found[f"devise.branch.{name}"] for name in ("map", "shift", "log_gate", "log_temperature")} == {0.0}
    assert found["devise.layers.0.weight"] == 1.0


def test_it_learns_what_the_classifier_knows(inputs: Inputs, tmp_path: Path) -> None:
    """After a training the head names the photos as the classifier does, more often than before."""
    settings = {"loop.epochs": "30", "loop.lr": "0.01", "task.batch": "9", "devise.dim": "12"}
    settings |= {"devise.classes": "3", "devise.hidden": "16", "devise.dropout": "0.0"}
    train("devise-classes", inputs, tmp_path, "cpu", settings)
    task = small(inputs)
    before = agreement(task)
    task.module.load_state_dict(load_file(tmp_path / "best.safetensors"), strict=False)
    assert agreement(task) >= max(0.8, before)


def agreement(task: ClassesTask) -> float:
    """The share of photos to train on whose nearest class name is the classifier's first."""
    pool = torch.from_numpy(task.pool[task.train_rows, 0].astype(np.float32))
    with torch.no_grad():
        named = (task.module.eval().devise(pool) @ task.names.vectors(task.module.phrases).T).argmax(1)
    return float((named == (pool @ STATE["fc.weight"].T).argmax(1)).float().mean())


def test_what_does_not_fit_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    head = DeviseConfig(hidden=16, dim=12, classes=3)
    lacking = dataclasses.replace(inputs, classifier=None)
    with pytest.raises(ConfigError, match="needs a pretrained classifier"):
        ClassesTask(ClassesTaskConfig(), head, lacking, CPU)
    with pytest.raises(ConfigError, match=r"devise\.classes is 4"):
        ClassesTask(ClassesTaskConfig(), dataclasses.replace(head, classes=4), inputs, CPU)
    with pytest.raises(ConfigError, match=r"task\.words is 'fixed'"):
        ClassesTask(ClassesTaskConfig(words="fixed"), head, inputs, CPU)
    with pytest.raises(ConfigError, match=r"task\.scene_batch needs photos with many labels"):
        small(dataclasses.replace(inputs, scenes=None), scene_batch=2)
    assert inputs.scenes is not None and inputs.classifier is not None
    prepare_classifier(STATE, CLASSES, tmp_path / "plain.h5", space())
    with pytest.raises(ConfigError, match=r"task\.broader_weight needs broader terms"):
        small(dataclasses.replace(inputs, classifier=tmp_path / "plain.h5"), broader_weight=0.1)
    for file, name, message, setting in (
        (inputs.scenes, "scenes/asked", "does not say what was looked for", {"scene_batch": 2}),
        (inputs.data, "texts", "holds no captions without photos", {"pair_batch": 2}),
    ):
        old = tmp_path / file.name
        old.write_bytes(file.read_bytes())
        with h5py.File(old, "r+") as opened:
            del opened[name]
        other = "scenes" if file == inputs.scenes else "data"
        with pytest.raises(DataError, match=message):
            small(dataclasses.replace(inputs, **{other: old}), **setting)
    with h5py.File(tmp_path / "c.h5", "r+") as opened:
        opened["texts/text"], opened["texts/photo"] = ["a dog", "a boat"], [0, 1]
    with pytest.raises(DataError, match="has two captions that stand without it"):
        small(dataclasses.replace(inputs, data=tmp_path / "c.h5"), pair_batch=2)
    with pytest.raises(DataError, match="the network has 3 classes, the list of names 2"):
        prepare_classifier(STATE, CLASSES[:2], tmp_path / "k.h5", space())
    with pytest.raises(DataError, match="the network has no last layer"):
        last_layer({"conv.weight": torch.zeros(3, 4), "fc.weight": torch.zeros(3, 4)})
    with pytest.raises(DataError, match="not one labelled photo can be read"):
        prepare_scenes([Scene(tmp_path / "none.jpg", {"dog": 1.0})], tmp_path / "s.h5", space())


def test_the_classifier_comes_back_as_it_was_written(inputs: Inputs) -> None:
    assert inputs.classifier is not None
    found = read_classifier(inputs.classifier)
    assert found.classes == CLASSES
    np.testing.assert_array_equal(found.weight, STATE["fc.weight"].numpy())
    np.testing.assert_allclose(found.vectors[0], space().vector(["dog"]), atol=1e-6)


def test_unseen_classes_have_no_share_no_name_and_no_picture(inputs: Inputs) -> None:
    assert inputs.labels is not None
    numbers = [number for number, _ in read_labelled_set(inputs.labels).classes]
    task = small_with_numbers(inputs, numbers, unseen=(numbers[1],))
    assert task.kept.tolist() == [True, False, True]
    batch = first(task)
    told = task._told(batch.soft_pool)
    assert (told[:, 1] == 0).all() and told.sum(1) == pytest.approx(np.ones(len(told)), abs=1e-6)
    labelled = read_labelled_set(inputs.labels)
    assert set(labelled.label[task.label_rows]) == {0, 2} and set(batch.label.tolist()) == {0, 1}
    phrases = task.module.phrases
    whole = small_with_numbers(inputs, numbers)
    for own, every in ((task.names, whole.names), (task.classes, whole.classes)):
        assert own.vectors(phrases).shape == (2, 12)
        torch.testing.assert_close(own.vectors(phrases), every.vectors(phrases)[[0, 2]])
    torch.autograd.backward(task.loss(batch).value)
    branch = task.module.devise.branch
    assert branch is not None and branch.shift.grad is not None
    assert not branch.shift.grad[1].any() and branch.shift.grad[0].any()
    with pytest.raises(ConfigError, match="the classifier has no class n99"):
        small_with_numbers(inputs, numbers, unseen=("n99",))


def small_with_numbers(inputs: Inputs, numbers: list[str], **settings: Any) -> ClassesTask:
    """A task whose classifier knows the labelled classes by their WordNet numbers."""
    assert inputs.labels is not None and inputs.classifier is not None
    file = inputs.classifier.with_name("numbers.h5")
    prepare_classifier(STATE, [(number, [thing]) for number, thing in zip(numbers, THINGS, strict=True)], file, space())
    return small(dataclasses.replace(inputs, classifier=file), label_batch=9, **settings)
