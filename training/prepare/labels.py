"""Labelled pictures: shards of Tiny-ImageNet become one HDF5 file of pictures, classes and the classes' word vectors.

Shapes: I pictures, K classes, D word-vector size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.prepare.distil import View, batches, shard_views
from training.prepare.store import PreparedWriter
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shards:
    """A Tiny-ImageNet folder: `classes` is [(wnid, lemmas)], and the shards of each split."""

    classes: list[tuple[str, list[str]]]
    train: list[Path]
    dev: list[Path]


def read_tiny_imagenet(folder: Path) -> Shards:
    """The shards in `folder`: `classes.json`, `train-*.npz`, `val.npz` (which is the dev split here)."""
    listing = folder / "classes.json"
    if not listing.is_file():
        raise DataError(f"no classes.json in {folder}", "name the folder of the Tiny-ImageNet shards")
    classes = [(str(wnid), [str(x) for x in lemmas]) for wnid, lemmas in json.loads(listing.read_text("utf-8"))]
    train, dev = sorted(folder.glob("train-*.npz")), sorted(folder.glob("val.npz"))
    if not train or not dev:
        raise DataError(f"no train-*.npz or no val.npz in {folder}", "name the folder of the Tiny-ImageNet shards")
    return Shards(classes, train, dev)


def class_vectors(
    classes: list[tuple[str, list[str]]], space: PhraseSpace
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Unit target of each class (K, D): the mean over its lemmas of their phrase vectors, several words averaged."""
    rows = []
    for wnid, lemmas in classes:
        phrases = [t for t in map(tokenise, lemmas) if t]
        if not phrases:
            raise DataError(f"class {wnid} has no word", "name its lemmas in classes.json")
        mean = space.vectors_of(phrases).mean(0)
        rows.append(mean / np.linalg.norm(mean))
    return np.asarray(rows, np.float32)


def prepare_labels(
    shards: Shards, output: Path, space: PhraseSpace, per_class: int | None = None, progress: Progress | None = None
) -> int:
    """Write a prepared file of kind "labels", of the training split at most `per_class` pictures of each class.

    Returns the number of pictures.
    """
    labels: list[int] = []
    with PreparedWriter(output, "labels", classes=json.dumps(shards.classes)) as writer:
        for split, paths in (("train", shards.train), ("dev", shards.dev)):
            limit = per_class if split == "train" else None
            for batch in batches(_first_of_each(shard_views(paths), limit), 512):
                writer.add_pictures([v.encoded for v in batch], [v.name for v in batch], split)
                labels += [v.label for v in batch]
                if progress:
                    progress(len(labels), len(labels))
        writer.write("labels/class", np.asarray(labels, np.int16))
        writer.write("labels/vector", class_vectors(shards.classes, space))
    return len(labels)


def _first_of_each(views: Iterator[View], limit: int | None) -> Iterator[View]:
    seen: Counter[int] = Counter()
    for view in views:
        seen[view.label] += 1
        if limit is None or seen[view.label] <= limit:
            yield view
