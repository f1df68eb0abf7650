"""Training on labels without some classes, its baselines, and the figures of seen and unseen classes, by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_model import model_folder, words_file
from tests.support.training_data import features, tiny_imagenet
from training import recipe as recipes
from training.data.labels import prepare_labels, read_tiny_imagenet
from training.data.prepared import open_prepared
from training.evaluate import devise as zeroshot
from training.evaluate.naming import Column, DevPictures, conse, evaluate_column, local_scaling, word_precisions
from training.recipe import Inputs
from training.run import train
from training.tasks.labels import LabelledSet, LabelsTask, LabelsTaskConfig, class_targets, read_labelled_set
from vsearch.config import DeviseConfig, from_dict
from vsearch.errors import ConfigError, DataError
from vsearch.metrics.hierarchy import distances
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CPU = torch.device("cpu")
BOAT, ENGINE = "n00000001", "n00000002"  # dog is n00000000


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Three classes of eight pictures a shard and two dev pictures each, with random features of eight channels."""
    folder = tmp_path_factory.mktemp("data")
    space = PhraseSpace.load(model_folder())
    prepare_labels(read_tiny_imagenet(tiny_imagenet(folder / "t")), folder / "l.h5", space)
    with open_prepared(folder / "l.h5", "labels") as file:
        names = list(file["pictures/name"].asstr()[:])
    return Inputs(folder / "l.h5", features(folder / "f.h5", names))


def small(inputs: Inputs, **settings: object) -> LabelsTask:
    assert inputs.features is not None
    config = from_dict(LabelsTaskConfig, {"batch": 8, "unseen": (ENGINE,), **settings}, "task")
    return LabelsTask(config, DeviseConfig(hidden=16, dropout=0.0, dim=12), inputs.data, inputs.features, CPU)


