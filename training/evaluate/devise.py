"""Seen and unseen classes: how well a model names pictures, and finds them by a word, as the DeViSE paper measures it.

Frome et al. 2013, section 4: flat hit@k and hierarchical precision@k, of dev pictures of classes that were trained on
(seen) and of classes that were not (unseen), each among its own and among all classes. Shapes: I pictures, K classes,
S seen classes, C channels, D word-vector size.
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
)
from vsearch.config import DeviseConfig, from_dict
from vsearch.errors import ConfigError, DataError, QueryError
from vsearch.metrics.hierarchy import distances, hierarchical_precision, read_hierarchy, wordnet_parents
from vsearch.metrics.retrieval import hit_at
from vsearch.networks.fast.model import FastModel
from vsearch.progress import Progress
from vsearch.text.phrase import PhraseSpace, parse

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Table = dict[str, float | None]  # None: the model cannot do that
HITS = (1, 2, 5, 10)
PRECISIONS = (2, 5, 10)
NEAREST = 10  # pictures of a search by a word
CONSE_TOP = 10  # classes that ConSE combines
LOCAL = 10  # training pictures that tell how crowded a class is


@dataclass(frozen=True)
class Column:
    """What one model says of I pictures: how well each class fits, (I, K), -inf where it cannot name that class; and
    the unit vectors (I, D) that place them among words, where it does so."""

    name: str
    scores: Floats
    vectors: Floats | None


@dataclass(frozen=True)
class DevPictures:
    """The dev pictures of a labelled set; distance: steps (K, K) in the hierarchy; queries: unit vectors by class."""

    label: NDArray[np.int64]  # (I,)
    vectors: Floats  # (K, D)
    seen: Flags  # (K,)
    distance: NDArray[np.float32] | None
    queries: dict[int, Floats | None]  # None: the word is not in the dictionary, so a search is refused


def evaluate_column(column: Column, pictures: DevPictures) -> Table:
    """Measure all figures of one model: hits and precisions in percent, the mean of 1 - cos, precision of searches by a
    word.

    Without an unseen class there is only the case "all among all".
    """
    seen, every = pictures.seen, np.ones_like(pictures.seen)
    cases = {"all among all": (every, every)}
    if not seen.all():
        cases = {
            "seen among seen": (seen, seen), "seen among all": (seen, every), "unseen among unseen": (~seen, ~seen),
            "unseen among all": (~seen, every), **cases,
        }  # fmt: skip
    table: Table = {}
    for name, (rows, columns) in cases.items():
        figures = _naming(column.scores, pictures, rows[pictures.label], columns)
        table |= {f"{name}, {figure}": value for figure, value in figures.items()}
    groups = {"seen": seen, "unseen": ~seen, "all": every} if not seen.all() else {"all": every}
    table |= {f"1 - cos, {name}": _cosine_loss(column, pictures, group) for name, group in groups.items()}
    found = word_precisions(column, pictures)
    table[f"word precision@{NEAREST}"] = float(np.mean(list(found.values()))) if found else None
    return table


def word_precisions(column: Column, pictures: DevPictures) -> dict[int, float]:
    """Return by class the share, in percent, of the ten pictures nearest to its word that show it. Empty where the
    model does not place pictures among words."""
    if column.vectors is None:
        return {}
    found = {}
    for k, query in pictures.queries.items():
        found[k] = 0.0
        if query is not None:
            nearest = np.argsort(-(column.vectors @ query), kind="stable")[:NEAREST]
            found[k] = 100 * float((pictures.label[nearest] == k).mean())
    return found


def _naming(scores: Floats, pictures: DevPictures, rows: Flags, columns: Flags) -> Table:
    """Measure flat hits and hierarchical precisions of the pictures `rows` (I,) among the classes `columns` (K,)."""
    part = scores[rows][:, columns]
    label = (np.cumsum(columns) - 1)[pictures.label[rows]]
    nameable: Flags = np.isfinite(part).max(0, initial=False)  # (classes,)
    table: Table = {f"hit@{k}": hit_at(part, label, k) if nameable[label].any() else None for k in HITS}
    if pictures.distance is not None:
        distance = pictures.distance[np.ix_(columns, columns)]
        for k in PRECISIONS:
            able = nameable.sum() >= min(k, len(nameable))
            table[f"precision@{k}"] = hierarchical_precision(part, label, distance, k) if able else None
    return table


def _cosine_loss(column: Column, pictures: DevPictures, classes: Flags) -> float | None:
    if column.vectors is None:
        return None
    rows = classes[pictures.label]
    return 1 - float((column.vectors[rows] * pictures.vectors[pictures.label[rows]]).sum(1).mean())


def conse(probability: Floats, vectors: Floats, top: int = CONSE_TOP) -> Floats:
    """Embed pictures by ConSE (Norouzi et al. 2014, eq. 3): the mean of the word vectors (S, D) of the `top` likeliest
    classes, weighed by their probabilities (I, S), at length 1: (I, D)."""
    top = min(top, probability.shape[1])
    best = np.argpartition(-probability, top - 1, axis=1)[:, :top]  # (I, top)
    mixed = np.einsum("it,itd->id", np.take_along_axis(probability, best, 1), vectors[best])
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def local_scaling(scores: Floats, training: Floats, nearest: int = LOCAL) -> Floats:
    """Return cosines (I, K) less half the mean of the `nearest` greatest cosines of each class in `training` (T, K).

    Cross-domain similarity local scaling (Conneau et al. 2018, section 2.3; its constant half of a picture's own mean
    changes no ranking): classes that training pictures crowd around, as they do around those that were trained on, win
    less easily against those that were not.
    """
    best = np.sort(training, 0)[-nearest:]  # (nearest, K)
    return np.asarray(scores - best.mean(0) / 2, np.float32)


# What is evaluated


def dev_pictures(
    labelled: LabelledSet, space: PhraseSpace, unseen: Sequence[str], hierarchy: str | None = None
) -> DevPictures:
    """Read the dev split, with a query for each unseen class (for each, where none is): its first lemma, as one types
    it.

    hierarchy: "wordnet" (NLTK's corpus), the name of a shipped tree ("tiny-imagenet"), or a file.
    Raises DataError where `space` is not that of the prepared file, or the hierarchy lacks a class.
    """
    own = class_vectors(labelled.classes, space)
    if own.shape != labelled.vectors.shape or not np.allclose(own, labelled.vectors, atol=1e-3):
        raise DataError("the labels were prepared with other words than the model's", "name their model with --model")
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
        pool = _dev_features(labelled, features, key_of(model.joint.encoder, model.config.preprocess))
        head = model.joint.devise.eval()
        with torch.no_grad():
            vectors = head(pool.to(next(head.parameters()).device)).cpu().numpy()
    return Column("model", vectors @ labelled.vectors.T, vectors)


def _described(
    model: FastModel, data: Path, rows: NDArray[np.int64], progress: Progress | None, batch: int = 50
) -> Iterator[Floats]:
    with open_prepared(data, "labels") as file:
        for start in range(0, len(rows), batch):
            pixels = read_stored_pixels(file, rows[start : start + batch].tolist(), model.config.preprocess.side)
            yield model.describe(torch.from_numpy(pixels), captions=False).vectors
            if progress:
                progress(start + len(pixels), len(rows))


def _dev_features(labelled: LabelledSet, features: Path, key: str | None) -> torch.Tensor:
    """Read the pooled features (I, C) float32 of the dev pictures, of the plain view."""
    return _features(labelled, labelled.rows("dev"), features, key)


def _features(labelled: LabelledSet, rows: NDArray[np.int64], features: Path, key: str | None) -> torch.Tensor:
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

    Raises DataError where a folder is of no such training, ConfigError where they left out different classes.
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
            f"{folder} is not the output of a training", "name a folder that `vsearch train` wrote"
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
