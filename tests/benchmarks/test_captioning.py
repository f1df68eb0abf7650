"""The tutorial's loop computes what this project computes, and the benchmark measures what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import captioning, tutorial_loop
from benchmarks.tutorial_loop import TutorialDecoder
from tests.support.tiny_model import words_file
from tests.support.training_data import features, prepared_captions
from training.data.prepared import open_prepared
from training.recipe import Inputs
from training.run import train
from training.tasks.caption import CaptionBatch, caption_loss
from vsearch.captions.beam import greedy
from vsearch.config import DecoderConfig
from vsearch.errors import ConfigError
from vsearch.networks.decoders import SoftAttentionDecoder, build_decoder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import END, PAD, START, UNK

SMALL = {"embed": 12, "hidden": 24, "attention": 16, "dropout": 0.0, "max_len": 8}


def pair(words: int = 30, tied: bool = False) -> tuple[SoftAttentionDecoder, TutorialDecoder]:
    torch.manual_seed(0)
    ours = build_decoder(DecoderConfig(**SMALL, tied=tied), 6, 4 + words)  # type: ignore[arg-type]
    assert isinstance(ours, SoftAttentionDecoder)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(2)
        ours.output.bias[[PAD, START, UNK]] = -1e3  # the tutorial does not forbid them
    return ours.eval(), TutorialDecoder(ours).eval()


def test_the_reference_has_the_same_loss_and_gradients() -> None:
    ours, theirs = pair()
    cells, lengths = torch.randn(4, 5, 6), torch.tensor([5, 8, 3, 6])
    captions = torch.randint(4, 34, (4, 8))
    captions[:, 0] = START
    loss, _ = caption_loss(ours, CaptionBatch(cells, captions[:, None], lengths[:, None]), smoothing=0.0, alpha=1.0)
    reference = tutorial_loop.training_loss(theirs, cells, captions, lengths)
    assert reference.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.autograd.backward([loss, reference])
    torch.testing.assert_close(theirs.from_cells.weight.grad, ours.attention.key.weight.grad)
    torch.testing.assert_close(theirs.lstm.weight_hh.grad, ours.cell.recurrent.weight.grad)


def test_the_reference_finds_the_same_captions() -> None:
    ours, theirs = pair()
    with torch.no_grad():
        ours.output.weight[END] *= 6
    theirs.take(ours)
    cells = torch.randn(20, 5, 6) * 2
    found = [c.tokens for c in greedy(ours, cells, max_len=8)]
    assert len({len(words) for words in found if words}) > 2
    for photo, words in zip(cells, found, strict=True):
        told = tutorial_loop.caption(theirs, photo, 1, 8)
        assert told == words or not told  # only the tutorial's may be empty
        assert len(tutorial_loop.caption(theirs, photo, 4, 8)) <= 8


def test_the_reference_takes_a_tied_output() -> None:
    ours, theirs = pair(tied=True)
    features = torch.randn(3, theirs.output.in_features)
    torch.testing.assert_close(theirs.output(features), ours.output(features))


def test_made_up_captions_look_like_captions() -> None:
    sample = captioning.made_up(30)
    assert sample.cells.shape == (30, 49, 1280) and len(sample.vocabulary) == 2_549
    assert sample.lengths.float().mean().item() - 2 == pytest.approx(11, abs=1)
    for ids, length in zip(sample.captions.flatten(0, 1).tolist(), sample.lengths.flatten().tolist(), strict=True):
        assert ids[0] == START and ids[length - 1] == END and not any(ids[length:])
        assert min(ids[1 : length - 1]) > UNK


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("data")
    space = PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])
    prepared_captions(folder, space, 6)
    with open_prepared(folder / "c.h5", "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    return Inputs(folder / "c.h5", features(folder / "x.h5", names))


@pytest.fixture(scope="module")
def runs(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in ("soft", "lstm"):
        found[kind] = tmp_path_factory.mktemp(kind)
        settings = {f"decoder.{name}": str(value) for name, value in SMALL.items()}
        settings |= {"decoder.kind": kind, "task.batch": "6", "task.captions_per_photo": "2", "loop.epochs": "1"}
        train("caption-soft", inputs, found[kind], "cpu", settings)
    return found


def call(inputs: Inputs, output: Path, what: str, *more: str | Path) -> dict[str, dict[str, float]]:
    files = ["--data", inputs.data, "--features", inputs.features, "--device", "cpu", "--json", output]
    captioning.main([what, *map(str, [*files, *more])])
    return json.loads(output.read_text())  # type: ignore[no-any-return]


def test_speeds_of_both_sides(inputs: Inputs, runs: dict[str, Path], tmp_path: Path) -> None:
    sizes: list[str | Path] = ["--repeats", "1", "--batch", "5"]
    trained = call(inputs, tmp_path / "t.json", "train-speed", *sizes)["captions_per_second"]
    assert list(trained) == ["tutorial", "here", "here, 5 of each photo"] and min(trained.values()) > 0
    more = [*sizes, "--runs", runs["soft"], "--pictures", "4"]
    decoded = call(inputs, tmp_path / "d.json", "decode-speed", *more)["photos_per_second"]
    assert list(decoded) == ["tutorial", "here"] and min(decoded.values()) > 0
    with pytest.raises(ConfigError, match="only soft attention"):
        call(inputs, tmp_path / "d.json", "decode-speed", *sizes, "--runs", runs["lstm"])


def test_table_has_published_rows_and_ours(
    inputs: Inputs, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = call(inputs, tmp_path / "x.json", "table", "--split", "dev", "--beam", "2", "--runs", *runs.values())
    rows: dict[str, dict[str, float]] = made["rows"]  # type: ignore[assignment]
    assert list(rows)[-2:] == [f"here: {kind} ({run.name})" for kind, run in runs.items()]
    assert rows["published: adaptive, frozen VGG-16"] == {"bleu1": 61.9, "bleu4": 20.8, "cider": 50.8}
    assert all(set(captioning.COLUMNS) == set(row) for row in list(rows.values())[-2:])
    printed = capsys.readouterr().out.splitlines()
    assert "| published: adaptive, frozen VGG-16 | 61.9 | - | - | 20.8 | 50.8 | - | - | - |" in printed
    assert len(printed) == 3 + len(captioning.PUBLISHED) + 2


def test_arguments_that_lack_something(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["table"], ["train-speed", "--data", "x.h5"]):
        with pytest.raises(SystemExit):
            captioning.main(given)
    assert "--features" in capsys.readouterr().err
