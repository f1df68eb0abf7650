"""Model: photos of every form, vectors, captions with their attention, labels, and what is not there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_model import draw_pictures, model_folder
from vsearch import Model, load
from vsearch.errors import DataError, ModelError, PictureError, QueryError
from vsearch.image.pixels import read_pixels
from vsearch.model import Photo
from vsearch.scores import Scores
from vsearch.storage import modelfolder


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(model_folder(), "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "photos")


def test_without_a_folder_it_is_the_bundled_one() -> None:
    assert load().folder == modelfolder.bundled()
    assert load(str(model_folder())).identity == modelfolder.read_config(model_folder()).identity


def test_facts(model: Model) -> None:
    assert (model.dim, model.side, model.captions) == (12, 64, True)
    assert model.scores == Scores()
    assert len(model.identity) == 64


def test_a_photo_is_a_path_a_picture_or_pixels(model: Model, photos: Path) -> None:
    file = photos / "red.png"
    vector = model.embed_image(file)
    assert vector.shape == (12,) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    with Image.open(file) as image:
        others: list[Photo] = [str(file), image, image.convert("RGB"), np.asarray(image)]
        assert all(np.array_equal(model.embed_image(photo), vector) for photo in others)


def test_a_picture_of_pillows_is_turned_upright_and_put_on_white(model: Model, tmp_path: Path) -> None:
    glass = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    glass.putpixel((3, 4), (0, 0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    glass.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert np.array_equal(model.pixels(image), read_pixels(tmp_path / "turned.png", 64))
    assert model.pixels(glass).max() == 255


def test_what_is_no_photo_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        model.embed_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="uint8"):
        model.embed_image(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        model.embed_image(np.zeros((4, 4), np.uint8))
    (tmp_path / "cut.jpg").write_bytes(b"")
    Image.new("RGB", (200, 200)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(PictureError):
        model.embed_image(image)


def test_many_photos_are_as_one_by_one(model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.model.BATCH", 3)
    paths = sorted(photos.iterdir())
    together = model.embed_images(path for path in paths)
    assert together == pytest.approx(np.stack([model.embed_image(path) for path in paths]), abs=2e-2)  # bfloat16
    assert model.embed_images([]).shape == (0, 12)


def test_a_query(model: Model) -> None:
    query = model.query('boat -"hot dog" boats')
    assert (query.known, query.unknown) == (["boat", "hot", "dog"], ["boats"])
    assert np.array_equal(query.vector, model.embed_text('boat -"hot dog" boats'))
    with pytest.raises(QueryError):
        model.embed_text("")


def test_captions_are_embedded_without_torch(model: Model) -> None:
    dog, nothing = model.embed_captions(["a dog", "0"])
    assert nothing is None and dog is not None and np.linalg.norm(dog) == pytest.approx(1, abs=1e-5)


def test_a_caption_and_its_runners_up(model: Model, photos: Path) -> None:
    best = model.caption(photos / "red.png", beam=4)
    found = model.network.describe(_images(model, photos / "red.png"), beam=4, n_best=4).captions
    assert found is not None
    everyone = (best, *best.runner_ups)
    assert [c.text for c in everyone] == [model.network.text(hypothesis) for hypothesis in found[0]]
    assert [c.log_probability for c in everyone] == [hypothesis.log_probability for hypothesis in found[0]]
    for caption, hypothesis in zip(everyone, found[0], strict=True):
        assert caption.text == " ".join(caption.words) and caption.sentinel is None
        assert caption.attention is not None and hypothesis.attention is not None
        assert caption.attention.shape == (len(caption.words), 2, 2)  # 64 pixels, 32 to a cell
        assert np.array_equal(caption.attention.reshape(-1, 4), hypothesis.attention)
    assert len(model.caption(photos / "red.png").runner_ups) == 2  # the model's beam is 3
    words = model.caption(photos / "red.png", block_repeats=True).words
    assert all(a != b for a, b in pairwise(words))


def test_attention_of_an_adaptive_decoder_is_parted_from_its_sentinel(photos: Path) -> None:
    caption = Model(model_folder(kind="adaptive"), "cpu").caption(photos / "red.png")
    assert caption.attention is not None and caption.sentinel is not None
    assert caption.attention.shape[1:] == (2, 2) and caption.sentinel.shape == (len(caption.words),)
    assert caption.attention.sum((1, 2)) + caption.sentinel == pytest.approx(1, abs=1e-2)


def test_a_decoder_without_attention_has_none(photos: Path) -> None:
    caption = Model(model_folder(kind="gru"), "cpu").caption(photos / "red.png")
    assert caption.text and caption.attention is None and caption.sentinel is None


def test_labels(model: Model, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "nouns.txt").write_text("dog\nn02084071\tboat,hot dog\nqqqq\n")
    name = str(tmp_path / "nouns.txt")
    labels = model.label(photos / "red.png", name, k=2)
    placed = model.nouns(name)
    vector = model.embed_image(photos / "red.png")
    assert [label.score for label in labels] == sorted((placed.vectors @ vector).tolist(), reverse=True)[:2]
    assert {label.wnid for label in model.label(photos / "red.png", name)} == {None, "n02084071"}
    assert model.nouns(name) is placed
    with pytest.raises(DataError):
        model.label(photos / "red.png", str(tmp_path / "none.txt"))


def test_a_model_without_a_head_or_a_decoder_says_so(photos: Path, tmp_path: Path) -> None:
    from vsearch.config import DecoderConfig, DeviseConfig, ModelConfig, PreprocessConfig
    from vsearch.networks.joint import build_model
    from vsearch.text.vocab import Vocabulary

    small = PreprocessConfig(side=64)
    decoder = DecoderConfig(embed=8, hidden=8, attention=8, max_len=4, beam=2)
    modelfolder.save(build_model(ModelConfig(small, decoder=decoder), Vocabulary(["a"])), tmp_path / "decoder")
    modelfolder.save(build_model(ModelConfig(small, devise=DeviseConfig(hidden=8, dim=5))), tmp_path / "head")
    captioner, embedder = Model(tmp_path / "decoder", "cpu"), Model(tmp_path / "head", "cpu")
    assert captioner.captions and not embedder.captions
    assert captioner.caption(photos / "red.png").text
    pixels = embedder.pixels(photos / "red.png")[None]
    assert embedder.describe(pixels)[1] is None and embedder.embed_captions(["a dog"]) == [None]
    for refused in (captioner.embed_image, captioner.embed_text, embedder.caption, embedder.embed_text):
        with pytest.raises(ModelError):
            refused(str(photos / "red.png"))
    with pytest.raises(ModelError, match="places no pictures"):
        captioner.describe(pixels)
    with pytest.raises(ModelError, match="places no pictures"):
        assert captioner.dim


def test_weights_are_read_at_the_first_photo(photos: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(model_folder(), tmp_path / "model")
    (folder / modelfolder.WEIGHTS).unlink()
    opened = Model(folder, "cpu")
    assert opened.embed_text("boat").shape == (12,)
    with pytest.raises(ModelError, match="no model.safetensors"):
        opened.embed_image(photos / "red.png")
    with pytest.raises(ModelError, match="no model folder"):
        Model(tmp_path / "nowhere")


def _images(model: Model, file: Path) -> torch.Tensor:
    return torch.from_numpy(model.pixels(file))[None]