@pytest.fixture(scope="module")
def runs(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short training of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    for target in ("words", "random", "softmax"):
        train("devise-zero-shot", inputs, folder / target, "cpu", overrides(target))
    return {path.name: path for path in folder.iterdir()}


def overrides(target: str, epochs: int = 2) -> dict[str, str]:
    return {
        "devise.dim": "12", "devise.hidden": "64", "devise.dropout": "0.0", "task.batch": "8", "task.target": target,
        "task.unseen": f'["{ENGINE}"]', "loop.epochs": str(epochs), "loop.lr": "0.01", "loop.average": "0.0",
    }  # fmt: skip


def test_no_picture_of_an_unseen_class_is_looked_at(inputs: Inputs) -> None:
    labelled = read_labelled_set(inputs.data)
    task = small(inputs)
    unseen = {i for i, label in enumerate(labelled.label) if labelled.classes[label][0] == ENGINE}
    assert len(unseen) == 2 * 8 + 2
    assert len(task.train_rows) == 2 * 2 * 8 and not unseen & set(task.train_rows.tolist())
    assert len(task.dev_label) == 4 and set(task.dev_label.tolist()) == {0, 1}
    assert task.targets.shape == (2, 12)  # nor is its word vector a wrong label of the others
    drawn = [batch.label for batch in task.batches(0, torch.Generator().manual_seed(0))]
    assert len(drawn) == task.steps(0) == 4 and set(torch.cat(drawn).tolist()) == {0, 1}


def test_labels_follow_the_classes_that_stay(inputs: Inputs) -> None:
    """Without the middle class, engine moves from row 2 to row 1; so does its vector."""
    task, labelled = small(inputs, unseen=(BOAT,)), read_labelled_set(inputs.data)
    assert torch.equal(task.targets, torch.from_numpy(labelled.vectors[[0, 2]]))
    assert (task.label[labelled.label == 2] == 1).all() and (task.label[labelled.label == 0] == 0).all()


@pytest.mark.parametrize("target", ["words", "random", "softmax"])
def test_every_parameter_gets_a_gradient(inputs: Inputs, target: str) -> None:
    task = small(inputs, target=target, hinge=1.0, contrastive=1.0)
    out = task.loss(next(iter(task.batches(0, torch.Generator().manual_seed(0)))))
    out.value.backward()  # type: ignore[no-untyped-call]
    assert out.value.detach().item() == pytest.approx(sum(v.detach().item() for v in out.parts.values()), rel=1e-5)
    for name, parameter in task.module.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_a_mixture_is_drawn_to_the_mixture_of_its_words(inputs: Inputs) -> None:
    """With the answers in place of the network, each picture at its target: two pictures of classes 0 and 1, and one
    mixture, 0.25 of the first with 0.75 of the second. All cosines are 1, so that part is 0, and the contrastive part
    is the cross-entropy of three classes, the third the mixture."""
    task = small(inputs, mixed=0.5, contrastive=1.0)
    batch = next(iter(task.batches(0, torch.Generator().manual_seed(0))))
    assert len(batch.first) == 4 and bool(((batch.share >= 0.3) & (batch.share <= 0.7)).all())
    batch = replace(
        batch, pool=batch.pool[:2], label=torch.tensor([0, 1]), first=torch.tensor([0]), second=torch.tensor([1]),
        share=torch.tensor([[0.25]]),
    )  # fmt: skip
    seen: list[torch.Tensor] = []
    mixture = torch.nn.functional.normalize(0.25 * task.targets[:1] + 0.75 * task.targets[1:], dim=-1)
    right = torch.cat([task.targets, mixture])

    def answer(pool: torch.Tensor) -> torch.Tensor:
        seen.append(pool)
        return right

    task.answer = answer  # type: ignore[method-assign]
    out = task.loss(batch)
    torch.testing.assert_close(seen[0][2], 0.25 * batch.pool[0] + 0.75 * batch.pool[1])
    logits = right @ right.T / 0.07
    assert out.parts["cosine"].item() == pytest.approx(0, abs=1e-6)
    expected = -torch.log_softmax(logits, 1).diagonal().mean()
    assert out.parts["contrastive"].detach().item() == pytest.approx(expected.item(), rel=1e-4)
    assert out.items == 2


def test_random_targets_are_unit_repeatable_and_not_the_words(inputs: Inputs) -> None:
    vectors = read_labelled_set(inputs.data).vectors
    first, again, other = (
        class_targets(LabelsTaskConfig(target="random", random_seed=seed), vectors) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert first.norm(dim=1).numpy() == pytest.approx(np.ones(3), abs=1e-6)
    assert torch.equal(class_targets(LabelsTaskConfig(), vectors), torch.from_numpy(vectors))


@pytest.mark.parametrize("target", ["words", "random", "softmax"])
def test_each_kind_learns_its_training_pictures(inputs: Inputs, tmp_path: Path, target: str) -> None:
    train("devise-zero-shot", inputs, tmp_path, "cpu", overrides(target, 30))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert {"hit1", "hit5"} <= set(log[-1]) and ("dev_cosine" in log[-1]) == (target != "softmax")
    assert json.loads((tmp_path / "recipe.json").read_text())["task"]["target"] == target


def test_wrong_settings_are_named(inputs: Inputs) -> None:
    with pytest.raises(ConfigError, match=r"task\.mixed is 2"):
        from_dict(LabelsTaskConfig, {"mixed": 2}, "task")
    with pytest.raises(ConfigError, match="1 unseen classes are not in the data, n9 first"):
        small(inputs, unseen=("n9",))
    with pytest.raises(ConfigError, match=r"task\.target is 'cook'"):
        small(inputs, target="cook")
    with pytest.raises(ConfigError, match="no loss"):
        small(inputs, cosine=0.0)
    assert inputs.features is not None
    with pytest.raises(ConfigError, match=r"devise\.dim is 7, the targets have 12"):
        LabelsTask(LabelsTaskConfig(), DeviseConfig(dim=7), inputs.data, inputs.features, CPU)


# Figures by hand: classes a, b (seen) and c, d (unseen), a picture each; a and b have one parent, c and d another.
PARENTS = {"a": ["one"], "b": ["one"], "c": ["two"], "d": ["two"], "one": ["top"], "two": ["top"]}
SCORES = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],  # an a: first of all; then d, c, b
        [0.6, 0.5, 0.1, 0.7],  # a b: second of the seen, third of all: d, a, b, c
        [0.8, 0.1, 0.4, 0.3],  # a c: first of the unseen, second of all: a, c, d, b
        [0.9, 0.8, 0.5, 0.4],  # a d: second of the unseen, last of all: a, b, c, d
    ],
    np.float32,
)


