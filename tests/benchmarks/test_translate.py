"""The table of translators and the search by translated captions, on toy data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import translate as benchmark
from tests.support.tiny_model import model_folder, words_file
from tests.support.training_data import prepared_captions
from tests.support.translator_data import pairs_file, tiny_translator
from training.recipe import Inputs
from training.run import train
from vsearch.errors import DataError
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors


def test_bleu_of_itself_and_of_another() -> None:
    """Case does not count; of "a b c d" only the one 4-gram fits "a b c d e", whose length costs exp(1 - 5/4)."""
    score, signature = benchmark.sacrebleu(["A dog runs."], ["a dog runs."])
    assert score == pytest.approx(100) and "case:lc" in signature and "tok:13a" in signature
    assert benchmark.sacrebleu(["a b c d e"], ["a b c d"])[0] == pytest.approx(100 * 2.718281828 ** (-0.25))


def test_the_table_has_a_row_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = pairs_file(tmp_path / "p.h5"), tmp_path / "run"
    sizes = {f"{part}.{name}": "8" for part in ("source", "decoder") for name in ("embed", "hidden")}
    train("translate", Inputs(data), run, "cpu", {**sizes, "task.batch": "10", "loop.epochs": "1"})
    at = ["table", "--data", str(data), "--runs", str(run), "--split", "dev", "--device", "cpu"]
    benchmark.main([*at, "--json", str(tmp_path / "r.json")])
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    logged = json.loads((run / "log.jsonl").read_text())
    assert rows[str(run)]["val_loss_free"] == logged["val_loss_free"]
    assert str(run) in capsys.readouterr().out


def test_photos_are_found_by_name(tmp_path: Path) -> None:
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    prepared_captions(tmp_path, space)
    lines = [("test0_x.jpg", "chien rouge", "a red dog"), ("test1.jpg", "bateau", "a boat"), ("else.jpg", "x", "y")]
    rows = benchmark.retrieval(tiny_translator(), model_folder(), tmp_path / "c.h5", lines, "cpu")
    assert [row["sentences"] for row in rows.values()] == [2, 2]
    assert rows["English"]["R@10"] == 100  # of six photos every one is among ten
    with pytest.raises(DataError, match="no line is of a test photo"):
        benchmark.retrieval(tiny_translator(), model_folder(), tmp_path / "c.h5", lines[2:], "cpu")
