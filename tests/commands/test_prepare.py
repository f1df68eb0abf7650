"""`vsearch prepare captions` and `prepare labels`: what they print for each kind of data set, and what they refuse."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import cli
from tests.support.tiny_model import SENTENCES, scratch, words_file
from tests.support.training_data import coco, draw, flickr8k, image_folder, karpathy, tiny_imagenet
from training.data.classifier import read_classifier
from training.data.prepared import open_prepared
from vsearch.console import INTERRUPTED
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import Vocabulary


@functools.cache
def words_folder() -> Path:
    """Word vectors and weights, as `prepare words` writes them."""
    folder = scratch() / "words"
    folder.mkdir()
    shutil.copy(words_file(), folder / "words.bin")
    PhraseSpace.fit(WordVectors.load(words_file()), [line.split() for line in SENTENCES]).save(folder)
    return folder


def call(command: str, *arguments: str | os.PathLike[str]) -> Result:
    words = ["--words", str(words_folder())]
    return CliRunner().invoke(cli.app, ["prepare", command, *(os.fspath(a) for a in arguments), *words])


def done(command: str, *arguments: str | os.PathLike[str]) -> str:
    """stdout of a call that must go well."""
    result = call(command, *arguments)
    assert result.exit_code == 0, result.stderr or result.exception
    return result.stdout


def refused(command: str, *arguments: str | os.PathLike[str]) -> str:
    """The one line of error of a call that must not."""
    result = call(command, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_captions_of_each_kind(tmp_path: Path) -> None:
    output, common = tmp_path / "c.h5", ["--min-word-freq", "1"]
    assert "9 photos, 18 captions" in done("captions", flickr8k(tmp_path / "f", 3), output, *common)
    assert "8 photos, 16 captions" in done("captions", karpathy(tmp_path / "k"), output, *common)
    files = coco(tmp_path / "c")
    splits = ["--dev", str(files["dev"]), "--test", str(files["test"])]
    assert "9 photos, 9 captions" in done("captions", files["train"], output, *splits, *common)
    assert "3 photos, 3 captions" in done("captions", files["train"], output, *common)


def test_captions_take_their_options(tmp_path: Path) -> None:
    source, output = karpathy(tmp_path / "k"), tmp_path / "c.h5"
    (tmp_path / "k" / "images").rename(tmp_path / "elsewhere")
    options: list[str | Path] = [
        "--images",
        tmp_path / "elsewhere",
        "--captions-per-image",
        "3",
        "--raw",
        "--side",
        "24",
    ]
    told = done("captions", source, output, *options, "--min-word-freq", "1", "--max-len", "2")
    assert "8 photos, 24 captions" in told
    with open_prepared(output, "captions") as file:
        assert file["pictures/raw"].shape == (8, 3, 24, 24)
        assert file["captions/ids"].shape == (24, 4)  # <start>, two words, <end>
        assert file.attrs["max_len"] == 2


def test_broken_pictures_are_listed(tmp_path: Path) -> None:
    folder = flickr8k(tmp_path / "f", 3)
    (folder / "images" / "dev1.jpg").write_bytes(b"no picture")
    told = done("captions", folder, tmp_path / "c.h5")
    assert "8 photos, 16 captions" in told
    assert told.splitlines()[1].endswith("dev1.jpg: not a picture of a known format")


def test_a_run_that_was_stopped_says_that_it_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    folder = flickr8k(tmp_path / "f", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "count", stop)  # all pictures are ready by then
        assert call("captions", folder, tmp_path / "c.h5").exit_code == INTERRUPTED
    result = call("captions", folder, tmp_path / "c.h5")
    assert "9 photos were ready from a run before" in result.stderr
    assert "9 photos, 18 captions" in result.stdout


def test_words_of_captions_without_photos_and_of_names_are_in_the_dictionary(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(["a dog on the beach"] * 5))
    (tmp_path / "t.jsonl").write_text(
        '{"id": 7, "captions": ["A giraffe."]}\n{"image": "test0.jpg", "captions": ["A secret."]}\n'
    )
    (tmp_path / "names.txt").write_text("armadillo\n")
    files = [tmp_path / "text.txt", tmp_path / "words", "--captions", flickr8k(tmp_path / "f", 1)]
    options = ["--texts", tmp_path / "t.jsonl", "--names", tmp_path / "names.txt"]
    sizes = ["--dim", "4", "--epochs", "1", "--threads", "1", "--bucket", "50"]
    result = CliRunner().invoke(cli.app, ["prepare", "words", *map(str, [*files, *options, *sizes])])
    assert result.exit_code == 0, result.stderr
    vectors = WordVectors.load(tmp_path / "words" / "words.bin")
    assert {"giraffe", "armadillo", "armadillos", "red"} <= set(vectors.words)
    assert not {"secret", "test"} & set(vectors.words)


def test_captions_without_photos_are_prepared_next_to_those_with(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"id": 7, "captions": ["A dog.", "A boat."]}\n{"image": "test0.jpg", "captions": ["A secret."]}\n'
    )
    folder = flickr8k(tmp_path / "f", 3)
    told = done("captions", folder, tmp_path / "c.h5", "--texts", tmp_path / "t.jsonl", "--texts", tmp_path / "t.jsonl")
    assert "9 photos, 18 captions" in told and "and 4 captions without photos" in told
    assert "line 1: 'captions' is missing" in refused(
        "captions", folder, tmp_path / "d.h5", "--texts", written_line(tmp_path)
    )


def test_photos_that_a_model_captioned_join_those_to_train_on(tmp_path: Path) -> None:
    draw(tmp_path / "sea.jpg", "blue")
    row = {"path": str(tmp_path / "sea.jpg"), "caption": "a boat", "runner_ups": [{"caption": "the boat"}]}
    (tmp_path / "g.json").write_text(json.dumps([row]))
    folder = flickr8k(tmp_path / "f", 3)
    assert "10 photos, 20 captions" in done("captions", folder, tmp_path / "c.h5", "--guessed", tmp_path / "g.json")
    (tmp_path / "g.json").write_text("{}")
    assert "no list of captioned photos" in refused(
        "captions", folder, tmp_path / "d.h5", "--guessed", tmp_path / "g.json"
    )


def written_line(folder: Path) -> Path:
    (folder / "wrong.jsonl").write_text('{"id": 7}\n')
    return folder / "wrong.jsonl"


def test_captions_that_do_not_fit_are_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"images": [{"filename": "a.jpg"}]}')
    told = refused("captions", tmp_path / "x.json", tmp_path / "c.h5")
    assert "x.json, images[0]: 'split' is missing" in told
    told = refused("captions", flickr8k(tmp_path / "f", 1), tmp_path / "c.h5", "--dev", tmp_path / "x.json")
    assert "--dev and --test with a COCO file only" in told
    assert not (tmp_path / "c.h5").exists()


def test_labels_report_what_became_of_them(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "i", {"n02084071": "red", "fire_truck": "green", "boat": "blue"})
    (tmp_path / "lemmas.tsv").write_text("n02084071\tdog, Canis familiaris\n")
    (folder / "train" / "n02084071" / "2.JPEG").write_bytes(b"")
    (folder / "train" / "sea").mkdir()
    options: list[str | Path] = ["--lemmas", tmp_path / "lemmas.tsv", "--per-class", "3", "--side", "64"]
    told = done("labels", folder, tmp_path / "l.h5", *options).splitlines()
    assert told[0].endswith("l.h5: 14 pictures, 3 classes")
    assert told[1:] == [
        "  2 labels needed subwords, for words outside the dictionary",
        "    fire_truck: fire, truck",
        "    n02084071: canis, familiaris",
        "  left out the class sea: no picture to train on",
        "  skipped train/n02084071/2.JPEG: the file is empty",
    ]
    assert "9 pictures, 3 classes" in done("labels", folder, tmp_path / "l.h5", *options[:2], "--per-class", "1")


def test_labels_of_shards(tmp_path: Path) -> None:
    assert "18 pictures, 3 classes" in done("labels", tiny_imagenet(tmp_path / "t", 2), tmp_path / "l.h5")


def test_labels_that_do_not_fit_are_one_line_of_error(tmp_path: Path) -> None:
    assert "no labelled pictures in" in refused("labels", tmp_path, tmp_path / "l.h5")
    folder = image_folder(tmp_path / "i", {"dog": "red"})
    assert "no list of lemmas at" in refused("labels", folder, tmp_path / "l.h5", "--lemmas", tmp_path / "none.tsv")


def test_scenes_of_several_folders_and_a_classifier(tmp_path: Path) -> None:
    for name, labels in (("coco", ["dog", "boat"]), ("ade", [["engine", 0.5], ["dog", 0.1]])):
        (tmp_path / name).mkdir()
        draw(tmp_path / name / f"{name}.png", "red")
        lines = [{"image": f"{name}.png", "labels": labels}, {"image": "none.png", "labels": ["dog"]}]
        (tmp_path / name / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "s.h5"
    told = done("scenes", tmp_path / "coco", tmp_path / "ade", "--output", output, "--dev-every", "0")
    assert told.splitlines()[0].endswith("s.h5: 2 photos, 3 labels")
    assert told.count("  skipped ") == 2 and "none.png" in told
    with open_prepared(output, "scenes") as file:
        np.testing.assert_allclose(file["scenes/share"][:], np.array([[1.0, 1.0, 0.0], [0.0, 0.1, 0.5]]), atol=1e-3)
        assert file["scenes/asked"][:].tolist() == [[True, True, False], [False, True, True]]
        assert file["pictures/split"][:].tolist() == [0, 0]
    save_file({"fc.weight": torch.ones(2, 4), "fc.bias": torch.zeros(2)}, tmp_path / "net.safetensors")
    (tmp_path / "names.txt").write_text("dog\nn02858304\tboat, vessel\n")
    told = done("classifier", tmp_path / "net.safetensors", tmp_path / "k.h5", "--names", tmp_path / "names.txt")
    assert told.endswith("k.h5: 2 classes\n")
    assert read_classifier(tmp_path / "k.h5").classes == [("dog", ["dog"]), ("n02858304", ["boat", "vessel"])]
    (tmp_path / "terms.tsv").write_text("0-1\told engine, zzyzx\n")
    options: list[str | Path] = ["--names", tmp_path / "names.txt", "--broader", tmp_path / "terms.tsv"]
    done("classifier", tmp_path / "net.safetensors", tmp_path / "k.h5", *options)
    assert read_classifier(tmp_path / "k.h5").broader.tolist() == [[True], [True]]
    told = refused("classifier", tmp_path / "net.safetensors", tmp_path / "k.h5")
    assert "the network has 2 classes, the list of names 1000" in told
