"""Words that are tuned along with the head: the phrase encoder, its training, and the fastText file it becomes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny_model import words_file
from tests.support.training_data import features, prepared_captions, tiny_imagenet
from training.assemble.words import tuned_space
from training.data.labels import class_vectors, prepare_labels, read_labelled_pictures
from training.data.prepared import open_prepared
from training.data.word_table import read_words, table_of
from training.data.words import train_words
from training.loop.checkpoint import below
from training.recipe import Inputs
from training.run import train
from training.tasks.devise import DeviseTask, DeviseTaskConfig
from training.tasks.targets import TunedClasses, phrase_encoder
from vsearch.config import DeviseConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.phrases import PhraseEncoder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

CPU = torch.device("cpu")
CAPTIONS = [["a", "dog", "and", "a", "boat"], ["the", "boat"], ["a", "zebrafish", "engine"]]


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"], ["a", "boat"]])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, space: PhraseSpace) -> Path:
    """A folder of words, as `prepare words` leaves it."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "words.bin").write_bytes(words_file().read_bytes())
    space.save(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, space: PhraseSpace) -> Inputs:
    folder = tmp_path_factory.mktemp("data")
    prepared_captions(folder, space, 9)
    with open_prepared(folder / "c.h5", "captions") as file:
        names = list(file["pictures/name"].asstr()[:])
    return Inputs(folder / "c.h5", features(folder / "f.h5", names))


def encoder_of(space: PhraseSpace, texts: list[str]) -> tuple[PhraseEncoder, torch.Tensor]:
    table = table_of(texts, space)
    return phrase_encoder(table), torch.from_numpy(table.rows(texts))


def test_before_training_it_is_the_phrase_space(space: PhraseSpace) -> None:
    encoder, rows = encoder_of(space, [" ".join(c) for c in CAPTIONS])
    assert rows.tolist()[1][2:] == [-1, -1, -1]
    with torch.no_grad():
        found = encoder(rows).numpy()
    np.testing.assert_allclose(found, space.vectors_of(CAPTIONS), atol=1e-5)


def test_phrase_by_hand() -> None:
    """Words (1, 0) and (0, 1) of weights 1 and 2, mean (0.25, 0). The first is shifted by (0, 1), which gives (1, 1),
    or (0.7071, 0.7071) at length 1; the second is not in the dictionary and stays although it has a shift, too. The map
    turns (x, y) into (y, x). Factors 3 and 1.
    Sum: 3 (0.7071, 0.7071) + 2 (1, 0) - (3 + 2) (0.25, 0) = (2.8713, 2.1213), of length 3.5699."""
    encoder = PhraseEncoder(
        torch.eye(2), torch.tensor([1.0, 2.0]), torch.tensor([True, False]), torch.tensor([0.25, 0.0])
    )
    with torch.no_grad():
        encoder.shift.copy_(torch.tensor([[0.0, 1.0], [5.0, 5.0]]))
        encoder.map.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        encoder.log_factor.copy_(torch.tensor([3.0, 1.0]).log())
        found = encoder(torch.tensor([[0, 1]]))
    assert found[0].tolist() == pytest.approx([2.8713 / 3.5699, 2.1213 / 3.5699], abs=1e-4)