def by_hand(queries: dict[int, np.ndarray | None] | None = None) -> DevPictures:
    return DevPictures(
        label=np.arange(4),
        vectors=np.eye(4, dtype=np.float32),
        seen=np.array([True, True, False, False]),
        distance=distances(list("abcd"), PARENTS).astype(np.float32),
        queries=queries or {},
    )


def test_seen_and_unseen_by_hand() -> None:
    """precision@2: each class's set is it and its sister, as all others are four steps away, not two."""
    table = evaluate_column(Column("model", SCORES, None), by_hand())
    expected = {
        "seen among seen, hit@1": 50, "seen among seen, hit@2": 100, "seen among all, hit@1": 50,
        "seen among all, hit@2": 50, "seen among all, hit@5": 100, "unseen among unseen, hit@1": 50,
        "unseen among unseen, hit@2": 100, "unseen among all, hit@1": 0, "unseen among all, hit@2": 50,
        "all among all, hit@1": 25, "all among all, hit@2": 50, "all among all, hit@10": 100,
        "seen among seen, precision@2": 100,  # all there is
        "seen among all, precision@2": 50,  # a: a, d; b: d, a
        "unseen among all, precision@2": 25,  # c: a, c; d: a, b
        "all among all, precision@2": 37.5,
        "all among all, precision@5": 100,
    }  # fmt: skip
    assert {name: table[name] for name in expected} == pytest.approx(expected)
    assert table["1 - cos, all"] is None and table["word precision@10"] is None


def test_a_model_that_cannot_name_unseen_classes_gets_no_figure_for_it() -> None:
    """A softmax over a and b, tried on a c and a d: no hit is possible, but a precision is: at 2 none of a, b is right.

    At 5 the two that it cannot name would have to be counted, too.
    """
    scores = SCORES.copy()
    scores[:, 2:] = -np.inf
    table = evaluate_column(Column("softmax", scores, None), by_hand())
    assert table["seen among all, hit@1"] == table["seen among seen, hit@1"] == 50
    assert table["all among all, hit@2"] == 50  # a first, b second; c and d never
    for name in ("unseen among unseen, hit@1", "unseen among unseen, precision@2", "unseen among all, hit@10"):
        assert table[name] is None, name
    assert table["unseen among all, precision@2"] == 0
    assert table["unseen among all, precision@5"] is None


def test_without_unseen_classes_there_is_one_case() -> None:
    pictures = by_hand()
    whole = DevPictures(pictures.label, pictures.vectors, np.ones(4, bool), None, {})
    table = evaluate_column(Column("model", SCORES, None), whole)
    assert [name for name in table if "among" in name] == [f"all among all, hit@{k}" for k in (1, 2, 5, 10)]


def test_cosines_and_words_by_hand() -> None:
    """Pictures at a (cosine 1), between a and b (for b: .6), at c (1), at a (for d: 0).

    The ten nearest to c's word are all four: one shows c; d's word is not in the dictionary and finds none. With
    fourteen pictures of a and one of b next to them, the ten nearest to a's word are all a.
    """
    vectors = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], np.float32)
    pictures = by_hand({2: np.eye(4, dtype=np.float32)[2], 3: None})
    table = evaluate_column(Column("model", vectors @ pictures.vectors.T, vectors), pictures)
    assert table["1 - cos, seen"] == pytest.approx((0 + 0.4) / 2)
    assert table["1 - cos, unseen"] == pytest.approx((0 + 1) / 2)
    assert table["1 - cos, all"] == pytest.approx(1.4 / 4)
    assert table["word precision@10"] == (25.0 + 0) / 2

    many = np.concatenate([np.tile([[1, 0, 0, 0]], (14, 1)), [[0, 1, 0, 0]]]).astype(np.float32)
    more = DevPictures(np.array([0] * 14 + [1]), pictures.vectors, pictures.seen, None, {0: many[0], 1: many[14]})
    assert word_precisions(Column("model", many, many), more) == {0: 100.0, 1: 10.0}


