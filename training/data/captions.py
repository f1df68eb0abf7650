"""Caption sets: photos with captions become one HDF5 file of pictures, token ids, and phrase vectors.

Shapes: I pictures, M captions, L longest caption with start and end, D word-vector size, S side of a raw picture.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.pictures import encode_picture, in_order, raw_picture
from training.data.prepared import SPLITS, PreparedWriter
from training.data.spool import Spool
from training.data.texts import Told, apart, tokenised, write_texts
from training.data.word_table import write_words
from vsearch.errors import DataError, PictureError, QueryError
from vsearch.progress import Progress
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.text.vocab import Vocabulary

Target = tuple[list[str], NDArray[np.float32]]  # a tokenised caption and its phrase vector (D,)
AT_ONCE = 64  # pictures written in one go


@dataclass(frozen=True)
class Photo:
    """One photo of a caption set."""

    path: Path
    split: str
    captions: list[str]
    guessed: bool = False  # by a model


@dataclass
class Prepared:
    """What became of a caption set: pictures and captions written, vocabulary size, what was skipped and the reason;
    how many pictures a run that was stopped had left ready, and captions without photos written."""

    pictures: int = 0
    captions: int = 0
    vocabulary: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    resumed: int = 0
    texts: int = 0


def read_flickr8k(folder: Path, images: Path | None = None) -> list[Photo]:
    """Read the 8,000 photos of Flickr8k's split lists, in the order train, dev, test.

    `folder` holds `Flickr8k.token.txt` (name#i TAB caption), `Flickr_8k.{train,dev,test}Images.txt` and `images/`,
    where the photos are not in a folder of their own.
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
            photos.append(Photo((images or folder / "images") / name, split, captions[name]))
    return photos


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the data set's folder") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", "check the data set's folder") from error


def prepare_captions(
    photos: list[Photo], output: Path, space: PhraseSpace, min_word_freq: int = 5, max_len: int = 50, side: int = 256,
    progress: Progress | None = None, captions_per_image: int | None = None, raw: bool = False,
    texts: Sequence[Told] = (),
) -> Prepared:  # fmt: skip
    """Write a prepared file of kind "captions". The vocabulary is counted on the training split, and on `texts`.

    Pictures are stored encoded (`pictures.encode_picture`) or, `raw`, as pixels (3, S, S) of S = `side`.
    captions_per_image: so many of each photo, drawn as by the "Show, Attend and Tell" tutorial (more are sampled down,
    fewer are repeated); None keeps all as they are. The draw depends only on the photo's name.
    texts: captions without photos, written too (`training.data.texts`) except those of one of the `photos`, whatever
    its split, and those longer than `max_len`.
    Photos whose captions a model guessed are marked as such; their words do not count for the vocabulary.
    A picture that cannot be read is left out with its captions, and a caption without any vector; both are named in the
    result. A run that was killed continues: what was made ready lies in OUTPUT.pictures.partial.
    Raises DataError if a photo is there twice, or no training caption with a readable picture is left.
    """
    names = _names(photos)
    spool = Spool(output.with_name(output.name + ".pictures.partial"), _fingerprint(photos, side, raw))
    with closing(spool):
        report = Prepared(resumed=spool.count)
        _make_ready(photos, spool, partial(raw_picture if raw else encode_picture, side=side), progress)
        readable = (p for i, p in enumerate(photos) if i not in spool.reasons)
        train = [tokenise(c) for p in readable if p.split == "train" and not p.guessed for c in p.captions]
        if not train:
            raise DataError("not one training caption with a readable picture", "check the data set's folder")
        known = [name for photo, name in zip(photos, names, strict=True) if not photo.guessed]
        told = tokenised(apart(texts, known), max_len)
        vocabulary = Vocabulary.count([*train, *(words for own in told for words in own)], min_word_freq)
        report.vocabulary = len(vocabulary)
        with PreparedWriter(output, "captions", vocabulary=json.dumps(vocabulary.words), max_len=max_len) as writer:
            rows = _Captions(writer, vocabulary, max_len, space)
            for chunk in _chunks(zip(photos, names, spool, strict=True)):
                _write_chunk(chunk, writer, rows, space, captions_per_image, side if raw else None, report)
            lines = write_texts(writer, told, vocabulary, space) if texts else []
            rows.finish(lines)
            report.texts = len(lines)
            report.pictures, report.captions = writer.picture_count, len(rows.texts)
    spool.remove()
    return report


def _names(photos: list[Photo]) -> list[str]:
    """Return a name for each photo: its file's, with the folder before it where two files are called the same."""
    count = Counter(p.path.name for p in photos)
    names = [p.path.name if count[p.path.name] == 1 else f"{p.path.parent.name}/{p.path.name}" for p in photos]
    doubled = [name for name, n in Counter(names).items() if n > 1]
    if doubled:
        raise DataError(f"{doubled[0]} is twice among the photos", "name every photo once")
    return names


def _fingerprint(photos: list[Photo], side: int, raw: bool) -> bytes:
    """Return a hash that changes when another picture, or another form of one, is to be stored."""
    digest = hashlib.sha256(repr((1, side, raw)).encode())
    for photo in photos:
        try:
            found = photo.path.stat()
            state = (found.st_size, found.st_mtime_ns)
        except OSError:
            state = None
        digest.update(repr((str(photo.path.absolute()), state)).encode("utf-8", "backslashreplace"))
    return digest.digest()


def _make_ready(photos: list[Photo], spool: Spool, ready: Callable[[Path], bytes], progress: Progress | None) -> None:
    """Append to the spool what it lacks."""
    paths = [photo.path for photo in photos[spool.count :]]
    for _, content in in_order(ready, paths):
        spool.add(content)
        if progress:
            progress(spool.count, len(photos))


_Ready = tuple[Photo, str, bytes | PictureError]


def _chunks(items: Iterator[_Ready]) -> Iterator[list[_Ready]]:
    while chunk := list(islice(items, AT_ONCE)):
        yield chunk


def _write_chunk(
    chunk: list[_Ready], writer: PreparedWriter, rows: _Captions, space: PhraseSpace, captions_per_image: int | None,
    raw_side: int | None, report: Prepared,
) -> None:  # fmt: skip
    kept: list[tuple[str, str, bytes]] = []
    guessed: list[bool] = []
    for photo, name, content in chunk:
        if isinstance(content, PictureError):
            report.skipped.append((str(photo.path), str(content)))
            continue
        targets = list(_targets(photo, space, report))
        if not targets:
            report.skipped.append((str(photo.path), "no caption is left"))
            continue
        rows.add(writer.picture_count + len(kept), sample_captions(targets, captions_per_image, name))
        kept.append((photo.split, name, content))
        guessed.append(photo.guessed)
    writer.append("pictures/guessed", np.asarray(guessed, np.uint8))
    for split, group in groupby(kept, key=lambda row: row[0]):
        _, names, contents = zip(*group, strict=True)
        if raw_side is None:
            writer.add_pictures(contents, names, split)
        else:
            pixels = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 3, raw_side, raw_side)  # (n, 3, S, S)
            writer.add_raw(pixels, names, split)