def test_every_part_is_trained_and_words_outside_the_dictionary_are_not_shifted(space: PhraseSpace) -> None:
    encoder, rows = encoder_of(space, [" ".join(c) for c in CAPTIONS])
    torch.manual_seed(0)
    (encoder(rows) * torch.randn(3, space.vectors.dim)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    words = table_of([" ".join(c) for c in CAPTIONS], space).words
    assert encoder.shift.grad is not None
    moved = {word for word, grad in zip(words, encoder.shift.grad, strict=True) if grad.any()}
    assert "dog" in moved and "zebrafish" not in moved and "zebrafish" in words


def test_training_moves_the_words_and_the_file_says_the_same(
    inputs: Inputs, words: Path, space: PhraseSpace, tmp_path: Path
) -> None:
    overrides = {
        "devise.dim": "12", "devise.hidden": "32", "devise.dropout": "0.0", "task.batch": "9", "task.views": "1",
        "loop.epochs": "12", "loop.lr": "0.02", "loop.average": "0.0",
    }  # fmt: skip
    train("devise-tuned", inputs, tmp_path / "run", "cpu", overrides)
    state = below(load_file(tmp_path / "run" / "best.safetensors"), "phrases.")
    tuned = tuned_space(words, inputs.data, state, tmp_path / "tuned", quantise=False)
    with open_prepared(inputs.data, "captions") as file:
        table, texts = read_words(file), [str(t) for t in file["captions/text"].asstr()[:]]
    encoder = phrase_encoder(table)
    encoder.load_state_dict(state)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(table.rows(texts))).numpy()
    found = PhraseSpace.load(tmp_path / "tuned").vectors_of(t.split() for t in texts)
    assert (found * expected).sum(1).min() > 0.9999
    before = space.vectors_of(t.split() for t in texts)
    assert (found * before).sum(1).mean() < 0.998  # the training did move them
    # A word of no caption moves only by the shared map.
    other = space.vectors.unit("engines") @ state["map"].numpy()
    np.testing.assert_allclose(tuned.vectors.unit("engines"), other / np.linalg.norm(other), atol=1e-3)


def test_words_of_another_file_are_refused(inputs: Inputs, words: Path, tmp_path: Path) -> None:
    with open_prepared(inputs.data, "captions") as file:
        table = read_words(file)
    encoder = phrase_encoder(table)
    from training.data.words import write_rows
    from vsearch.text.fasttext_file import read_layout

    layout = read_layout(words / "words.bin")
    other = tmp_path / "other"
    other.mkdir()
    rows = np.random.default_rng(0).normal(size=(layout.words + layout.bucket, layout.dim)).astype(np.float32)
    write_rows(words / "words.bin", other / "words.bin", rows)
    (other / "phrase.json").write_bytes((words / "phrase.json").read_bytes())
    with pytest.raises(DataError, match="not prepared with the words"):
        tuned_space(other, inputs.data, encoder.state_dict(), tmp_path / "out")
    with pytest.raises(DataError, match="rows of"):
        write_rows(words / "words.bin", tmp_path / "x.bin", rows[:-1])


def test_settings_that_do_not_fit_are_refused(inputs: Inputs) -> None:
    assert inputs.features is not None
    head = DeviseConfig(hidden=8, dim=12)
    with pytest.raises(ConfigError, match=r"task\.words is 'some'"):
        DeviseTask(DeviseTaskConfig(words="some"), head, inputs.data, inputs.features, CPU)
    with pytest.raises(ConfigError, match="no captions are averaged"):
        DeviseTask(DeviseTaskConfig(words="tuned", captions_averaged=2), head, inputs.data, inputs.features, CPU)
    with pytest.raises(ConfigError, match=r"task\.views is 3"):
        DeviseTask(DeviseTaskConfig(views=3), head, inputs.data, inputs.features, CPU)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs, space: PhraseSpace) -> Inputs:
    """The inputs with labelled pictures next to them; of one class, "engines", no caption has a word."""
    folder = tmp_path_factory.mktemp("labels")
    listing = tiny_imagenet(folder / "t") / "classes.json"
    classes = json.loads(listing.read_text("utf-8"))
    classes[2][1] = ["engines", "green, engines"]
    listing.write_text(json.dumps(classes))
    prepare_labels(read_labelled_pictures(folder / "t"), folder / "l.h5", space)
    with open_prepared(folder / "l.h5", "labels") as file:
        names = list(file["pictures/name"].asstr()[:])
    return dataclasses.replace(inputs, labels=folder / "l.h5", label_features=features(folder / "lf.h5", names))


