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
from vsearch.translation import translator
from vsearch.translation.translator import Translator

FOLDER = modelfolder.bundled()
LIMIT = 95_000_000  # bytes; what a clone and a wheel may weigh
THINGS = (
    "airplane",
    "dog",
    "cat",
    "boat",
    "bicycle",
    "car",
    "horse",
    "sandwich",
    "umbrella",
    "bridge",
    "tree",
    "berry",
)
NUMBER = {"sandwich": "sandwiches", "berry": "berries"}


def test_all_bundled_files_together_stay_within_95_mb() -> None:
    files = {str(p.relative_to(FOLDER)): p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()}
    assert {"config.json", "model.safetensors", "phrase.json", "vocab.json", "words.bin"} <= set(files)
    assert sum(files.values()) <= LIMIT, files


def test_common_misspellings_are_recognised() -> None:
    """192 misspellings of what photos show; some have two readings ("hourse"). Usual words are never doubted."""
    space = PhraseSpace.load(FOLDER)
    pairs = [line.split() for line in (Path(__file__).parents[1] / "support/misspelt.txt").read_text().splitlines()]
    right = [space.spelled(wrong) == word for wrong, word in pairs]
    assert len(pairs) == 192 and sum(right) > 0.9 * len(right)
    usual = sorted(space.idf, key=lambda word: space.idf[word])[:1000]
    assert [word for word in usual if space.spelled(word)] == []


@pytest.mark.parametrize(
    ("one", "other"), [("dog", "dogs"), ("child", "children"), ("beach", "beaches"), ("wolf", "wolves")]
)
def test_singular_and_plural_ask_for_the_same(one: str, other: str) -> None:
    space = PhraseSpace.load(FOLDER)
    first, second, third = (space.query(parse(text)).vector for text in (one, other, "boat"))
    assert float(first @ second) > 0.98 > 0.9 > float(first @ third)


def test_weights_are_the_ones_the_config_names_and_all_finite() -> None:
    model = modelfolder.load(FOLDER, "cpu")  # checks identity and shapes
    for name, value in model.state_dict().items():
        assert bool(value.isfinite().all()), name
    config = modelfolder.read_config(FOLDER)
    assert config.encoder.name == "resnet50" and config.preprocess.side == 224
    assert config.devise is not None and config.decoder is not None and config.words is not None
    assert config.devise.dim == config.words.dim == config.decoder.vector and config.devise.classes == 1000


def test_every_convolution_is_stored_as_8_bit_codes() -> None:
    """As the encoder was published: the values that come back are the published ones, and the file stays small."""
    state = modelfolder.read_weights(FOLDER)
    whole = modelfolder.load(FOLDER, "cpu").state_dict()
    convolutions = {name for name, value in whole.items() if name.startswith("encoder.") and value.ndim == 4}
    assert len(convolutions) == 53  # of a ResNet-50
    assert {f"{name}.q" for name in convolutions} <= state.keys() and not convolutions & state.keys()


def test_the_model_card_is_of_this_model() -> None:
    card = (FOLDER / "model-card.md").read_text("utf-8")
    assert f"Identity {modelfolder.read_config(FOLDER).identity[:12]}" in card
    assert (FOLDER / "failures.jpg").is_file()


@pytest.mark.parametrize(
    ("word", "kin", "other"),
    [("dog", "puppy", "snow"), ("cat", "kitten", "dog"), ("bicycle", "bike", "dog"), ("beach", "sand", "guitar")],
)
def test_words_of_a_query_stand_near_their_kin(word: str, kin: str, other: str) -> None:
    space = PhraseSpace.load(FOLDER)
    at, near, far = (space.query(parse(text)).vector for text in (word, kin, other))
    assert float(at @ near) > float(at @ far) + 0.05
    assert np.linalg.norm(at) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("word", THINGS)
def test_a_word_and_its_plural_have_the_same_neighbours(word: str) -> None:
    """Among 5,000 words: at least half of the ten nearest to the one are among the twenty nearest to the other."""
    space = PhraseSpace.load(FOLDER)
    others = [w for w in sorted(space.idf) if w in space.vectors][:5000]
    gallery = space.vectors_of([[w] for w in others])
    one, many = (gallery @ space.vector([w]) for w in (word, NUMBER.get(word, f"{word}s")))
    near, wider = set(np.argsort(-one)[:10].tolist()), set(np.argsort(-many)[:20].tolist())
    assert len(near & wider) >= 5, f"{word}: {len(near & wider)} of 10"


def test_a_photo_of_what_was_asked_has_a_score_that_says_so() -> None:
    """A hit as near as photos are to what they show, and one as far as they are from what they do not show."""
    scores = Model(FOLDER).scores
    assert scores.calibrate(0.5, "words") > 0.4 and scores.calibrate(0.1, "words") < 0.05


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


@pytest.mark.parametrize(
    ("language", "texts", "said"),
    [
        ("fr", ["deux chiens courent dans la neige", "un chat noir"], "two dogs run through the snow"),
        ("de", ["zwei hunde laufen durch den schnee", "eine schwarze katze"], "two dogs running through the snow."),
    ],
)
def test_translators_that_come_along_need_no_name(language: str, texts: list[str], said: str) -> None:
    found = Translator.load(translator.find(language, "en"), "cpu").translate(texts)
    assert [best.text.rstrip(".") for best in found] == [said.rstrip("."), "a black cat"]