def _targets(photo: Photo, space: PhraseSpace, report: Prepared) -> Iterator[Target]:
    """Yield the tokenised captions with their phrase vectors; one without any is named in the report."""
    for caption in photo.captions:
        tokens = tokenise(caption)
        try:
            yield tokens, space.vector(tokens)
        except QueryError:
            report.skipped.append((str(photo.path), f"the caption {caption!r} has no vector"))


def sample_captions(captions: Sequence[Target], count: int | None, name: str) -> list[Target]:
    """Draw `count` of a photo's captions, in their order; where it has fewer, all of them and some again; None: all."""
    if count is None:
        return list(captions)
    rng = np.random.default_rng(list(name.encode("utf-8", "replace")))
    if len(captions) >= count:
        return [captions[i] for i in sorted(rng.permutation(len(captions))[:count])]
    return [*captions, *(captions[i] for i in rng.integers(len(captions), size=count - len(captions)))]


class _Captions:
    """The rows of `captions/`, written as they come as far as they are large."""

    def __init__(self, writer: PreparedWriter, vocabulary: Vocabulary, max_len: int, space: PhraseSpace) -> None:
        self.writer, self.vocabulary, self.max_len, self.space = writer, vocabulary, max_len, space
        self.ids: list[NDArray[np.int32]] = []
        self.texts: list[str] = []
        self.owners: list[int] = []

    def add(self, picture: int, captions: list[Target]) -> None:
        self.ids += [np.asarray(self.vocabulary.encode(tokens, self.max_len), np.int32) for tokens, _ in captions]
        self.texts += [" ".join(tokens) for tokens, _ in captions]
        self.owners += [picture] * len(captions)
        self.writer.append("captions/vector", np.asarray([vector for _, vector in captions], np.float16))

    def finish(self, texts: Sequence[str] = ()) -> None:
        """Write the last rows, and the words of all captions and of `texts`. Raises DataError if there is no
        caption."""
        if not self.ids:
            raise DataError("not one caption with a readable picture", "check the data set's folder")
        table = np.zeros((len(self.ids), max(map(len, self.ids))), np.int32)  # (M, L)
        for row, caption in zip(table, self.ids, strict=True):
            row[: len(caption)] = caption
        self.writer.write("captions/ids", table)
        self.writer.write("captions/length", np.asarray([len(c) for c in self.ids], np.int32))
        self.writer.write("captions/picture", np.asarray(self.owners, np.int32))
        self.writer.write("captions/text", self.texts)
        write_words(self.writer, [*self.texts, *texts], self.space)
