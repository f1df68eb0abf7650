"""Models and trainings on the dev pictures of labelled data, of classes they were trained on and of others.

What is measured is in `training.evaluate.naming`. Shapes: I pictures, K classes, S seen classes, C channels, D
word-vector size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.features import key_of, read_features
from training.data.labels import class_vectors
from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate.naming import (
    Column,
    DevPictures,
    Floats,
    Table,
    conse,
    evaluate_column,
    local_scaling,
    word_precisions,
)
from training.kinds import recipe_of
from training.recipe import read, shipped
from training.run_folder import noted_key
from training.tasks.devise import DeviseModule
from training.tasks.labels import (
    LabelledSet,
    LabelsRecipe,
    LabelsTaskConfig,
    SoftmaxModule,
    build_module,
    class_targets,
    read_labelled_set,
)
from vsearch.config import DeviseConfig, from_dict
from vsearch.device import resolve
from vsearch.errors import ConfigError, DataError, QueryError
from vsearch.metrics.hierarchy import distances, read_hierarchy, wordnet_parents
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace, parse


@dataclass(frozen=True)
class DeviseReport:
    """What models reached on labelled pictures: for each a table of figures, and for each class that was asked for, by
    number, its word and each model's precision (in percent) of the pictures nearest to that word."""

    tables: dict[str, Table]
    words: dict[int, str]
    precisions: dict[str, dict[int, float]]


def evaluate_model(
    folder: Path, data: Path, features: Path | None = None, unseen: str | None = None, hierarchy: str | None = None,
    device: str = "auto", progress: Progress | None = None,
) -> DeviseReport:  # fmt: skip
    """Measure the model in `folder` on the dev pictures of the labelled set `data`.

    features: cached ones of its own encoder; None: it sees the pictures. With them and unseen classes it is scored with
    `local_scaling`, too, by the training pictures of the seen classes. unseen, hierarchy: see `read_unseen` and
    `dev_pictures`. Raises DataError if these do not go together.
    """
    labelled, space = read_labelled_set(data), PhraseSpace.load(folder)
    pictures = dev_pictures(labelled, space, () if unseen is None else read_unseen(unseen), hierarchy)
    model = modelfolder.load_fast(folder, device)
    columns = [model_column(model, data, labelled, features, progress)]
    if features is not None and not pictures.seen.all():
        train = labelled.rows("train")
        near = _placed(model, labelled, train[pictures.seen[labelled.label[train]]], features) @ labelled.vectors.T
        scaled = local_scaling(columns[0].scores, near)
        columns.append(Column("model, scaled", scaled, columns[0].vectors))
    return _report(columns, pictures, labelled)


def evaluate_runs(
    folders: Sequence[Path], data: Path, features: Path, words: Path, hierarchy: str | None = None, device: str = "auto"
) -> DeviseReport:
    """Measure trainings of kind "devise-labels" on the dev pictures of the labelled set `data`.

    features: those they were trained on; words: a folder with the words that the labels were prepared with.
    Raises DataError if these do not go together, ConfigError if the trainings left out different classes.
    """
    labelled, space, runs = read_labelled_set(data), PhraseSpace.load(words), read_runs(folders)
    pictures = dev_pictures(labelled, space, runs[0].task.unseen, hierarchy)
    place = resolve(device)
    return _report([c for run in runs for c in run_columns(run, labelled, features, place)], pictures, labelled)


def _report(columns: Sequence[Column], pictures: DevPictures, labelled: LabelledSet) -> DeviseReport:
    """Measure each column."""
    return DeviseReport(
        {column.name: evaluate_column(column, pictures) for column in columns},
        {k: labelled.classes[k][1][0] for k in pictures.queries},
        {column.name: word_precisions(column, pictures) for column in columns},
    )


def dev_pictures(
    labelled: LabelledSet, space: PhraseSpace, unseen: Sequence[str], hierarchy: str | None = None
) -> DevPictures:
    """Read the dev split, with a query for each unseen class (for each, where none is): its first lemma, as one types
    it.

    hierarchy: "wordnet" (NLTK's corpus), the name of a shipped tree ("tiny-imagenet"), or a file.
    Raises DataError if `space` is not that of the prepared file, or the hierarchy lacks a class.
    """
    own = class_vectors(labelled.classes, space)
    if own.shape != labelled.vectors.shape or not np.allclose(own, labelled.vectors, atol=1e-3):
        raise DataError("the labels were prepared with other words than the model's", "name their model with `model`")
    seen = labelled.seen(unseen)
    wnids = [wnid for wnid, _ in labelled.classes]
    label = labelled.label[labelled.rows("dev")]
    for group in (seen, ~seen):
        if group.any() and not group[label].any():
            raise DataError("the dev split has no picture of the seen, or none of the unseen, classes")
    distance = None if hierarchy is None else distances(wnids, read_parents(hierarchy))
    asked = np.flatnonzero(~seen if not seen.all() else seen)
    queries = {int(k): _query(labelled.classes[k][1][0], space) for k in asked}
    return DevPictures(label, labelled.vectors, seen, distance, queries)


def _query(word: str, space: PhraseSpace) -> Floats | None:
    try:
        return space.query(parse(word)).vector
    except QueryError:
        return None