def test_classes_start_where_the_phrase_space_has_them(labelled: Inputs) -> None:
    assert labelled.labels is not None
    with open_prepared(labelled.data, "captions") as file, open_prepared(labelled.labels, "labels") as labels:
        own, expected = read_words(file), labels["labels/vector"][:].astype(np.float32)
        classes = TunedClasses(labels, own)
    assert classes.table.words[: len(own.words)] == own.words
    assert {"engines", "green"} >= set(classes.table.words[len(own.words) :]) >= {"engines"}
    encoder = phrase_encoder(classes.table, len(classes.table.words) - len(own.words))
    with torch.no_grad():
        found = classes.vectors(encoder).numpy()
    assert (found * expected).sum(1).min() > 0.9999  # the file has them in half precision


def test_labels_move_with_the_words_they_share_and_with_the_map(
    labelled: Inputs, words: Path, space: PhraseSpace, tmp_path: Path
) -> None:
    overrides = {
        "devise.dim": "12", "devise.hidden": "32", "devise.dropout": "0.0", "task.batch": "9", "task.views": "1",
        "task.label_batch": "6", "loop.epochs": "12", "loop.lr": "0.02", "loop.average": "0.0",
    }  # fmt: skip
    train("devise-tuned", labelled, tmp_path / "run", "cpu", overrides)
    state = below(load_file(tmp_path / "run" / "best.safetensors"), "phrases.")
    tuned_space(words, labelled.data, state, tmp_path / "tuned", quantise=False)
    assert labelled.labels is not None
    with open_prepared(labelled.data, "captions") as file, open_prepared(labelled.labels, "labels") as labels:
        classes, named = TunedClasses(labels, read_words(file)), json.loads(labels.attrs["classes"])
    encoder = phrase_encoder(classes.table, len(classes.table.words) - len(state["shift"]))
    encoder.load_state_dict(state)
    with torch.no_grad():
        expected = classes.vectors(encoder).numpy()
    found = class_vectors(named, PhraseSpace.load(tmp_path / "tuned"))
    assert (found * expected).sum(1).min() > 0.9999
    moved = (found * class_vectors(named, space)).sum(1)
    assert moved[:2].max() < 0.999 and moved[2] < 0.99999  # those the captions speak of, and the other by the map


def test_labels_of_other_words_are_refused(labelled: Inputs, tmp_path: Path) -> None:
    assert labelled.labels is not None and labelled.features is not None
    other = tmp_path / "l.h5"
    other.write_bytes(labelled.labels.read_bytes())
    with h5py.File(other, "r+") as file:
        file["words/vector"][:] = -file["words/vector"][:]
    config, head = DeviseTaskConfig(words="tuned", label_batch=4), DeviseConfig(hidden=8, dim=12)
    with pytest.raises(DataError, match="different words"):
        DeviseTask(config, head, labelled.data, labelled.features, CPU, other, labelled.label_features)


