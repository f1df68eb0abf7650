"""Labelled pictures in folders and shards: layouts, names of classes, bad pictures and classes, the report."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import tiny_wordnet
from tests.support.tiny_model import words_file
from tests.support.training_data import COLOURS, draw, image_folder, tiny_imagenet
from training.data.labels import (
    class_vectors,
    prepare_labels,
    read_labelled_pictures,
    read_tiny_imagenet,
    unknown_words,
)
from training.data.prepared import open_prepared, read_encoded, read_stored_pixels
from training.data.sources.class_names import Names, from_wordnet
from training.data.sources.imagefolder import read_image_folder
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CLASSES = {"dog": "red", "fire_truck": "green", "hot dog": "blue"}


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


@pytest.fixture
def table(tmp_path: Path) -> PhraseSpace:
    """Words of a .vec: nothing outside it has a vector."""
    (tmp_path / "words.vec").write_text("3 2\ndog 1 0\nhot 0 1\nboat -1 0.5\n")
    return PhraseSpace.fit(WordVectors.load(tmp_path / "words.vec"), [["hot", "boat"]])


def read(path: Path) -> dict[str, Any]:
    with open_prepared(path, "labels") as file:
        names = file["pictures/name"].asstr()[:].tolist()
        return {
            "names": names,
            "split": file["pictures/split"][:].tolist(),
            "colour": read_stored_pixels(file, range(len(names)), 8).mean((1, 2)).argmax(1).tolist(),
            "label": file["labels/class"][:].tolist(),
            "classes": [(name, lemmas) for name, lemmas in json.loads(file.attrs["classes"])],
            "vectors": file["labels/vector"][:],
        }


def colours(found: dict[str, Any], classes: dict[str, str]) -> list[int]:
    """The colour that each picture must have, by its label."""
    return [list(COLOURS).index(classes[found["classes"][label][0]]) for label in found["label"]]


def test_class_folders_become_rows_with_their_words(tmp_path: Path, space: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", CLASSES)
    report = prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", space)
    assert (report.pictures, report.classes, report.empty, report.skipped) == (15, 3, [], [])
    assert report.subwords == {"fire_truck": ["fire", "truck"]}
    found = read(tmp_path / "l.h5")
    assert found["classes"] == [("dog", ["dog"]), ("fire_truck", ["fire truck"]), ("hot dog", ["hot dog"])]
    assert found["split"] == [0] * 9 + [1] * 6
    assert (found["names"][0], found["names"][14]) == ("train/dog/0.JPEG", "val/hot dog/1.JPEG")
    assert found["colour"] == colours(found, CLASSES)
    assert found["label"] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 2, 2]
    assert found["vectors"][2] == pytest.approx(space.vector(["hot", "dog"]), abs=1e-5)


def test_per_class_limits_the_training_split_alone(tmp_path: Path, space: PhraseSpace) -> None:
    folder, shown = image_folder(tmp_path / "i", CLASSES, train=5), []
    report = prepare_labels(
        read_labelled_pictures(folder),
        tmp_path / "l.h5",
        space,
        per_class=2,
        progress=lambda n, total: shown.append((n, total)),
    )
    assert (report.pictures, shown[-1]) == (12, (12, 12))
    assert read(tmp_path / "l.h5")["split"].count(0) == 6


def test_the_archive_of_tiny_imagenet(tmp_path: Path, space: PhraseSpace) -> None:
    names = {"n02": "red", "n01": "green"}
    for name, colour in {**names, "n03": "blue"}.items():
        (tmp_path / "train" / name / "images").mkdir(parents=True)
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t9\t9\n")
        for i in range(2):
            draw(tmp_path / "train" / name / "images" / f"{name}_{i}.JPEG", colour)
    (tmp_path / "val" / "images").mkdir(parents=True)
    lines = []
    for i, name in enumerate(["n01", "n02", "n01", "n09"]):
        draw(tmp_path / "val" / "images" / f"val_{i}.JPEG", names.get(name, "blue"))
        lines.append(f"val_{i}.JPEG\t{name}\t0\t32\t44\t62")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "wnids.txt").write_text("n02\nn01\nn07\n")  # n03 is not among them, n07 has no folder
    (tmp_path / "words.txt").write_text("n01\tboat\nn02\tdog, brown dog\nn07\tsea\nn99\tsnow\n")

    report = prepare_labels(read_labelled_pictures(tmp_path), tmp_path / "l.h5", space)
    found = read(tmp_path / "l.h5")
    assert found["classes"] == [("n02", ["dog", "brown dog"]), ("n01", ["boat"])]
    assert (report.pictures, report.classes, report.empty) == (7, 2, ["n07"])
    assert report.skipped == [("val/n09", "no class of train is called so")]
    assert found["names"][4:] == ["val/images/val_1.JPEG", "val/images/val_0.JPEG", "val/images/val_2.JPEG"]
    assert found["colour"] == colours(found, names)
    mean = space.vector(["dog"]) + space.vector(["brown", "dog"])
    assert found["vectors"][0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)

    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\nval_1.JPEG\n")
    with pytest.raises(DataError, match=r"val_annotations.txt, line 2: not 'file TAB wnid'"):
        read_labelled_pictures(tmp_path)


# Names of classes


def test_lemmas_come_from_the_file_given_before_words_txt(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "i", {"n02084071": "red", "n04146614": "green", "sea_horse": "blue"})
    (folder / "words.txt").write_text("n02084071\tdog\nn04146614\tschool bus\n")
    lemmas = tmp_path / "lemmas.tsv.gz"
    lemmas.write_bytes(gzip.compress(b"n02084071\thound, domestic dog\n"))
    assert read_image_folder(folder, lemmas).classes == [
        ("n02084071", ["hound", "domestic dog"]),
        ("n04146614", ["school bus"]),
        ("sea_horse", ["sea horse"]),
    ]


def test_a_file_of_lemmas_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no list of lemmas at"):
        Names(tmp_path / "nowhere.tsv")
    (tmp_path / "x.tsv").write_text("dog\ncat\n")
    with pytest.raises(DataError, match=r"no line of .*x.tsv is"):
        Names(tmp_path / "x.tsv")


DOG = ["dog", "domestic dog", "Xzqwv vzzxq"]  # as `tiny_wordnet` has it


def test_wordnet_numbers_are_looked_up_where_the_corpus_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = tiny_wordnet.install(monkeypatch, tmp_path / "nltk")["dog"]
    assert from_wordnet(dog) == DOG
    folder = image_folder(tmp_path / "i", {dog: "red"})
    assert read_image_folder(folder).classes == [(dog, DOG)]
    with pytest.raises(DataError, match=r"there is no n00000009 in WordNet") as caught:
        read_image_folder(image_folder(tmp_path / "j", {"n00000009": "red"}))
    assert "`lemmas=file`" in caught.value.hint


def test_without_the_corpus_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wordnet.remove(monkeypatch, tmp_path / "nltk")
    with pytest.raises(DataError, match="nothing here knows what n03345487 is") as caught:
        read_image_folder(image_folder(tmp_path / "i", {"n03345487": "red"}))
    assert "`lemmas=file`" in caught.value.hint
    assert "nltk.downloader wordnet" in caught.value.hint


def test_shards_may_have_their_lemmas_from_a_file_or_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, dog = (
        tiny_imagenet(tmp_path / "t", per_class=1),
        tiny_wordnet.install(monkeypatch, tmp_path / "nltk")["dog"],
    )
    (folder / "classes.json").write_text(json.dumps([["n00000001", ["dog"]], ["n00000002", ["x"]], [dog, []]]))
    (tmp_path / "lemmas.tsv").write_text("n00000002\tboat, ship\n")
    assert read_tiny_imagenet(folder, tmp_path / "lemmas.tsv").classes == [
        ("n00000001", ["dog"]),
        ("n00000002", ["boat", "ship"]),
        (dog, DOG),
    ]


# Words that have no vector


def test_words_outside_the_dictionary_are_counted_by_label(space: PhraseSpace) -> None:
    assert unknown_words(["dog", "hot dog"], space) == []
    assert unknown_words(["Rana catesbeiana", "green Rana"], space) == ["rana", "catesbeiana"]
    rows = class_vectors([("frog", ["Rana catesbeiana", "green frog"])], space)  # guesses count like any other
    mean = space.vector(["rana", "catesbeiana"]) + space.vector(["green", "frog"])
    assert rows[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_class_that_has_no_vector_is_an_error_before_any_work(tmp_path: Path, table: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", {"dog": "red", "fire_truck": "green"})
    with pytest.raises(DataError, match="class fire_truck has no word that has a vector: fire truck") as caught:
        prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", table)
    assert "subwords" in caught.value.hint
    assert "`lemmas=file`" in caught.value.hint
    assert list(tmp_path.glob("l.h5*")) == []


def test_with_a_vec_lemmas_count_as_far_as_they_have_a_vector(tmp_path: Path, table: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", {"n01": "red"})
    (folder / "words.txt").write_text("n01\thot dog, frankfurter, dog\n")
    report = prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", table)
    assert report.subwords == {"n01": ["frankfurter"]}
    mean = table.vector(["hot", "dog"]) + table.vector(["dog"])
    assert read(tmp_path / "l.h5")["vectors"][0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


# Bad pictures and folders


def test_a_corrupt_picture_is_skipped_and_shifts_no_label(tmp_path: Path, space: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", CLASSES)
    (folder / "train" / "dog" / "1.JPEG").write_bytes(b"no picture")
    (folder / "val" / "fire_truck" / "0.JPEG").write_bytes(b"")
    (folder / "train" / "dog" / "notes.txt").write_text("no picture, and not called one")
    report = prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", space)
    assert (report.pictures, report.classes) == (13, 3)
    assert report.skipped == [
        ("train/dog/1.JPEG", "not a picture of a known format"),
        ("val/fire_truck/0.JPEG", "the file is empty"),
    ]
    found = read(tmp_path / "l.h5")
    assert not {"train/dog/1.JPEG", "val/fire_truck/0.JPEG"} & set(found["names"])
    assert found["colour"] == colours(found, CLASSES)
    assert [name.split("/")[1] for name in found["names"]] == [found["classes"][k][0] for k in found["label"]]


def test_a_corrupt_picture_of_a_shard_is_skipped_too(tmp_path: Path, space: PhraseSpace) -> None:
    folder = tiny_imagenet(tmp_path / "t", per_class=2)
    with np.load(folder / "train-1.npz") as arrays:
        parts = dict(arrays)
    start, end = parts["offsets"][2:4]
    parts["bytes"][start + 4 : end] = 0
    np.savez(folder / "train-1.npz", **parts)
    report = prepare_labels(read_tiny_imagenet(folder), tmp_path / "l.h5", space)
    assert [name for name, _ in report.skipped] == ["train-1#2"]
    found = read(tmp_path / "l.h5")
    assert (report.pictures, found["colour"]) == (17, found["label"])


def test_classes_without_a_picture_are_kept_out(tmp_path: Path, space: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", {**CLASSES, "boat": "red", "sea": "blue"})
    for i in range(3):
        (folder / "train" / "boat" / f"{i}.JPEG").write_bytes(b"no picture")  # only known once they are decoded
        (folder / "train" / "fire_truck" / f"{i}.JPEG").unlink()
    (folder / "val" / "yacht").mkdir()
    report = prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", space)
    assert (report.classes, sorted(report.empty)) == (3, ["boat", "fire_truck"])
    assert ("val/yacht", "no class of train is called so") in report.skipped
    assert report.subwords == {}
    found = read(tmp_path / "l.h5")
    assert [name for name, _ in found["classes"]] == ["dog", "hot dog", "sea"]
    assert found["label"] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 2, 2]
    assert found["colour"] == colours(found, {**CLASSES, "sea": "blue"})
    assert found["vectors"][2] == pytest.approx(space.vector(["sea"]), abs=1e-5)


def test_a_folder_with_nothing_to_train_on_is_an_error(tmp_path: Path, space: PhraseSpace) -> None:
    with pytest.raises(DataError, match="no labelled pictures in"):
        read_labelled_pictures(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no class folder in"):
        read_labelled_pictures(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(DataError, match="all 1 class folders in .* are empty"):
        read_labelled_pictures(tmp_path)
    (tmp_path / "train" / "dog" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="not one picture to train on"):
        prepare_labels(read_labelled_pictures(tmp_path), tmp_path / "l.h5", space)
    assert not (tmp_path / "l.h5").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.json", b"{", "classes.json is not JSON"),
        ("classes.json", b'[["n1"]]', "is not \\[\\[wnid"),
        ("classes.json", b'[["n1", ["dog"]]]', r"train-0#2: there is no class 1"),
        ("val.npz", b"PK", "val.npz is no shard"),
    ],
)
def test_damaged_shards_are_named(tmp_path: Path, space: PhraseSpace, name: str, content: bytes, message: str) -> None:
    folder = tiny_imagenet(tmp_path / "t", per_class=2)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        prepare_labels(read_tiny_imagenet(folder), tmp_path / "l.h5", space)


def test_large_pictures_are_squashed_small_ones_stay(tmp_path: Path, space: PhraseSpace) -> None:
    folder = image_folder(tmp_path / "i", {"dog": "red"}, train=1, val=1)
    draw(folder / "train" / "dog" / "big.jpg", "red", side=300)
    small = (folder / "train" / "dog" / "0.JPEG").read_bytes()
    for side in (96, 256):
        prepare_labels(read_labelled_pictures(folder), tmp_path / "l.h5", space, side=side)
        with open_prepared(tmp_path / "l.h5", "labels") as file:
            first, big, _ = read_encoded(file)
        assert first == small
        with Image.open(io.BytesIO(big)) as picture:
            assert picture.size == (side, side)


def test_a_list_of_classes_that_is_no_text_is_named(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "d", {"dog": "red"})
    (root / "wnids.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"wnids\.txt is not UTF-8 text"):
        read_labelled_pictures(root)
