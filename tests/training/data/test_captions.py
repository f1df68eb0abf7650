"""Caption sets of three kinds; runs that are killed; raw pictures; captions drawn per photo."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_model import model_folder, words_file
from tests.support.training_data import COLOURS, coco, draw, flickr8k, karpathy
from training.data import captions as module
from training.data.captions import Photo, prepare_captions, read_flickr8k, sample_captions
from training.data.features import encoder_network, read_features, write_features
from training.data.pictures import encode_picture, in_order
from training.data.prepared import open_prepared, read_encoded, read_stored_pixels
from training.data.sources.captions import read_captions
from training.data.sources.coco import read_coco
from training.data.sources.karpathy import read_karpathy
from training.data.spool import Spool
from training.evaluate import captions as evaluation
from vsearch.config import PreprocessConfig
from vsearch.errors import DataError, PictureError
from vsearch.image.decode import decode
from vsearch.image.pixels import to_pixels
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def space() -> PhraseSpace:
    return PhraseSpace.fit(WordVectors.load(words_file()), [["a", "dog"], ["the", "boat"]])


def read(path: Path) -> dict[str, Any]:
    """The whole file; pictures as pixels (I, 8, 8, 3)."""
    with open_prepared(path, "captions") as file:
        names = file["pictures/name"].asstr()[:].tolist()
        return {
            "names": names,
            "split": file["pictures/split"][:].tolist(),
            "pixels": read_stored_pixels(file, range(len(names)), 8),
            "owner": file["captions/picture"][:].tolist(),
            "texts": file["captions/text"].asstr()[:].tolist(),
            "ids": file["captions/ids"][:],
            "vectors": file["captions/vector"][:].astype(np.float32),
            "words": json.loads(file.attrs["vocabulary"]),
        }


def check_rows(found: dict[str, Any], space: PhraseSpace) -> None:
    """Every caption that names a colour belongs to a picture of it, and has its own phrase vector."""
    for text, owner, vector in zip(found["texts"], found["owner"], found["vectors"], strict=True):
        colour = next((k for k, c in enumerate(COLOURS) if c in text.split()), None)
        if colour is not None:
            assert int(found["pixels"][owner].mean((0, 1)).argmax()) == colour
        assert np.abs(vector - space.vector(text.split())).max() < 1e-3


def test_karpathy_splits_rows_and_vocabulary(tmp_path: Path, space: PhraseSpace) -> None:
    photos = read_captions(karpathy(tmp_path, 3))
    assert [p.split for p in photos] == ["dev", "train", "test", "train"] * 3
    report = prepare_captions(photos, tmp_path / "c.h5", space, min_word_freq=1)
    assert (report.pictures, report.captions, report.skipped) == (12, 24, [])
    found = read(tmp_path / "c.h5")
    assert found["split"] == [1, 0, 2, 0] * 3
    assert found["names"][:4] == ["val0.jpg", "restval0.jpg", "test0.jpg", "train0.jpg"]
    assert {"restval", "train"} < set(found["words"])
    assert not {"val", "test"} & set(found["words"])  # only words of the dev and test captions
    check_rows(found, space)


def test_coco_joins_a_file_for_each_split(tmp_path: Path, space: PhraseSpace) -> None:
    files = coco(tmp_path)
    assert read_captions(files["train"], dev=files["dev"], test=files["test"]) == read_coco(files)
    photos = read_coco(files)
    assert [p.split for p in photos] == ["train"] * 3 + ["dev"] * 3 + ["test"] * 3
    assert photos[4].path == tmp_path / "val" / "000107.jpg"
    assert photos[4].captions == ["a green boat dev"]
    report = prepare_captions(photos, tmp_path / "c.h5", space, min_word_freq=1)
    assert (report.pictures, report.captions, report.skipped) == (9, 9, [])
    found = read(tmp_path / "c.h5")
    assert "train" in found["words"]
    assert not {"dev", "test"} & set(found["words"])
    check_rows(found, space)


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    source = karpathy(tmp_path / "k")
    assert read_captions(source, tmp_path)[0].path == tmp_path / "val0.jpg"  # no folder pool/ there
    (tmp_path / "pool").mkdir()
    assert read_captions(source, tmp_path)[0].path == tmp_path / "pool" / "val0.jpg"
    folder = flickr8k(tmp_path / "f", 1)
    assert read_captions(folder, tmp_path)[0].path == tmp_path / "train0.jpg"
    assert read_captions(folder)[0].path == folder / "images" / "train0.jpg"
    files = coco(tmp_path / "c", 1)
    assert read_captions(files["train"], tmp_path)[0].path == tmp_path / "000000.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["images"][1].pop("filename"), r"images\[1\]: 'filename' is missing"),
        (lambda t: t["images"][2].update(split="dev"), r"images\[2\] \(test0.jpg\): unknown split 'dev'"),
        (lambda t: t["images"][0].update(sentences="A dog."), r"images\[0\]: 'sentences' is no list"),
        (lambda t: t["images"][3]["sentences"][1].clear(), r"images\[3\], sentences\[1\]: 'raw' is missing"),
        (lambda t: t["images"].__setitem__(2, "x"), r"images\[2\]: not a table"),
        (lambda t: t.pop("images"), "is no caption set"),
    ],
)
def test_a_karpathy_entry_that_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    source = karpathy(tmp_path)
    table = json.loads(source.read_text())
    change(table)
    source.write_text(json.dumps(table))
    with pytest.raises(DataError, match=message):
        read_captions(source)


def test_karpathy_without_raw_takes_the_tokens(tmp_path: Path) -> None:
    source = tmp_path / "d.json"
    sentence = {"tokens": ["a", "red", "dog"]}
    source.write_text(json.dumps({"images": [{"filename": "x.jpg", "split": "val", "sentences": [sentence]}]}))
    assert read_karpathy(source) == [Photo(tmp_path / "x.jpg", "dev", ["a red dog"])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["annotations"][1].pop("caption"), r"captions_val.json, annotations\[1\]: 'caption' is missing"),
        (lambda t: t["annotations"][0].update(image_id=5), r"annotations\[0\]: there is no image 5"),
        (lambda t: t["images"][1].update(id=100), r"images\[1\] \(000107.jpg\): the id 100 is there twice"),
        (lambda t: t["images"][1].update(id="107"), r"images\[1\]: 'id' is no int"),
        (lambda t: t.pop("annotations"), "captions_val.json: 'annotations' is missing"),
    ],
)
def test_a_coco_entry_that_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    files = coco(tmp_path)
    table = json.loads(files["dev"].read_text())
    change(table)
    files["dev"].write_text(json.dumps(table))
    with pytest.raises(DataError, match=message):
        read_coco(files)


def test_what_is_no_caption_set_is_refused(tmp_path: Path) -> None:
    for text, message in (("{", "x.json is not JSON"), ("[]", "is no caption set"), ("3", "is no caption set")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_captions(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot read"):
        read_captions(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="has its splits in itself"):
        read_captions(karpathy(tmp_path / "k"), dev=tmp_path / "x.json")


def test_a_photo_that_stands_twice_is_named_and_equal_file_names_are_told_apart(
    tmp_path: Path, space: PhraseSpace
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder / "x.jpg", "red")
    one, two = (Photo(tmp_path / folder / "x.jpg", "train", ["a red dog"]) for folder in "ab")
    prepare_captions([one, two], tmp_path / "c.h5", space, 1)
    assert read(tmp_path / "c.h5")["names"] == ["a/x.jpg", "b/x.jpg"]
    with pytest.raises(DataError, match=r"a/x.jpg is twice"):
        prepare_captions([one, two, one], tmp_path / "c.h5", space, 1)


def test_captions_without_a_vector_are_left_out_and_named(tmp_path: Path, space: PhraseSpace) -> None:
    draw(tmp_path / "x.jpg", "red")
    draw(tmp_path / "y.jpg", "green")
    draw(tmp_path / "z.jpg", "blue")
    photos = [
        Photo(tmp_path / "x.jpg", "train", ["...", "a red dog"]),
        Photo(tmp_path / "y.jpg", "train", ["?"]),
        Photo(tmp_path / "z.jpg", "train", ["a blue dog"]),
    ]
    report = prepare_captions(photos, tmp_path / "c.h5", space, 1)
    assert [(Path(p).name, reason) for p, reason in report.skipped] == [
        ("x.jpg", "the caption '...' has no vector"),
        ("y.jpg", "the caption '?' has no vector"),
        ("y.jpg", "no caption is left"),
    ]
    found = read(tmp_path / "c.h5")
    assert (found["names"], found["owner"]) == (["x.jpg", "z.jpg"], [0, 1])
    check_rows(found, space)


def test_nothing_to_train_on_is_an_error(tmp_path: Path, space: PhraseSpace) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    draw(tmp_path / "y.jpg", "red")
    photos = [Photo(tmp_path / "x.jpg", "train", ["a dog"]), Photo(tmp_path / "y.jpg", "dev", ["a dog"])]
    with pytest.raises(DataError, match="not one training caption"):
        prepare_captions(photos, tmp_path / "c.h5", space, 1)
    assert not (tmp_path / "c.h5").exists()


def test_words_of_a_broken_training_picture_are_not_counted(tmp_path: Path, space: PhraseSpace) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    draw(tmp_path / "y.jpg", "red")
    photos = [Photo(tmp_path / "x.jpg", "train", ["a boat"]), Photo(tmp_path / "y.jpg", "train", ["a dog"])]
    prepare_captions(photos, tmp_path / "c.h5", space, 1)
    assert set(read(tmp_path / "c.h5")["words"]) == {"a", "dog"}


def test_captions_per_image_samples_down_and_repeats(tmp_path: Path, space: PhraseSpace) -> None:
    photos = []
    for i, count in enumerate((1, 3, 6)):
        draw(tmp_path / f"{i}.jpg", list(COLOURS)[i])
        photos.append(Photo(tmp_path / f"{i}.jpg", "train", [f"dog {i} {k}" for k in range(count)]))
    report = prepare_captions(photos, tmp_path / "c.h5", space, 1, captions_per_image=3)
    found = read(tmp_path / "c.h5")
    assert (report.captions, found["owner"]) == (9, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    texts = found["texts"]
    assert texts[:3] == ["dog 0 0"] * 3
    assert texts[3:6] == ["dog 1 0", "dog 1 1", "dog 1 2"]
    assert len(set(texts[6:])) == 3
    assert set(texts[6:]) <= set(photos[2].captions)
    prepare_captions(photos[::-1], tmp_path / "again.h5", space, 1, captions_per_image=3)
    assert sorted(read(tmp_path / "again.h5")["texts"]) == sorted(texts)  # the draw depends only on the photo


def test_every_caption_is_drawn_for_some_photo() -> None:
    captions: list[Any] = [([str(k)], np.zeros(1, np.float32)) for k in range(7)]
    drawn = [sample_captions(captions, 5, f"photo{i}") for i in range(100)]
    assert {len(d) for d in drawn} == {5}
    counts = [sum(captions[k] in d for d in drawn) for k in range(7)]
    # Each is drawn with probability 5/7: 71 of 100 photos on average, with a deviation of 4.5; four of them either way.
    assert all(53 <= n <= 89 for n in counts)


# Raw pictures


def test_raw_pictures_are_the_squashed_pixels_and_every_reader_takes_them(tmp_path: Path, space: PhraseSpace) -> None:
    photos = read_flickr8k(flickr8k(tmp_path / "f", 3))
    prepare_captions(photos, tmp_path / "raw.h5", space, 1, side=24, raw=True)
    with open_prepared(tmp_path / "raw.h5", "captions") as file:
        raw = file["pictures/raw"][:]
        assert (raw.shape, raw.dtype) == ((9, 3, 24, 24), np.uint8)
        assert "bytes" not in file["pictures"]
        for row, photo in enumerate(photos):
            assert (raw[row].transpose(1, 2, 0) == to_pixels(decode(photo.path), 24)).all()
        assert (read_stored_pixels(file, [4, 1], 24) == raw[[4, 1]].transpose(0, 2, 3, 1)).all()
        assert read_stored_pixels(file, [4, 1], 16).shape == (2, 16, 16, 3)
        with Image.open(io.BytesIO(read_encoded(file)[7])) as picture:
            assert (np.asarray(picture) == raw[7].transpose(1, 2, 0)).all()
    check_rows(read(tmp_path / "raw.h5"), space)


def test_encoded_and_raw_pictures_give_the_same_pixels_features_and_vectors(tmp_path: Path, space: PhraseSpace) -> None:
    photos = read_flickr8k(flickr8k(tmp_path / "f", 2))
    for photo in photos:  # 64 x 64, so that neither form changes a pixel of what a network for that side sees
        Image.open(photo.path).resize((64, 64)).save(photo.path)
    prepare_captions(photos, tmp_path / "encoded.h5", space, 1, side=64)
    prepare_captions(photos, tmp_path / "raw.h5", space, 1, side=64, raw=True)
    model, preprocess = modelfolder.load_fast(model_folder(), "cpu"), PreprocessConfig(side=32)
    pools, vectors = [], []
    for form in ("encoded", "raw"):
        prepared, cached = tmp_path / f"{form}.h5", tmp_path / f"{form}-f.h5"
        network = encoder_network(model.joint.encoder, preprocess, torch.device("cpu"))
        write_features(network, prepared, cached, torch.device("cpu"))
        with open_prepared(prepared, "captions") as file:
            pools.append(read_features(cached, file["pictures/name"][:]).pool)
        split = evaluation.read_split(prepared, "test")
        vectors.append(evaluation.describe(model, split, batch=2)[0])
    assert vectors[0].shape[0] == 2
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert (pools[0] == pools[1]).all()
    assert np.ptp(pools[0], axis=0).max() > 0  # unlike pictures do not all look the same


def test_pictures_are_read_by_row_in_any_order(tmp_path: Path, space: PhraseSpace) -> None:
    photos = read_captions(karpathy(tmp_path, 3))
    prepare_captions(photos, tmp_path / "c.h5", space, 1)
    split = evaluation.read_split(tmp_path / "c.h5", "test")  # rows 2, 6 and 10: red, green, blue
    assert (split.names, split.rows) == (["test0.jpg", "test1.jpg", "test2.jpg"], [2, 6, 10])
    with open_prepared(split.file, "captions") as file:
        pixels = read_stored_pixels(file, split.rows[::-1], 8)
        assert read_stored_pixels(file, [], 8).shape == (0, 8, 8, 3)
    assert pixels.mean((1, 2)).argmax(1).tolist() == [2, 1, 0]


# Encoding


@pytest.mark.parametrize("size", [(600, 600), (1024, 1024), (300, 40), (257, 200)])
def test_large_pictures_are_squashed_also_where_decoding_shrinks_them(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (9, 200, 9)).save(tmp_path / "x.jpg")
    for side in (32, 144, 256):
        with Image.open(io.BytesIO(encode_picture(tmp_path / "x.jpg", side))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (side, side))


def test_small_pictures_are_kept_as_they_are(tmp_path: Path) -> None:
    for suffix, kept in ((".JPEG", True), (".png", True), (".webp", True), (".bmp", False)):
        path = tmp_path / f"x{suffix}"
        Image.new("RGB", (256, 30), (9, 200, 9)).save(path)
        assert (encode_picture(path, 64) == path.read_bytes()) is kept
        assert encode_picture(path.read_bytes(), 64) == encode_picture(path, 64)


def test_in_order_keeps_the_order_and_does_not_run_ahead() -> None:
    taken = []

    def items() -> Any:
        for i in range(500):
            taken.append(i)
            yield i

    def half(i: int) -> int:
        if i % 3 == 0:
            raise PictureError(str(i))
        return i // 2

    for i, (item, found) in enumerate(in_order(half, items())):
        assert item == i
        assert str(found) == str(i) if i % 3 == 0 else found == i // 2
        assert len(taken) <= i + 1 + 4 * 128
    assert len(taken) == 500
    first = next(in_order(half, iter(range(1, 10**9))))
    assert first == (1, 0)


# Runs that are stopped

KILLED = """
import os, signal, sys
from pathlib import Path
from training.data import spool
from training.data.captions import prepare_captions, read_flickr8k
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vectors import WordVectors

