"""A finished model is measured on a split in one pass over its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.tiny_model import model_folder
from tests.support.training_data import prepared_captions
from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate import captions as evaluation
from vsearch.errors import DataError
from vsearch.networks.fast import model as fast
from vsearch.networks.fast.model import FastModel
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    return PhraseSpace.load(model_folder())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, space: PhraseSpace) -> Path:
    """Seven photos a split."""
    return prepared_captions(tmp_path_factory.mktemp("data"), space, 7)


@pytest.fixture
def model() -> FastModel:
    return modelfolder.load_fast(model_folder(), "cpu")


def counted(monkeypatch: pytest.MonkeyPatch, name: str, module: object, size: Callable[[object], int]) -> list[int]:
    """What `size` says of the result of each call of `name` in `module` from now on."""
    sizes, own = list[int](), getattr(module, name)

    def call(*arguments: object) -> object:
        found = own(*arguments)
        sizes.append(size(found))
        return found

    monkeypatch.setattr(module, name, call)
    return sizes


def test_the_encoder_sees_a_split_once_and_the_file_is_read_once(
    data: Path, space: PhraseSpace, model: FastModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for: three beams, retrieval and the pictures nearest to words."""
    seen: list[int] = []
    own = getattr(fast, "quick_encoder")  # noqa: B009 - it is not exported

    def quick(*arguments: object) -> object:
        encode = own(*arguments)

        def counting(pixels: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(len(pixels))
            found: tuple[Tensor, Tensor] = encode(pixels)
            return found

        return counting

    monkeypatch.setattr(fast, "quick_encoder", quick)
    splits = counted(monkeypatch, "read_split", evaluation, lambda split: len(split.rows))  # type: ignore[attr-defined]
    pixels = counted(monkeypatch, "read_stored_pixels", evaluation, len)  # type: ignore[arg-type]
    shown: list[tuple[int, int]] = []
    evaluation.evaluate_model(
        model, space, data, "dev", (1, 3, 5), ["dog"], lambda done, total: shown.append((done, total))
    )
    assert (seen, splits, pixels, shown) == ([7], [7], [7], [(7, 7)])


def test_one_pass_finds_what_a_pass_for_each_figure_finds(data: Path, space: PhraseSpace, model: FastModel) -> None:
    found = evaluation.evaluate_model(model, space, data, "test", (1, 4), ["dog", "boat"])
    split = evaluation.read_split(data, "test")
    vectors, none = evaluation.describe(model, split, batch=3)
    expected = evaluation.retrieval(vectors, split, space)
    for beam in (1, 4):
        again, [captions] = evaluation.describe(model, split, [beam])
        assert again == pytest.approx(vectors, abs=1e-6)
        scores = evaluation.captioning(model, split, captions)
        expected |= {f"{name}_beam{beam}": value for name, value in scores.items()}
    assert none == [] and found.metrics == expected and list(found.metrics) == list(expected)
    assert found.words == evaluation.words_top(vectors, split, space, ["dog", "boat"])
    assert [len(names) for _, names in found.words.values()] == [5, 5]


def test_each_beam_writes_as_the_model_does_by_itself(data: Path, model: FastModel) -> None:
    split = evaluation.read_split(data, "train")
    vectors, by_beam = evaluation.describe(model, split, [None, 1, 2])
    assert model.joint.decoder is not None
    with open_prepared(data, "captions") as file:
        pixels = torch.from_numpy(read_stored_pixels(file, split.rows, 64))
    for beam, found in zip((model.joint.decoder.config.beam, 1, 2), by_beam, strict=True):
        described = model.describe(pixels, beam=beam)
        assert described.captions is not None and np.array_equal(described.vectors, vectors)
        assert [best[0].tokens for best in described.captions] == [caption.tokens for caption in found]


def test_a_model_without_a_decoder_has_only_recalls(data: Path, space: PhraseSpace, model: FastModel) -> None:
    model.joint.decoder = None
    found = evaluation.evaluate_model(model, space, data, "dev", (1, 3))
    assert {name.partition("_")[0] for name in found.metrics} == {"t2i", "i2t"} and found.words == {}


def test_a_split_that_is_not_there_is_named(data: Path) -> None:
    with pytest.raises(DataError, match="no split 'half'"):
        evaluation.read_split(data, "half")