def test_local_scaling_by_hand() -> None:
    """Two classes. Of the training pictures' cosines the two greatest are .8 and .6 for the first class, .4 and .2 for
    the second: means .7 and .3. A picture with cosines .5 and .4 is nearer to the first class, but 2 * .5 - .7 = .3 is
    less than 2 * .4 - .3 = .5; half of these are .15 and .25."""
    training = np.array([[0.8, 0.2], [0.1, 0.4], [0.6, 0.0]], np.float32)
    scaled = local_scaling(np.array([[0.5, 0.4]], np.float32), training, nearest=2)
    np.testing.assert_allclose(scaled, [[0.15, 0.25]], atol=1e-6)


def test_conse_by_hand() -> None:
    """Of .6, .3, .1 the two likeliest: .6 (1, 0) + .3 (0, 1), at length 1; of one, its own vector."""
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    probability = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], np.float32)
    length = math.hypot(0.6, 0.3)
    assert conse(probability, vectors, 2)[0] == pytest.approx([0.6 / length, 0.3 / length])
    assert conse(probability, vectors, 1) == pytest.approx(np.array([[1, 0], [-1, 0]]))
    assert conse(probability, vectors, 10) == pytest.approx(conse(probability, vectors, 3))


def pictures_of(inputs: Inputs, unseen: tuple[str, ...] = (ENGINE,)) -> tuple[LabelledSet, DevPictures]:
    labelled = read_labelled_set(inputs.data)
    return labelled, zeroshot.dev_pictures(labelled, PhraseSpace.load(model_folder()), unseen)


def test_runs_become_columns(inputs: Inputs, runs: dict[str, Path]) -> None:
    labelled, pictures = pictures_of(inputs)
    assert inputs.features is not None
    found = {}
    for run in zeroshot.read_runs(list(runs.values())):
        for column in zeroshot.run_columns(run, labelled, inputs.features, CPU):
            found[column.name] = (column, evaluate_column(column, pictures))
    placed = {"words", "random", "softmax, ConSE"}
    assert set(found) == {"softmax"} | placed | {f"{name}, scaled" for name in placed}
    without = {"random", "random, scaled", "softmax"}
    assert {name for name, (column, _) in found.items() if column.vectors is None} == without
    for name, (column, table) in found.items():
        assert column.scores.shape == (6, 3)
        assert (table["unseen among all, hit@1"] is None) == (name == "softmax"), name
        assert (table["1 - cos, unseen"] is None) == (name in without), name
    softmax = found["softmax"][0].scores
    assert softmax[:, :2].sum(1) == pytest.approx(np.ones(6), abs=1e-5) and np.isneginf(softmax[:, 2]).all()


def test_a_run_is_scored_by_its_best_weights(inputs: Inputs, runs: dict[str, Path]) -> None:
    """The table's hit@1 of seen classes is what the training's own log names as its best."""
    labelled, pictures = pictures_of(inputs)
    assert inputs.features is not None
    [run] = zeroshot.read_runs([runs["words"]])
    column, scaled = zeroshot.run_columns(run, labelled, inputs.features, CPU)
    assert scaled.vectors is column.vectors and not np.array_equal(scaled.scores, column.scores)
    log = [json.loads(line) for line in (runs["words"] / "log.jsonl").read_text().splitlines()]
    table = evaluate_column(column, pictures)
    assert table["seen among seen, hit@1"] == pytest.approx(max(epoch["hit1"] for epoch in log))
    assert table["1 - cos, seen"] in [pytest.approx(epoch["dev_cosine"], abs=1e-5) for epoch in log]


