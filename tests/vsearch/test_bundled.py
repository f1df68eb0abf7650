"""The model that ships: its size, its files, and that it does both of its jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.database.database import Database
from tests.support.pictures import draw_folder
from tests.support.searching import search
from vsearch.image.pixels import read_pixels
from vsearch.model import Model
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace, parse

FOLDER = modelfolder.bundled()
LIMIT = 64_000_000  # bytes; what a clone and a wheel may weigh


def test_all_bundled_files_together_stay_within_64_mb() -> None:
    files = {p.name: p.stat().st_size for p in FOLDER.iterdir() if p.is_file()}
    assert {"config.json", "model.safetensors", "phrase.json", "vocab.json", "words.bin"} <= set(files)
    assert sum(files.values()) <= LIMIT, files


def test_weights_are_the_ones_the_config_names_and_all_finite() -> None:
    model = modelfolder.load(FOLDER, "cpu")  # checks identity and shapes
    for name, value in model.state_dict().items():
        assert bool(value.isfinite().all()), name
    config = modelfolder.read_config(FOLDER)
    assert config.encoder.name == "resnet18"
    assert config.devise is not None and config.decoder is not None and config.words is not None
    assert config.devise.dim == config.words.dim


def test_the_model_card_is_of_this_model() -> None:
    card = (FOLDER / "model-card.md").read_text("utf-8")
    assert f"Identity {modelfolder.read_config(FOLDER).identity[:12]}" in card
    assert (FOLDER / "failures.jpg").is_file()


@pytest.mark.parametrize(
    ("word", "kin", "other"), [("dog", "puppy", "snow"), ("bicycle", "bike", "dog"), ("beach", "sand", "guitar")]
)
def test_words_of_a_query_stand_near_their_kin(word: str, kin: str, other: str) -> None:
    space = PhraseSpace.load(FOLDER)
    at, near, far = (space.query(parse(text)).vector for text in (word, kin, other))
    assert float(at @ near) > float(at @ far) + 0.05
    assert np.linalg.norm(at) == pytest.approx(1, abs=1e-5)


def test_it_indexes_captions_and_finds_a_picture_by_itself(tmp_path: Path) -> None:
    paths = draw_folder(tmp_path / "pictures", 6)
    model = Model(FOLDER, "cpu")
    with Database.open(tmp_path / "library", create=True) as library:
        report = build_index(library, [tmp_path / "pictures"], model)
        assert (report.added, report.skipped) == (6, [])
        pixels = np.stack([read_pixels(paths[3], model.side)])
        vectors, captions = model.describe(pixels, captions=True)
        hits = search(library, vectors[0], 6)
    assert hits[0].path == str(paths[3]) and hits[0].score == pytest.approx(1, abs=0.01)
    assert captions is not None and captions[0] == hits[0].caption
    for hit in hits:
        assert hit.caption and "<" not in hit.caption
