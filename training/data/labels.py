"""LabelledPictures pictures become one HDF5 file of pictures, classes and the classes' word vectors.

Shapes: I pictures, K classes, D word-vector size, S side.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.distil import read_shard, shard_views
from training.data.pictures import encode_picture, in_order
from training.data.prepared import PreparedWriter
from training.data.sources.class_names import Names
from training.data.sources.entries import Classes, Entry, LabelledPictures
from training.data.sources.json_file import read_json
from training.data.word_table import write_words
from vsearch.errors import DataError, PictureError
from vsearch.progress import Progress
from vsearch.text.nouns import noun_vectors
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise

AT_ONCE = 256  # pictures written in one go
MOST = 32_767  # classes; int16


@dataclass
class LabelReport:
    """What became of labelled pictures: pictures and classes written; the classes that needed subwords, each with its
    words outside the dictionary; the classes left out because they have no picture; skipped pictures with the reason.
    """

    pictures: int = 0
    classes: int = 0
    subwords: dict[str, list[str]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Shards:
    """A Tiny-ImageNet folder: `classes` is [(wnid, lemmas)], and the shards of each split."""

    classes: Classes
    train: list[Path]
    dev: list[Path]

    @property
    def empty(self) -> list[str]:
        return []

    @property
    def skipped(self) -> list[tuple[str, str]]:
        return []

    def entries(self, split: str, per_class: int | None) -> Iterator[Entry]:
        """Yield the pictures of "train" or "dev" in their order, at most `per_class` of each class."""
        seen: Counter[int] = Counter()
        for view in shard_views(self.train if split == "train" else self.dev):
            if not 0 <= view.label < len(self.classes):
                raise DataError(f"{view.name}: there is no class {view.label} in classes.json", "copy the shards again")
            seen[view.label] += 1
            if per_class is None or seen[view.label] <= per_class:
                yield Entry(view.name, view.label, view.encoded)

    def total(self, split: str, per_class: int | None) -> int:
        """Return how many pictures `entries` has."""
        shards = self.train if split == "train" else self.dev
        count = Counter(label for shard in shards for label in read_shard(shard, "labels")[0].tolist())
        return sum(n if per_class is None else min(n, per_class) for n in count.values())


def read_labelled_pictures(folder: Path, lemmas: Path | None = None) -> LabelledPictures:
    """Read labelled pictures of either kind: shards with a `classes.json`, or `train/` with a folder for each class.

    `lemmas`: a file of `wnid TAB lemma, lemma` lines that names the classes. Raises DataError if it is neither.
    """
    from training.data.sources.imagefolder import read_image_folder

    if (folder / "classes.json").is_file():
        return read_tiny_imagenet(folder, lemmas)
    if (folder / "train").is_dir():
        return read_image_folder(folder, lemmas)
    raise DataError(
        f"no labelled pictures in {folder}", "name a folder with train/<class>/, or with classes.json and shards"
    )


def read_tiny_imagenet(folder: Path, lemmas: Path | None = None) -> Shards:
    """Read the shards in `folder`: `classes.json`, `train-*.npz`, `val.npz` (which is the dev split here).

    A class goes by its lemmas in the file `lemmas`, if that has it, else by those in `classes.json`; where these are
    none, by NLTK's WordNet.
    """
    listing = folder / "classes.json"
    if not listing.is_file():
        raise DataError(f"no classes.json in {folder}", "name the folder of the Tiny-ImageNet shards")
    try:
        listed = [(str(wnid), [str(x) for x in own]) for wnid, own in read_json(listing)]
    except (TypeError, ValueError):
        raise DataError(f"{listing} is not [[wnid, [lemma, ...]], ...]", "copy the file again") from None
    names = Names(*([lemmas] if lemmas else []))
    classes = [(wnid, names.find(wnid) or own or names.lemmas(wnid)) for wnid, own in listed]
    train, dev = sorted(folder.glob("train-*.npz")), sorted(folder.glob("val.npz"))
    if not train or not dev:
        raise DataError(f"no train-*.npz or no val.npz in {folder}", "name the folder of the Tiny-ImageNet shards")
    return Shards(classes, train, dev)


def class_vectors(classes: Classes, space: PhraseSpace) -> NDArray[np.float32]:
    """Return the unit target of each class (K, D): the mean over its lemmas of their phrase vectors, several words
    averaged.

    With a .vec, a lemma of only unknown words has no vector and cannot count; DataError names a class of such lemmas.
    """
    placed = []
    for name, lemmas in classes:
        placed.append([lemma for lemma in lemmas if any(np.any(space.vectors.unit(w)) for w in tokenise(lemma))])
        if not placed[-1]:
            raise DataError(
                f"class {name} has no word that has a vector: {', '.join(lemmas)}",
                "take word vectors with subwords (a .bin), or give other lemmas with `lemmas=file`",
            )
    return noun_vectors(space, placed)


def lemma_texts(lemmas: list[str]) -> list[str]:
    """Return the lemmas of a class as texts whose words are parted by spaces."""
    return [" ".join(tokenise(lemma)) for lemma in lemmas]


def unknown_words(lemmas: list[str], space: PhraseSpace) -> list[str]:
    """Return the words of a class's lemmas that are outside the dictionary: their vectors are guessed from their
    subwords."""
    return [word for word in dict.fromkeys(chain(*map(tokenise, lemmas))) if word not in space.vectors]


def prepare_labels(
    source: LabelledPictures, output: Path, space: PhraseSpace, per_class: int | None = None,
    progress: Progress | None = None, side: int = 256,
) -> LabelReport:  # fmt: skip
    """Write a prepared file of kind "labels", of the training split at most `per_class` pictures of each class.

    Small pictures are stored as they are, others as JPEG of side x side (`pictures.encode_picture`), one after the
    other, so that memory does not grow with their number. A picture that cannot be read is left out, and so is a class
    without a picture to train on, with its other pictures: both stand in the report, and nothing shifts.
    Raises DataError if a class has no word that has a vector, or no picture is left.
    """
    if len(source.classes) > MOST:
        raise DataError(f"{len(source.classes)} classes are too many", f"{MOST} are the most")
    vectors = class_vectors(source.classes, space)
    report = LabelReport(empty=list(source.empty), skipped=list(source.skipped))
    total = source.total("train", per_class) + source.total("dev", None)

    def show(done: int) -> None:
        if progress:
            progress(done, total)

    with PreparedWriter(output, "labels") as writer:
        labels = _write(writer, source.entries("train", per_class), "train", side, report, show)
        used, known = sorted(set(labels)), set(labels)
        if not used:
            raise DataError("not one picture to train on can be read", "check the data set's folder")
        rest = (entry for entry in source.entries("dev", None) if entry.label in known)
        labels += _write(writer, rest, "dev", side, report, show)
        classes = [source.classes[k] for k in used]
        writer.attr("classes", json.dumps(classes))
        write_words(writer, [text for _, lemmas in classes for text in lemma_texts(lemmas)], space)
        writer.write("labels/class", np.searchsorted(used, labels).astype(np.int16))
        writer.write("labels/vector", vectors[used])
    report.pictures, report.classes = len(labels), len(used)
    report.empty += [name for k, (name, _) in enumerate(source.classes) if k not in known]
    report.subwords = {name: words for name, lemmas in classes if (words := unknown_words(lemmas, space))}
    return report


def _write(
    writer: PreparedWriter, entries: Iterator[Entry], split: str, side: int, report: LabelReport,
    show: Callable[[int], None],
) -> array[int]:  # fmt: skip
    """Add the pictures of a split; the class of each that could be read."""

    def encode(entry: Entry) -> bytes:
        return encode_picture(entry.source, side)

    labels: array[int] = array("h")
    done = in_order(encode, entries)
    while chunk := list(islice(done, AT_ONCE)):
        good = [(entry, content) for entry, content in chunk if isinstance(content, bytes)]
        report.skipped += [(entry.name, str(content)) for entry, content in chunk if isinstance(content, PictureError)]
        writer.add_pictures([content for _, content in good], [entry.name for entry, _ in good], split)
        labels.extend(entry.label for entry, _ in good)
        show(writer.picture_count + len(report.skipped))
    return labels