def read_unseen(name: str) -> tuple[str, ...]:
    """Read the unseen classes of a recipe (shipped, or a .toml file), or those of a file with a WordNet number a
    line."""
    if name in shipped() or name.endswith(".toml"):
        return from_dict(LabelsTaskConfig, read(name).get("task", {}), "task").unseen
    try:
        words = (line.partition("#")[0].strip() for line in Path(name).read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the unseen classes {name}: {error}", "name a recipe or a file") from None
    return tuple(word for word in words if word)


def read_parents(name: str) -> Mapping[str, Sequence[str]]:
    if name == "wordnet":
        return wordnet_parents()
    shipped = resources.files("training") / "recipes" / f"{name}.is_a.txt"
    if shipped.is_file():
        with resources.as_file(shipped) as path:
            return read_hierarchy(path)
    return read_hierarchy(Path(name))


def model_column(
    model: FastModel, data: Path, labelled: LabelledSet, features: Path | None, progress: Progress | None = None
) -> Column:
    """Run a finished model on the dev pictures of `data`: from cached features of its own encoder, or end to end."""
    if model.joint.devise is None:
        raise DataError("this model places no pictures among words", "use one with a DeViSE head")
    rows = labelled.rows("dev")
    if features is None:
        vectors = np.concatenate(list(_described(model, data, rows, progress)))
    else:
        vectors = _placed(model, labelled, rows, features)
    return Column("model", vectors @ labelled.vectors.T, vectors)


@torch.no_grad()
def _placed(model: FastModel, labelled: LabelledSet, rows: NDArray[np.int64], features: Path) -> Floats:
    """Return the vectors (n, D) of some pictures by their cached features."""
    head = model.joint.devise
    assert head is not None
    pool = _features(labelled, rows, features, key_of(model.joint.encoder, model.config.preprocess))
    found: Floats = head.eval()(pool.to(next(head.parameters()).device)).cpu().numpy()
    return found


def _described(
    model: FastModel, data: Path, rows: NDArray[np.int64], progress: Progress | None, batch: int = 50
) -> Iterator[Floats]:
    with open_prepared(data, "labels") as file:
        for start in range(0, len(rows), batch):
            pixels = read_stored_pixels(file, rows[start : start + batch].tolist(), model.config.preprocess.side)
            yield model.describe(torch.from_numpy(pixels), captions=False).vectors
            if progress:
                progress(start + len(pixels), len(rows))


def _features(labelled: LabelledSet, rows: NDArray[np.int64], features: Path, key: str | None) -> torch.Tensor:
    """Read the pooled features (n, C) float32 of some pictures, of the plain view."""
    pool = read_features(features, labelled.names[rows], key, grid=False).pool
    return torch.from_numpy(pool[:, 0].astype(np.float32))


@dataclass(frozen=True)
class Run:
    """A training of kind "devise-labels", finished or not: its name, settings and folder."""

    name: str
    task: LabelsTaskConfig
    head: DeviseConfig
    folder: Path


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the trainings in `folders`, each by its folder's name, or by the whole path where two have the same.

    Raises DataError if a folder is of no such training, ConfigError if they left out different classes.
    """
    runs = [_read_run(folder) for folder in folders]
    if len({frozenset(run.task.unseen) for run in runs}) > 1:
        raise ConfigError("these trainings left out different classes", "compare those of the same task.unseen")
    if len({run.name for run in runs}) < len(runs):
        return [replace(run, name=str(run.folder)) for run in runs]
    return runs


def _read_run(folder: Path) -> Run:
    try:
        recipe = recipe_of(folder)
    except DataError:
        raise DataError(
            f"{folder} is not the output of a training", "name a folder that `training.run.train` wrote"
        ) from None
    if not isinstance(recipe, LabelsRecipe):
        other = f"{folder} holds a training of kind {recipe.kind!r}, not {LabelsRecipe.kind!r}"
        raise DataError(other, "train devise-zero-shot")
    return Run(folder.name, recipe.task, recipe.devise, folder)


@torch.no_grad()
def run_columns(run: Run, labelled: LabelledSet, features: Path, device: torch.device) -> list[Column]:
    """Run the best weights of a training on the dev pictures, by features like those it trained on; of softmax ConSE,
    too.

    What has a place for each class is also scored with `local_scaling`, by the training pictures of the seen classes.
    """
    seen = labelled.seen(run.task.unseen)
    train = labelled.rows("train")
    rows = [labelled.rows("dev"), train[seen[labelled.label[train]]]]
    pools = [_features(labelled, r, features, noted_key(run.folder)).to(device) for r in rows]
    module = _trained(run, pools[0].shape[1], int(seen.sum()), device)
    if isinstance(module, DeviseModule):
        targets = class_targets(run.task, labelled.vectors).numpy()
        dev, training = (module.devise(pool).cpu().numpy() for pool in pools)
        return _with_scaling(run.name, dev, training, targets, words=run.task.target == "words")
    dev, training = (module(pool).softmax(1).cpu().numpy() for pool in pools)  # (I, S)
    scores = np.full((len(dev), len(seen)), -np.inf, np.float32)
    scores[:, seen] = dev
    dev, training = (conse(probability, labelled.vectors[seen]) for probability in (dev, training))
    mixed = _with_scaling(f"{run.name}, ConSE", dev, training, labelled.vectors, words=True)
    return [Column(run.name, scores, None), *mixed]


def _trained(run: Run, channels: int, seen: int, device: torch.device) -> DeviseModule | SoftmaxModule:
    from safetensors.torch import load_file

    module = build_module(run.task, run.head, channels, seen).eval().to(device)
    try:
        module.load_state_dict(load_file(run.folder / "best.safetensors"))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{run.folder} does not fit these features and labels: {reason}", "train it again") from None
    return module


def _with_scaling(name: str, dev: Floats, training: Floats, targets: Floats, *, words: bool) -> list[Column]:
    """Return unit vectors (I, D) and (T, D) as columns for the classes' vectors (K, D): by cosines, and locally
    scaled."""
    scores = dev @ targets.T
    scaled = local_scaling(scores, training @ targets.T)
    return [Column(name, scores, dev if words else None), Column(f"{name}, scaled", scaled, dev if words else None)]
