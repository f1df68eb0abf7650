"""Caption sets: photos with captions become one HDF5 file of pictures, token ids, and phrase vectors.

Shapes: I pictures, M captions, L longest caption with start and end, D word-vector size.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.prepare.store import SPLITS, PreparedWriter
from vsearch.errors import DataError, PictureError
from vsearch.image.decode import decode
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.text.vocab import Vocabulary

Progress = Callable[[int, int], None]
KEEP_BYTES_BELOW = 256  # a JPEG no larger than this is stored as it is


@dataclass(frozen=True)
class Photo:
    """One photo of a caption set."""

    path: Path
    split: str
    captions: list[str]


@dataclass
class Prepared:
    """What became of a caption set: pictures and captions written, vocabulary size, skipped files with the reason."""

    pictures: int = 0
    captions: int = 0
    vocabulary: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def read_flickr8k(folder: Path) -> list[Photo]:
    """The 8,000 photos of Flickr8k's split lists, in the order train, dev, test.

    `folder` holds `Flickr8k.token.txt` (name#i TAB caption), `Flickr_8k.{train,dev,test}Images.txt` and `images/`.
    Raises DataError naming the file that is missing or the line that does not fit.
    """
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(folder / "Flickr8k.token.txt"), 1):
        name, tab, caption = line.partition("\t")
        if not tab or "#" not in name:
            raise DataError(f"{folder / 'Flickr8k.token.txt'}, line {number}: not 'name#i TAB caption'")
        captions.setdefault(name.rpartition("#")[0], []).append(caption)
    photos = []
    for split in SPLITS:
        for name in _lines(folder / f"Flickr_8k.{split}Images.txt"):
            if name not in captions:
                raise DataError(f"{name} of the {split} list has no caption in {folder / 'Flickr8k.token.txt'}")
            photos.append(Photo(folder / "images" / name, split, captions[name]))
    return photos


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the data set's folder") from error


def prepare_captions(
    photos: list[Photo], output: Path, space: PhraseSpace, min_word_freq: int = 5, max_len: int = 50, side: int = 256,
    progress: Progress | None = None,
) -> Prepared:  # fmt: skip
    """Write a prepared file of kind "captions". The vocabulary is counted on the training split alone.

    A picture that cannot be read is left out with its captions and named in the result.
    """
    tokens = [[tokenise(c) for c in p.captions] for p in photos]
    train = [t for p, group in zip(photos, tokens, strict=True) if p.split == "train" for t in group]
    vocabulary = Vocabulary.count(train, min_word_freq)
    report = Prepared(vocabulary=len(vocabulary))
    ids: list[list[int]] = []
    texts: list[str] = []
    owners: list[int] = []
    with PreparedWriter(output, "captions", vocabulary=json.dumps(vocabulary.words), max_len=max_len) as writer:
        for photo, group, encoded in zip(photos, tokens, _encode_all(photos, side), strict=True):
            if isinstance(encoded, PictureError):
                report.skipped.append((str(photo.path), str(encoded)))
                continue
            owners += [writer.picture_count] * len(group)
            writer.add_pictures([encoded], [photo.path.name], photo.split)
            ids += [vocabulary.encode(t, max_len) for t in group]
            texts += [" ".join(t) for t in group]
            if progress and writer.picture_count % 50 == 0:
                progress(writer.picture_count, len(photos))
        _write_captions(writer, ids, texts, owners, space, vocabulary)
        report.pictures, report.captions = writer.picture_count, len(ids)
    return report


def _write_captions(
    writer: PreparedWriter, ids: list[list[int]], texts: list[str], owners: list[int], space: PhraseSpace,
    vocabulary: Vocabulary,
) -> None:  # fmt: skip
    if not ids:
        raise DataError("not one caption with a readable picture", "check the data set's folder")
    table = np.zeros((len(ids), max(map(len, ids))), np.int32)
    for row, caption in zip(table, ids, strict=True):
        row[: len(caption)] = caption
    writer.write("captions/ids", table)
    writer.write("captions/length", np.asarray([len(c) for c in ids], np.int32))
    writer.write("captions/picture", np.asarray(owners, np.int32))
    writer.write("captions/text", texts)
    writer.write("captions/vector", space.vectors_of(t.split() for t in texts).astype(np.float16))
    words = [space.vectors.unit(word) for word in vocabulary.words]
    specials = [np.zeros(space.vectors.dim, np.float32)] * (len(vocabulary) - len(words))
    writer.write("vocabulary/vector", np.asarray([*specials, *words], np.float16))


def _encode_all(photos: list[Photo], side: int) -> Iterator[bytes | PictureError]:
    def encode(photo: Photo) -> bytes | PictureError:
        try:
            return encode_picture(photo.path, side)
        except PictureError as error:
            return error

    with ThreadPoolExecutor() as pool:
        yield from pool.map(encode, photos)


def encode_picture(path: Path, side: int) -> bytes:
    """The picture as JPEG bytes, squashed to side x side; a small upright RGB JPEG is taken as it is."""
    picture = decode(path, at_least=side)
    if max(picture.size) <= KEEP_BYTES_BELOW and path.suffix.lower() in {".jpg", ".jpeg"}:
        return path.read_bytes()
    buffer = io.BytesIO()
    picture.resize((side, side)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
