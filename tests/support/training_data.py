"""Small data sets in the layouts of the real ones, drawn on the spot."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from tests.support.tiny_model import words_file
from training.data.captions import prepare_captions, read_flickr8k
from training.data.prepared import open_prepared
from training.recipe import Inputs
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
THINGS = ("dog", "boat", "engine")


def flickr8k(folder: Path, per_split: int = 6) -> Path:
    """Photos in the layout of Flickr8k: each is one colour, and its two captions name it."""
    (folder / "images").mkdir(parents=True)
    lines, rng = [], np.random.default_rng(0)
    for split in ("train", "dev", "test"):
        names = []
        for i in range(per_split):
            colour = list(COLOURS)[i % 3]
            name = f"{split}{i}.jpg"
            noise = rng.integers(0, 20, (40, 48, 3))
            Image.fromarray((noise + np.array(COLOURS[colour])).clip(0, 255).astype(np.uint8)).save(
                folder / "images" / name
            )
            lines += [f"{name}#0\tA {colour} {THINGS[i % 3]} .", f"{name}#1\tThe {THINGS[i % 3]} is {colour} {split} ."]
            names.append(name)
        (folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names) + "\n")
    (folder / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    return folder


def prepared_captions(folder: Path, space: PhraseSpace, per_split: int = 6) -> Path:
    """`c.h5` in `folder`: the photos of `flickr8k`, drawn in `f/`, as `prepare captions` writes them."""
    file = folder / "c.h5"
    prepare_captions(read_flickr8k(flickr8k(folder / "f", per_split)), file, space, min_word_freq=1, max_len=8)
    return file


def cached_captions(folder: Path) -> Inputs:
    """`prepared_captions` by the words of the tiny model, and random features of its photos."""
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    data = prepared_captions(folder, space)
    with open_prepared(data, "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    return Inputs(data, features(folder / "f.h5", names))


def captions_with_two_views(folder: Path) -> Inputs:
    """Nine photos a split with two captions each; random features, four cells of eight channels, two views."""
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    prepared_captions(folder, space, 9)
    with open_prepared(folder / "c.h5", "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    with h5py.File(features(folder / "x.h5", names), "r+") as file:
        grid = file["grid"][:]
        del file["grid"], file["pool"]
        file["grid"], file["pool"] = np.stack([grid, -grid], 1), np.stack([grid.mean(1)] * 2, 1)
    return Inputs(folder / "c.h5", folder / "x.h5")


def tiny_imagenet(folder: Path, per_class: int = 8) -> Path:
    """Labelled pictures in the layout of the shards: three classes of one colour each, 32 x 32."""
    folder.mkdir(parents=True)
    classes = [[f"n0000000{k}", [thing, f"{colour} {thing}"]] for k, (thing, colour) in enumerate(zip(THINGS, COLOURS))]  # noqa: B905
    (folder / "classes.json").write_text(json.dumps(classes))
    rng = np.random.default_rng(1)
    for shard, count in (("train-0", per_class), ("train-1", per_class), ("val", 2)):
        pieces, labels = [], []
        for label in np.repeat(np.arange(3), count):
            noise = rng.integers(0, 30, (32, 32, 3))
            pixels = (noise + np.array(list(COLOURS.values())[label])).clip(0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "WEBP")
            pieces.append(buffer.getvalue())
            labels.append(label)
        np.savez(
            folder / f"{shard}.npz",
            bytes=np.frombuffer(b"".join(pieces), np.uint8),
            offsets=np.cumsum([0, *map(len, pieces)]),
            labels=np.asarray(labels, np.int16),
        )
    return folder


def karpathy(folder: Path, per_split: int = 2) -> Path:
    """A Karpathy JSON with its pictures in `images/`: photos as in `flickr8k`, the splits mixed."""
    (folder / "images" / "pool").mkdir(parents=True)
    images = []
    for i in range(per_split):
        for split in ("val", "restval", "test", "train"):
            name = f"{split}{i}.jpg"
            draw(folder / "images" / "pool" / name, list(COLOURS)[i % 3])
            raw = [f"A {list(COLOURS)[i % 3]} {THINGS[i % 3]} .", f"Only {split} ."]
            sentences = [{"raw": text, "tokens": text.lower().split()[:-1]} for text in raw]
            images.append({"filepath": "pool", "filename": name, "split": split, "sentences": sentences})
    (folder / "dataset.json").write_text(json.dumps({"images": images, "dataset": "tiny"}))
    return folder / "dataset.json"


def coco(folder: Path, per_split: int = 3) -> dict[str, Path]:
    """COCO captions in its layout: `annotations/captions_train.json` and so on, the pictures in `train/` next to it."""
    files = {}
    (folder / "annotations").mkdir(parents=True)
    for first, (split, name) in enumerate((("train", "train"), ("dev", "val"), ("test", "test"))):
        (folder / name).mkdir()
        images, annotations = [], []
        for i in range(per_split):
            number = 100 * first + 7 * i
            draw(folder / name / f"{number:06}.jpg", list(COLOURS)[i % 3])
            images.append({"id": number, "file_name": f"{number:06}.jpg"})
            annotations.append({"image_id": number, "caption": f"a {list(COLOURS)[i % 3]} {THINGS[i % 3]} {split}"})
        table = {"images": images, "annotations": annotations[::-1], "info": {}}
        files[split] = folder / "annotations" / f"captions_{name}.json"
        files[split].write_text(json.dumps(table))
    return files


def draw(path: Path, colour: str, side: int = 40) -> None:
    """A picture of one of COLOURS with some noise."""
    noise = np.random.default_rng(side).integers(0, 20, (side, side, 3))
    Image.fromarray((noise + np.array(COLOURS[colour])).clip(0, 255).astype(np.uint8)).save(path)


def image_folder(folder: Path, classes: dict[str, str], train: int = 3, val: int = 2) -> Path:
    """Labelled pictures as ImageNet has them: `train/<class>/*.JPEG`, each class of the colour it is given."""
    for split, count in (("train", train), ("val", val)):
        for name, colour in classes.items():
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                draw(folder / split / name / f"{i}.JPEG", colour)
    return folder


def teacher(folder: Path) -> Path:
    """A teacher whose pooled features are mean colours: `teacher.py` as `training.data.distil` wants it."""
    folder.mkdir(parents=True)
    (folder / "teacher.py").write_text(
        "import torch\n"
        "class Teacher(torch.nn.Module):\n"
        "    def forward(self, image):\n"
        "        pool = torch.nn.functional.adaptive_avg_pool2d(image.float(), 2).flatten(1) / 255\n"
        "        return {'pool': pool, 'logits': pool[:, :5] * 4}\n"
    )
    return folder


def features(path: Path, names: list[str], cells: int = 4, channels: int = 8, key: str | None = None) -> Path:
    """Random features of `names`, one view each."""
    rng = np.random.default_rng(2)
    with h5py.File(path, "w") as file:
        file["name"] = names
        grid = rng.normal(size=(len(names), cells, channels)).astype(np.float16)
        file["grid"], file["pool"] = grid, grid.mean(1)
        if key is not None:
            file.attrs["key"] = key
    return path