folder, words, output = map(Path, sys.argv[1:])
def progress(done, total):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
spool.EVERY = 3
space = PhraseSpace.fit(WordVectors.load(words), [["a", "dog"]])
prepare_captions(read_flickr8k(folder), output, space, 1, progress=progress)
"""


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded from now on."""
    seen: list[str] = []

    def counted(path: Path, side: int) -> bytes:
        seen.append(path.name)
        return encode_picture(path, side)

    monkeypatch.setattr(module, "encode_picture", counted)
    return seen


def stopped_at(number: int) -> Any:
    def progress(done: int, total: int) -> None:
        assert done <= total
        if done == number:
            raise KeyboardInterrupt

    return progress


def test_a_killed_run_continues(tmp_path: Path, space: PhraseSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = flickr8k(tmp_path / "f"), tmp_path / "c.h5"
    (folder / "images" / "train1.jpg").write_bytes(b"no picture")
    arguments = [str(folder), str(words_file()), str(output)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    seen = count_calls(monkeypatch)
    report = prepare_captions(read_flickr8k(folder), output, space, 1)
    assert report.resumed == 6
    assert len(seen) == 18 - report.resumed
    assert [Path(p).name for p, _ in report.skipped] == ["train1.jpg"]
    check_rows(read(output), space)
    prepare_captions(read_flickr8k(folder), tmp_path / "at-once.h5", space, 1)
    one, other = read(output), read(tmp_path / "at-once.h5")
    assert all(np.array_equal(one[key], other[key]) for key in one)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at-once.h5", "c.h5", "f"]  # nothing is left lying about


def test_a_stopped_run_decodes_nothing_twice_and_another_one_begins_anew(
    tmp_path: Path, space: PhraseSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, output = read_flickr8k(flickr8k(tmp_path / "f")), tmp_path / "c.h5"
    seen = count_calls(monkeypatch)

    def stop(photos: list[Photo], **options: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            prepare_captions(photos, output, space, 1, progress=stopped_at(10), **options)

    stop(photos)
    seen.clear()
    report = prepare_captions(photos, output, space, 1)
    assert (report.resumed, seen) == (10, [p.path.name for p in photos[10:]])
    assert prepare_captions(photos, output, space, 1).resumed == 0  # finished: the next run is a new one
    assert prepare_captions(photos, output, space, 1, side=32).resumed == 0
    for changed, options in (
        (photos, {"side": 128}),
        (photos, {"raw": True}),
        (photos[1:], {}),
        (photos[::-1], {}),
    ):
        stop(photos)
        assert prepare_captions(changed, output, space, 1, **options).resumed == 0
    stop(photos)
    draw(photos[0].path, "red", side=50)
    assert prepare_captions(photos, output, space, 1).resumed == 0
    check_rows(read(output), space)


def test_a_spool_keeps_what_was_committed_and_begins_again_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x"
    three: list[bytes | PictureError] = [b"abc", PictureError("no"), b"defg" * 5_000]

    def kept(work: bytes = b"work", more: Sequence[bytes | PictureError] = ()) -> list[str]:
        with closing(Spool(path, work)) as spool:
            for content in more:
                spool.add(content)
            found = list(spool)
            assert spool.count == len(found)
            assert spool.reasons == {i: str(c) for i, c in enumerate(found) if isinstance(c, PictureError)}
        return [str(c) for c in found]

    expected = [str(c) for c in three]
    assert kept(more=three) == expected
    assert kept() == expected
    whole = path.read_bytes()
    for cut in (1, 4, 5, 4096, len(whole) - 10):  # into the last picture, or all but the head of the file
        path.write_bytes(whole[:-cut])
        assert kept() == []
    path.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])  # a page of zeros, as a crash of the machine may leave
    assert kept() == []
    path.write_bytes(whole[:-1] + b"?")  # in a picture: SQLite itself would not see it
    assert kept() == []
    path.write_bytes(b"work\x01\x03" + bytes(200))  # what an earlier version left
    assert kept() == []
    path.write_bytes(whole)
    assert kept(more=[b"more"]) == [*expected, str(b"more")]
    assert kept() == [*expected, str(b"more")]
    assert kept(b"none") == []
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_spool_has_one_run_at_a_time(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "x", b"work")) as spool:
        spool.add(b"abc")
        with pytest.raises(DataError, match="another run writes"):
            Spool(tmp_path / "x", b"work")
        with pytest.raises(DataError, match="another run writes"):
            Spool(tmp_path / "x", b"other")
        assert list(spool) == [b"abc"]
    with closing(Spool(tmp_path / "x", b"work")) as again:
        assert again.count == 1
