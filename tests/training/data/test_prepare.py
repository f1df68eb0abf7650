"""Raw data sets to prepared files: rows, splits, vocabularies, broken pictures, wrong files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_model import words_file
from tests.support.training_data import COLOURS, flickr8k, teacher, tiny_imagenet
from training.data.captions import prepare_captions, read_flickr8k
from training.data.distil import crop_box, cut_views, prepare_distil
from training.data.features import cut, encoder_network, key_of, read_features, teacher_network, write_features
from training.data.labels import class_vectors, prepare_labels, read_tiny_imagenet
from training.data.prepared import PreparedWriter, open_prepared, read_encoded
from vsearch.config import EncoderConfig, PreprocessConfig
from vsearch.errors import DataError
from vsearch.networks.encoder import Encoder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors
from vsearch.text.vocab import END, START


@pytest.fixture
def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


def test_writer_keeps_rows_and_bytes_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with PreparedWriter(path, "captions", max_len=9) as writer:
        writer.add_pictures([b"abc", b""], ["one", "two"], "train")
        writer.add_pictures([b"de"], ["three"], "test")
        writer.append("rows", np.array([[1, 2]]))
        writer.append("rows", np.array([[3, 4], [5, 6]]))
    with open_prepared(path, "captions") as file:
        assert read_encoded(file) == [b"abc", b"", b"de"]
        assert file["pictures/split"][:].tolist() == [0, 0, 2]
        assert file["rows"][:].tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(DataError, match="'captions' version 1, not 'labels'"):
        open_prepared(path, "labels")


def test_a_file_left_half_written_never_takes_its_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), PreparedWriter(tmp_path / "x.h5", "captions") as writer:
        writer.add_pictures([b"abc"], ["one"], "train")
        raise RuntimeError
    assert not (tmp_path / "x.h5").exists()


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(DataError, match="not a readable HDF5"):
        open_prepared(tmp_path / "x.h5", "captions")
    with pytest.raises(DataError, match="not found"):
        open_prepared(tmp_path / "y.h5", "captions")


def test_captions_vocabulary_comes_from_the_training_split_alone(tmp_path: Path, space: PhraseSpace) -> None:
    photos = read_flickr8k(flickr8k(tmp_path / "f"))
    report = prepare_captions(photos, tmp_path / "c.h5", space, min_word_freq=2, max_len=10)
    assert (report.pictures, report.captions, report.skipped) == (18, 36, [])
    with open_prepared(tmp_path / "c.h5", "captions") as file:
        words = json.loads(file.attrs["vocabulary"])
        assert "train" in words
        assert not {"dev", "test"} & set(words)
        first = file["captions/ids"][0]
        assert [words[i - 4] for i in first[1:4]] == ["a", "red", "dog"]
        assert (first[0], first[4]) == (START, END)
        assert file["captions/length"][0] == 5
        assert file["captions/picture"][:4].tolist() == [0, 0, 1, 1]
        target = space.vector(["a", "red", "dog"])
        assert np.abs(file["captions/vector"][0].astype(np.float32) - target).max() < 1e-3


def test_a_broken_picture_takes_its_captions_with_it_and_shifts_nothing(tmp_path: Path, space: PhraseSpace) -> None:
    folder = flickr8k(tmp_path / "f")
    (folder / "images" / "train1.jpg").write_bytes(b"no picture")
    report = prepare_captions(read_flickr8k(folder), tmp_path / "c.h5", space, min_word_freq=1)
    assert [Path(p).name for p, _ in report.skipped] == ["train1.jpg"]
    with open_prepared(tmp_path / "c.h5", "captions") as file:
        names = file["pictures/name"].asstr()[:]
        assert "train1.jpg" not in names
        texts, owner = file["captions/text"].asstr()[:], file["captions/picture"][:]
        for text, row in zip(texts, owner, strict=True):
            colour = next(c for c in COLOURS if c in text)
            with Image.open(io.BytesIO(read_encoded(file)[row])) as picture:
                pixel = np.asarray(picture).mean((0, 1))
            assert int(pixel.argmax()) == list(COLOURS).index(colour)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "Flickr8k.token.txt").unlink(), "cannot read"),
        (lambda f: (f / "Flickr8k.token.txt").write_text("nothing here\n"), "line 1"),
        (lambda f: (f / "Flickr_8k.devImages.txt").write_text("lost.jpg\n"), "lost.jpg of the dev list"),
    ],
)
def test_a_damaged_data_set_is_named(tmp_path: Path, break_it, message: str) -> None:  # type: ignore[no-untyped-def]
    folder = flickr8k(tmp_path / "f")
    break_it(folder)
    with pytest.raises(DataError, match=message):
        read_flickr8k(folder)


def test_labels_keep_their_pictures_and_average_their_lemmas(tmp_path: Path, space: PhraseSpace) -> None:
    shards = read_tiny_imagenet(tiny_imagenet(tmp_path / "t", per_class=3))
    assert prepare_labels(shards, tmp_path / "l.h5", space).pictures == 3 * 3 * 2 + 6
    assert prepare_labels(shards, tmp_path / "few.h5", space, per_class=4).pictures == 3 * 4 + 6
    with open_prepared(tmp_path / "l.h5", "labels") as file:
        labels = file["labels/class"][:]
        for row, label in zip(read_encoded(file), labels, strict=True):
            with Image.open(io.BytesIO(row)) as picture:
                assert int(np.asarray(picture.convert("RGB")).mean((0, 1)).argmax()) == label
        vectors = file["labels/vector"][:]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    mean = space.vector(["dog"]) + space.vector(["red", "dog"])
    assert vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_class_without_a_word_is_named(space: PhraseSpace) -> None:
    with pytest.raises(DataError, match="n1 has no word"):
        class_vectors([("n1", ["?"])], space)


def test_distil_pairs_every_view_with_its_own_answer(tmp_path: Path) -> None:
    photos = [p.path for p in read_flickr8k(flickr8k(tmp_path / "f"))][:3]
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    photos.insert(1, tmp_path / "broken.jpg")  # left out; shifts nothing
    shards = read_tiny_imagenet(tiny_imagenet(tmp_path / "t", per_class=2))
    prepare_distil(tmp_path / "d.h5", photos, shards.train, shards.classes, teacher(tmp_path / "teacher"), crops=2)
    with open_prepared(tmp_path / "d.h5", "distil") as file:
        encoded, pool, labels = read_encoded(file), file["teacher/pool"][:], file["labels/class"][:]
    assert len(encoded) == len(pool) == len(labels) == 12 + 9
    assert (labels[-9:] == -1).all() and (labels[:-9] >= 0).all()
    for piece, answer in zip(encoded, pool, strict=True):
        with Image.open(io.BytesIO(piece)) as picture:
            colour = np.asarray(picture.convert("RGB")).mean((0, 1)) / 255
        assert answer.reshape(3, 4).mean(1) == pytest.approx(colour, abs=0.02)  # the teacher's pool is the mean colour


def test_distil_without_a_readable_picture_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    network = teacher(tmp_path / "teacher")
    for photos, message in (([], "neither a photo"), ([tmp_path / "broken.jpg"], "can be read")):
        with pytest.raises(DataError, match=message):
            prepare_distil(tmp_path / "d.h5", photos, [], [], network)
    assert not (tmp_path / "d.h5").exists()


def test_turned_photos_are_cut_upright(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 255  # stored with white on the right; orientation 6 turns that to the bottom
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    whole = cut((cut_views(tmp_path / "turned.jpg", 0, 40, seed=0)[0]).encoded, 40, 1)[0]
    assert whole[:15].mean() < 20 and whole[25:].mean() > 235


def test_views_are_repeatable_and_crops_lie_within(tmp_path: Path) -> None:
    path = read_flickr8k(flickr8k(tmp_path / "f"))[0].path
    assert cut_views(path, 3, 32, seed=1) == cut_views(path, 3, 32, seed=1)
    assert cut_views(path, 3, 32, seed=1) != cut_views(path, 3, 32, seed=2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = crop_box(30, 17, rng)
        assert 0 <= left < right <= 30 and 0 <= top < bottom <= 17


def test_features_match_the_encoder_row_by_row_and_other_encoders_are_refused(
    tmp_path: Path, space: PhraseSpace
) -> None:
    prepare_captions(read_flickr8k(flickr8k(tmp_path / "f", 3)), tmp_path / "c.h5", space, min_word_freq=1)
    torch.manual_seed(0)
    encoder, preprocess = Encoder(EncoderConfig("resnet18")).eval(), PreprocessConfig(side=32)
    network = encoder_network(encoder, preprocess, torch.device("cpu"))
    write_features(network, tmp_path / "c.h5", tmp_path / "f.h5", torch.device("cpu"), views=2, batch=6)
    with h5py.File(tmp_path / "c.h5") as file:
        names, encoded = file["pictures/name"][:], read_encoded(file)
    key = key_of(encoder, preprocess)
    found = read_features(tmp_path / "f.h5", names[::-1], key)
    assert found.grid is not None and found.pool.shape == (9, 2, 512) and found.grid.shape == (9, 2, 1, 512)
    from vsearch.image.pixels import normalise

    for row in (0, 8):  # features of the reversed names, against the encoder on that one picture
        pixels = torch.from_numpy(cut(encoded[8 - row], 32, 2))
        with torch.inference_mode():
            pool = encoder(normalise(pixels, preprocess))[1].numpy()
        cosine = (
            (pool * found.pool[row]).sum(1) / np.linalg.norm(pool, axis=1) / np.linalg.norm(found.pool[row], axis=1)
        )
        assert (cosine > 0.999).all()
    with pytest.raises(DataError, match="another encoder"):
        read_features(tmp_path / "f.h5", names, key_of(encoder, PreprocessConfig(side=48)))
    with pytest.raises(DataError, match=r"lacks 1 pictures, other\.jpg"):
        read_features(tmp_path / "f.h5", np.array([b"other.jpg"], object))


def test_features_of_a_teacher(tmp_path: Path, space: PhraseSpace) -> None:
    prepare_captions(read_flickr8k(flickr8k(tmp_path / "f", 3)), tmp_path / "c.h5", space, min_word_freq=1)
    network = teacher_network(teacher(tmp_path / "t"), torch.device("cpu"))
    write_features(network, tmp_path / "c.h5", tmp_path / "f.h5", torch.device("cpu"), grid=False, views=2)
    with h5py.File(tmp_path / "c.h5") as file:
        names, encoded = file["pictures/name"][:], read_encoded(file)
    found = read_features(tmp_path / "f.h5", names)
    assert found.pool.shape == (9, 2, 12) and found.grid is None and found.key == network.key
    pixels = cut(encoded[4], 224, 1)[0].astype(np.float32)  # its pool is the mean colour of each quarter, over 255
    quarters = [pixels[:112, :112], pixels[:112, 112:], pixels[112:, :112], pixels[112:, 112:]]
    expected = np.stack([q.mean((0, 1)) for q in quarters], 1).reshape(-1) / 255
    np.testing.assert_allclose(found.pool[4, 0], expected, atol=5e-3)
    (tmp_path / "t" / "teacher.py").write_text((tmp_path / "t" / "teacher.py").read_text() + "# changed\n")
    changed = teacher_network(tmp_path / "t", torch.device("cpu"))
    with pytest.raises(DataError, match="another encoder"):
        read_features(tmp_path / "f.h5", names, changed.key)


def test_mirrored_view_is_the_mirror_image() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)).save(buffer, "PNG")
    views = cut(buffer.getvalue(), 20, 6)
    assert views.shape == (6, 20, 20, 3)
    assert (views[1] == views[0][:, ::-1]).all()
    assert len({v.tobytes() for v in views}) == 6
