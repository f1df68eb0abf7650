"""`vsearch translate`, `search --from`, `caption --to`, from raw text to words and pictures; and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cli
from tests.support.tiny_model import draw_pictures, model_folder
from tests.support.translator_data import SOURCE, TARGET, tiny_translator


def call(*arguments: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("translators")
    tiny_translator().save(place / "fr-en")
    tiny_translator("en", "fr").save(place / "en-fr")
    return place


def test_from_text_to_a_translator(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"{t}\t{s}" for s, t in zip(SOURCE, TARGET, strict=True)), "utf-8")
    ways = ["--from", "fr", "--to", "en"]
    done = call("prepare", "pairs", tmp_path / "a.txt", tmp_path / "p.h5", *ways, "--swap", "--dev-share", "0.3")
    assert done.exit_code == 0, done.stderr
    assert " train, " in done.stdout and " dev pairs, " in done.stdout
    sizes = ["source.embed=8", "source.hidden=8", "decoder.embed=8", "decoder.hidden=8", "decoder.attention=8"]
    settings = [part for s in [*sizes, "task.batch=5", "loop.epochs=1"] for part in ("--set", s)]
    run, model = tmp_path / "run", tmp_path / "model"
    done = call("train", "translate", "--data", tmp_path / "p.h5", "--output", run, "--device", "cpu", *settings)
    assert done.exit_code == 0, done.stderr or done.exception
    done = call("assemble-translator", run, "--data", tmp_path / "p.h5", "--output", model)
    assert done.exit_code == 0 and "fr to en, identity " in done.stdout
    done = call("translate", SOURCE[0], SOURCE[1], *ways, "--translator", model, "--device", "cpu")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 2
    wrong = call("assemble", model_folder(), run, "--data", tmp_path / "p.h5", "--output", tmp_path / "x")
    assert wrong.exit_code == 1 and "made a translator; use `vsearch assemble-translator`" in wrong.stderr


def test_pairs_of_photos_are_left_out_of_train_and_dev(tmp_path: Path) -> None:
    for name, lines in (("s", SOURCE), ("t", TARGET), ("n", [f"{i}.jpg" for i in range(len(SOURCE))])):
        (tmp_path / name).write_text("\n".join(lines) + "\n", "utf-8")
    (tmp_path / "x").write_text("1_ab.jpg\n0.jpg\n", "utf-8")
    s, t, n, x, p = (str(tmp_path / name) for name in ("s", "t", "n", "x", "p.h5"))
    texts, dev = [s, t, p, "--from", "fr", "--to", "en"], ["--dev-source", s, "--dev-target", t]
    names, dev_names, left_out = ["--names", n], ["--dev-names", n], ["--exclude", x]
    given, few = len(SOURCE), len(SOURCE) - 2
    cases: list[tuple[list[str], int, int]] = [
        ([], given, given),
        ([*names, *left_out], few, given),
        ([*dev_names, *left_out], given, few),
        ([*names, *dev_names, *left_out], few, few),
    ]
    for options, train, own in cases:
        done = call("prepare", "pairs", *texts, *dev, *options)
        assert done.exit_code == 0 and f"{train} train, {own} dev pairs" in done.stdout, done.stderr
    for wrong in (names, left_out, [*dev, *dev_names], [*dev_names, *left_out]):
        assert call("prepare", "pairs", *texts, *wrong).exit_code == 2


def test_json_and_attention(folder: Path, tmp_path: Path) -> None:
    at: list[str | Path] = ["--from", "fr", "--translator", folder / "fr-en", "--device", "cpu"]
    done = call("translate", "un chien rouge", *at, "--json", "--beam", "2", "--attention", tmp_path / "a.png")
    (row,) = json.loads(done.stdout)
    assert row["text"] == "un chien rouge" and row["log_probability"] < 0
    assert row["translation"] == call("translate", "un chien rouge", *at, "--beam", "2").stdout.strip()
    assert done.stderr == "not known to the translator: un\n"
    with Image.open(tmp_path / "a.png") as drawn:
        assert min(drawn.size) > 200 and len(drawn.convert("L").getcolors() or range(257)) > 4
    assert call("translate", "un", "deux", *at, "--attention", tmp_path / "b.png").exit_code == 2


def test_search_says_what_it_understood(folder: Path, tmp_path: Path) -> None:
    model, library = model_folder(), tmp_path / "library"
    draw_pictures(tmp_path / "photos")
    assert call("build-index", tmp_path / "photos", "--library", library, "--model", model).exit_code == 0
    at: list[str | Path] = ["--library", library, "--model", model, "--device", "cpu"]
    french: list[str | Path] = ["--from", "fr", "--translator", folder / "fr-en"]
    done = call("search", *french, "chien", "plage", "-neige", *at, "--json")
    assert done.exit_code == 0, done.stderr or done.exception
    understood = done.stderr.splitlines()[0].removeprefix("understood: ")
    assert ' -1*"' in understood
    plain = call("search", understood, *at, "--json")
    assert json.loads(plain.stdout) == json.loads(done.stdout)
    assert call("search", "chien", "--translator", folder / "fr-en", *at).exit_code == 2


def test_caption_in_french(folder: Path, tmp_path: Path) -> None:
    photo = draw_pictures(tmp_path) / "red.png"
    at: list[str | Path] = ["--model", model_folder(), "--device", "cpu"]
    english = call("caption", photo, *at).stdout.strip().partition(": ")[2]
    translator = tiny_translator("en", "fr")
    words = set(english.split()) & set(translator.source.vocabulary.words)
    done = call("caption", photo, *at, "--to", "fr", "--translator", folder / "en-fr", "--json")
    if words:  # else there is nothing that the toy language knows
        (row,) = json.loads(done.stdout)
        assert (row["english"], row["caption"]) == (english, translator.translate([english])[0].text)
    else:
        assert done.exit_code == 1 and "not known: " in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["", "--from", "fr"], "there is no word to translate; write a sentence in French"),
        (["chien", "--from", "xx"], "unknown language 'xx'; known: de (German), en (English), fr (French)"),
        (["chien", "--from", "de"], "translates from fr to en, not de to en"),
        (["chien " * 200, "--from", "fr"], "a sentence of 200 words and signs is too long"),
        (["chien собака", "--from", "fr"], "is no letter of French"),
        (["xyz", "--from", "fr"], "not known: xyz"),
    ],
)
def test_bad_input_is_one_line_of_error(folder: Path, words: list[str], told: str) -> None:
    done = call("translate", *words, "--translator", folder / "fr-en", "--device", "cpu")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert told in done.stderr


def test_models_of_another_task_are_named(folder: Path, tmp_path: Path) -> None:
    done = call("translate", "chien", "--from", "fr", "--translator", model_folder())
    assert done.exit_code == 1 and "holds no translator" in done.stderr
    done = call("caption", draw_pictures(tmp_path) / "red.png", "--model", folder / "fr-en")
    assert done.exit_code == 1 and "holds a translator, no model of pictures; name it by --translator" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["prepare", "pairs", "a", "b", "p.h5", "--from", "fr", "--to", "en", "--names", "n"],
        ["prepare", "pairs", "a", "b", "p.h5", "--from", "fr", "--to", "en", "--swap"],
        ["search", "--from", "fr"],
        ["caption", "a.jpg", "--translator", "x"],
    ],
)
def test_options_that_would_do_nothing_are_refused(wrong: list[str]) -> None:
    assert call(*wrong).exit_code == 2