@pytest.fixture(scope="module")
def plural_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words with plurals: of dogs captions speak, of cats they do not."""
    folder = tmp_path_factory.mktemp("plurals")
    lines = ["a red dog and two dogs", "the green boat on the blue sea", "one cat or many cats", "an engine is red"]
    (folder / "text.txt").write_text("\n".join(lines * 30))
    sizes = {"dim": 12, "min_count": 2, "bucket": 300, "epochs": 2, "threads": 1, "quantise": False}
    train_words(folder / "text.txt", ["a dog", "the boat"], folder / "words", **sizes, named=["boat"])  # type: ignore[arg-type]
    return folder / "words"


def test_a_table_has_the_plurals_of_its_words(plural_words: Path) -> None:
    table = table_of(["a dog zzz", "the boats"], PhraseSpace.load(plural_words))
    assert table.words == ["a", "boat", "boats", "dog", "dogs", "the", "zzz"]
    assert [table.words[i] for i in table.partner] == ["a", "boats", "boat", "dogs", "dog", "the", "zzz"]
    joined = table.joined(table_of(["cat", "the engine"], PhraseSpace.load(plural_words)))
    assert joined.words[7:] == ["cat", "cats", "engine"] and joined.partner.tolist()[7:] == [8, 7, 9]


def test_blended_words_by_hand() -> None:
    """(1, 0) and (0, 1), of which the second is shifted to (0, 3): a quarter of it makes (0.75, 0.75) of the first."""
    encoder = PhraseEncoder(
        torch.eye(2),
        torch.ones(2),
        torch.tensor([True, True]),
        torch.zeros(2),
        partner=torch.tensor([1, 0]),
        blend=0.25,
    )
    with torch.no_grad():
        encoder.shift[1] = torch.tensor([0.0, 2.0])
        found = encoder(torch.tensor([[0], [1]]))
    assert found[0].tolist() == pytest.approx([0.5**0.5] * 2)
    assert found[1].tolist() == pytest.approx([0.25 / 2.2638, 2.25 / 2.2638], abs=1e-4)


def test_singular_and_plural_are_blended_in_training_and_in_the_file(plural_words: Path, tmp_path: Path) -> None:
    space = PhraseSpace.load(plural_words)
    data = prepared_captions(tmp_path, space, 9)
    with open_prepared(data, "captions") as file:
        names, table = list(file["pictures/name"].asstr()[:]), read_words(file)
    overrides = {
        "devise.dim": "12", "devise.hidden": "32", "task.batch": "9", "task.views": "1", "task.blend": "0.4",
        "loop.epochs": "8", "loop.lr": "0.02",
    }  # fmt: skip
    train("devise-tuned", Inputs(data, features(tmp_path / "f.h5", names)), tmp_path / "run", "cpu", overrides)
    state = below(load_file(tmp_path / "run" / "best.safetensors"), "phrases.")
    assert state["blend"] == pytest.approx(0.4)
    tuned = tuned_space(plural_words, data, state, tmp_path / "tuned", quantise=False)
    encoder = phrase_encoder(table, blend=0.4)
    encoder.load_state_dict(state)
    texts = ["the dog is red", "dogs", "boats", "the boat"]
    with torch.no_grad():
        expected = encoder(torch.from_numpy(table.rows(texts))).numpy()
    found = tuned.vectors_of(text.split() for text in texts)
    assert (found * expected).sum(1).min() > 0.9999
    cat, cats = space.vectors.unit("cat"), space.vectors.unit("cats")
    mixed = (0.6 * cat + 0.4 * cats) @ state["map"].numpy()  # no caption has them, yet they are blended
    np.testing.assert_allclose(tuned.vectors.unit("cat"), mixed / np.linalg.norm(mixed), atol=1e-3)


def test_what_cannot_be_blended_is_refused(plural_words: Path, inputs: Inputs, tmp_path: Path) -> None:
    assert inputs.features is not None
    head = DeviseConfig(hidden=8, dim=12)
    with pytest.raises(ConfigError, match=r"task\.blend is 1\.0"):
        DeviseTask(DeviseTaskConfig(words="tuned", blend=1.0), head, inputs.data, inputs.features, CPU)
    with pytest.raises(ConfigError, match=r"task\.blend is for words that are tuned"):
        DeviseTask(DeviseTaskConfig(blend=0.4), head, inputs.data, inputs.features, CPU)
    old = tmp_path / "old.h5"
    old.write_bytes(inputs.data.read_bytes())
    with h5py.File(old, "r+") as file:
        del file["words/partner"]
    with pytest.raises(DataError, match="does not say which words are plurals"):
        DeviseTask(DeviseTaskConfig(words="tuned", blend=0.4), head, old, inputs.features, CPU)
    with open_prepared(old, "captions") as file:
        assert read_words(file).partner.tolist() == list(range(len(file["words/word"])))
