"""Photos with many labels become a prepared file of kind "scenes".

scenes/share      (I, K) float16   of the area that shows the class, 1 where only known to be there, 0: not there
scenes/asked      (I, K) bool      whether that class was looked for in the photo
scenes/vector     (K, D) float32   unit vectors of the classes' names
attrs["classes"]  JSON, [[name, [name]], ...]
words/...         the words of the names, see `training.data.word_table`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.labels import class_vectors, lemma_texts
from training.data.pictures import encode_picture, in_order
from training.data.prepared import PreparedWriter
from training.data.sources.scenes import Scene, class_names
from training.data.word_table import write_words
from vsearch.errors import DataError, PictureError
from vsearch.text.phrase import PhraseSpace

Progress = Callable[[int, int], None]


@dataclass
class SceneReport:
    """What became of the photos: how many were written, of how many classes; which were skipped, and why."""

    pictures: int = 0
    classes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def prepare_scenes(
    scenes: Sequence[Scene], output: Path, space: PhraseSpace, *, dev_every: int = 10, dev: Collection[str] = (),
    side: int = 256, progress: Progress | None = None,
) -> SceneReport:  # fmt: skip
    """Write the photos and how much each shows of each class; every `dev_every`-th of them (0: none), and those whose
    files `dev` names, are the dev split.

    Raises DataError if no photo to train on can be read, or a class has no word that has a vector.
    """
    names = class_names(list(scenes))
    classes = [(name, [name]) for name in names]
    vectors, report = class_vectors(classes, space) if classes else np.zeros((0, 0), np.float32), SceneReport()
    rows, asked = list[NDArray[np.float16]](), list[NDArray[np.bool_]]()
    held_out = frozenset(dev)
    with PreparedWriter(output, "scenes", classes=json.dumps(classes)) as writer:
        ready = in_order(lambda scene: encode_picture(scene.path, side), scenes)
        for number, (scene, content) in enumerate(ready, 1):
            if isinstance(content, PictureError):
                report.skipped.append((str(scene.path), str(content)))
            else:
                is_dev = scene.path.name in held_out or (dev_every and number % dev_every == 0)
                writer.add_pictures([content], [scene.path.name], "dev" if is_dev else "train")
                rows.append(np.array([scene.labels.get(name, 0.0) for name in names], np.float16))
                asked.append(np.array([scene.asked is None or name in scene.asked for name in names]))
            if progress:
                progress(number, len(scenes))
        if not rows:
            raise DataError("not one labelled photo can be read", "check the data set's folder")
        write_words(writer, [text for _, lemmas in classes for text in lemma_texts(lemmas)], space)
        writer.write("scenes/share", np.stack(rows))
        writer.write("scenes/asked", np.stack(asked))
        writer.write("scenes/vector", vectors)
    report.pictures, report.classes = len(rows), len(names)
    return report
