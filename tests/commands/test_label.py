"""`vsearch label`: the nearest nouns of photos, from each kind of list."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import cli
from tests.support import tiny_model, tiny_wordnet
from vsearch.model import Model
from vsearch.text.phrase import PhraseSpace

THINGS = ["dog", "boat", "hat", "snow", "engine"]


def label(*arguments: str | os.PathLike[str]) -> Result:
    at = ["--model", str(tiny_model.model_folder()), "--device", "cpu"]
    return CliRunner().invoke(cli.app, ["label", *(os.fspath(a) for a in arguments), *at])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.draw_pictures(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def nouns(tmp_path: Path) -> Path:
    (tmp_path / "nouns.txt").write_text("\n".join(THINGS) + "\n")
    return tmp_path / "nouns.txt"


def test_the_nearest_nouns_with_their_cosines(photos: Path, nouns: Path) -> None:
    folder = tiny_model.model_folder()
    vector = Model(folder, "cpu").embed_image(photos / "red.png")
    cosines = PhraseSpace.load(folder).vectors_of([thing] for thing in THINGS) @ vector
    order = np.argsort(-cosines)[:3]
    done = label(photos / "red.png", "--nouns", nouns, "-k", "3")
    assert (done.exit_code, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == str(photos / "red.png")
    assert [line.split()[1] for line in lines] == [THINGS[i] for i in order]
    assert [float(line.split()[0]) for line in lines] == pytest.approx(cosines[order].tolist(), abs=2e-3)


def test_json_has_lemmas_and_numbers(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "nouns.tsv").write_text("n02084071\tdog, brown dog\nboat\n")
    rows = json.loads(
        label(photos / "red.png", photos / "green.jpg", "--nouns", tmp_path / "nouns.tsv", "--json").stdout
    )
    assert [Path(row["path"]).name for row in rows] == ["red.png", "green.jpg"]
    for row in rows:
        assert {(tuple(x["lemmas"]), x["wnid"]) for x in row["labels"]} == {
            (("dog", "brown dog"), "n02084071"),
            (("boat",), None),
        }
        assert row["labels"][0]["score"] >= row["labels"][1]["score"]


def test_imagenet_is_the_list_where_none_is_named(photos: Path) -> None:
    from vsearch.text.nouns import imagenet

    (row,) = json.loads(label(photos / "red.png", "--json").stdout)
    assert len(row["labels"]) == 5
    assert {x["lemmas"][0] for x in row["labels"]} <= {noun.lemmas[0] for noun in imagenet()}


def test_wordnet_leaves_out_what_the_dictionary_lacks(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the tiny WordNet's lemmas the tiny model knows dog, toy dog (by dog), domestic dog (by dog) and boat."""
    tiny_wordnet.install(monkeypatch, tmp_path)
    done = label(photos / "red.png", "--nouns", "wordnet", "-k", "9")
    assert done.exit_code == 0, done.stderr
    assert {line[8:] for line in done.stdout.splitlines()[1:]} == {"dog, domestic dog", "toy dog", "boat"}
    assert "4 lemmas left out" in done.stderr  # entity, animal, Xzqwv vzzxq, zzvqx


def test_without_wordnet_one_line_names_both_remedies(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_wordnet.remove(monkeypatch, tmp_path)
    monkeypatch.setattr("platformdirs.user_data_path", lambda *names, **more: tmp_path)
    done = label(photos / "red.png", "--nouns", "wordnet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "nltk.downloader wordnet" in done.stderr and "wordnet-nouns.tsv.gz" in done.stderr


def test_a_bad_photo_does_not_stop_the_others(photos: Path, nouns: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    done = label(tmp_path / "empty.jpg", photos / "red.png", "--nouns", nouns)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == str(photos / "red.png")
    assert done.stderr.startswith("error: ") and "empty.jpg" in done.stderr and done.stderr.count("\n") == 1


def test_a_list_that_is_not_there_is_an_error(photos: Path, tmp_path: Path) -> None:
    done = label(photos / "red.png", "--nouns", tmp_path / "none.txt")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no list of nouns" in done.stderr