def test_a_model_gives_the_same_end_to_end_and_from_features(inputs: Inputs, tmp_path: Path) -> None:
    from training.data.features import encoder_network, write_features
    from vsearch.storage import modelfolder

    model = modelfolder.load_fast(model_folder(), "cpu")
    network = encoder_network(model.joint.encoder, model.config.preprocess, CPU)
    write_features(network, inputs.data, tmp_path / "f.h5", CPU, grid=False)
    labelled = read_labelled_set(inputs.data)
    whole = zeroshot.model_column(model, inputs.data, labelled, None)
    cached = zeroshot.model_column(model, inputs.data, labelled, tmp_path / "f.h5")
    assert whole.vectors is not None and cached.vectors is not None
    assert whole.vectors.shape == (6, 12)
    assert (whole.vectors * cached.vectors).sum(1) == pytest.approx(np.ones(6), abs=0.02)  # bfloat16, float16
    number = labelled.classes[2][0]
    (tmp_path / "unseen.txt").write_text(f"{number}\n")
    found = zeroshot.evaluate_model(
        model_folder(), inputs.data, tmp_path / "f.h5", str(tmp_path / "unseen.txt"), device="cpu"
    )
    assert list(found.tables) == ["model", "model, scaled"]
    train = labelled.rows("train")
    seen = zeroshot._placed(model, labelled, train[labelled.label[train] != 2], tmp_path / "f.h5") @ labelled.vectors.T
    scaled = cached.scores - np.sort(seen, 0)[-10:].mean(0) / 2
    hit = (scaled[labelled.label[labelled.rows("dev")] == 2].argmax(1) == 2).mean()
    assert found.tables["model, scaled"]["unseen among all, hit@1"] == pytest.approx(100 * hit)
    other = modelfolder.load_fast(model_folder(1), "cpu")
    with pytest.raises(DataError, match="another encoder"):
        zeroshot.model_column(other, inputs.data, labelled, tmp_path / "f.h5")


def test_queries_are_the_first_lemmas_of_unseen_classes(inputs: Inputs) -> None:
    space = PhraseSpace.load(model_folder())
    assert set(pictures_of(inputs)[1].queries) == {2}
    assert pictures_of(inputs)[1].queries[2] == pytest.approx(space.vector(["engine"]))
    assert set(pictures_of(inputs, ())[1].queries) == {0, 1, 2}


def test_other_words_are_refused(inputs: Inputs) -> None:
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["dog", "boat"], ["engine"]])
    with pytest.raises(DataError, match="other words"):
        zeroshot.dev_pictures(read_labelled_set(inputs.data), space, ())


def test_runs_that_do_not_fit_are_refused(inputs: Inputs, runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the output of a training"):
        zeroshot.read_runs([tmp_path])
    (tmp_path / "recipe.json").write_text('{"kind": "devise"}')
    with pytest.raises(DataError, match="of kind 'devise'"):
        zeroshot.read_runs([tmp_path])
    (tmp_path / "recipe.json").write_text('{"kind": "devise-labels"}')
    with pytest.raises(ConfigError, match="different classes"):
        zeroshot.read_runs([tmp_path, runs["words"]])
    assert [run.name for run in zeroshot.read_runs([tmp_path, tmp_path])] == [str(tmp_path)] * 2
    assert inputs.features is not None
    [run] = zeroshot.read_runs([tmp_path])
    with pytest.raises(DataError, match="does not fit"):
        zeroshot.run_columns(run, read_labelled_set(inputs.data), inputs.features, CPU)


def test_unseen_classes_by_recipe_or_file(tmp_path: Path) -> None:
    assert len(set(zeroshot.read_unseen("devise-zero-shot"))) == 20
    (tmp_path / "unseen.txt").write_text("# two\nn00000001 # boat\n\nn00000002\n")
    assert zeroshot.read_unseen(str(tmp_path / "unseen.txt")) == (BOAT, ENGINE)
    (tmp_path / "own.toml").write_text('[task]\nunseen = ["n00000002"]\n')
    assert zeroshot.read_unseen(str(tmp_path / "own.toml")) == (ENGINE,)
    with pytest.raises(DataError, match="cannot read the unseen"):
        zeroshot.read_unseen(str(tmp_path / "none.txt"))


def test_the_shipped_tree_has_every_unseen_class_and_one_root(tmp_path: Path) -> None:
    """All unseen classes meet in it, at least four levels below the root, and no two in their first group."""
    unseen = recipes.read("devise-zero-shot")["task"]["unseen"]
    parents = zeroshot.read_parents("tiny-imagenet")
    wnids = [node for node in parents if node[1:].isdigit()]
    assert len(wnids) == 202 and set(unseen) <= set(wnids)
    steps = distances([*wnids, "entity"], parents)
    assert np.isfinite(steps).all()
    assert steps[:-1, -1].min() >= 4
    assert len({parents[wnid][0] for wnid in unseen}) == 20
    (tmp_path / "own.txt").write_text("n1 thing\n")
    assert zeroshot.read_parents(str(tmp_path / "own.txt")) == {"n1": ["thing"]}
