"""The prepared file: one HDF5 file holding everything a training needs.

Layout (I pictures, M captions, L caption length with start and end, D word-vector size, S side of a raw picture):

    attrs: kind ("distil" | "labels" | "captions" | "pairs"), version, and JSON texts
    pictures/bytes    (total,) uint8   encoded pictures (JPEG, PNG, WebP) end to end
    pictures/offsets  (I + 1,) int64   picture i is bytes[offsets[i]:offsets[i + 1]]
    pictures/raw      (I, 3, S, S) uint8   in place of the two: pictures that are not encoded
    pictures/name     (I,) str
    pictures/split    (I,) uint8       index into SPLITS
    pictures/guessed  (I,) uint8       of captions: 1 where a model wrote them
    labels/class      (I,) int16       -1: none
    labels/vector     (K, D) float32   unit vectors of the classes
    teacher/pool      (I, C) float16   teacher/logits (I, K) float16
    captions/picture  (M,) int32       row of the picture
    captions/ids      (M, L) int32     <start> w1 ... wn <end> <pad> ...
    captions/length   (M,) int32       n + 2
    captions/text     (M,) str
    captions/vector   (M, D) float16   unit phrase vectors
    texts/...                          captions without photos, see `training.data.texts`
    words/...                          the words of the captions, see `training.data.word_table`
    pairs/...                          sentences in two languages, see `training.data.pairs`
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vsearch.errors import DataError
from vsearch.files import replacing
from vsearch.image.decode import decode_bytes
from vsearch.image.pixels import to_pixels

if TYPE_CHECKING:
    import h5py

SPLITS = ("train", "dev", "test")
VERSION = 1
Stored = bytes | NDArray[np.uint8]  # an encoded picture, or a raw one (3, S, S)


class PreparedWriter:
    """Writes a prepared file under a temporary name; it takes its real name only when complete.

    What is added goes to the disk at once: memory does not grow with the number of pictures.
    """

    def __init__(self, path: Path, kind: str, **attrs: str | int | float) -> None:
        import h5py

        self.path = path
        self.picture_count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._h5 = h5py.File(self._stack.enter_context(replacing(path)), "w")
        self._h5.attrs.update({"kind": kind, "version": VERSION, **attrs})
        group = self._h5.create_group("pictures")
        group.create_dataset("name", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(1 << 12,))

    def add_pictures(self, encoded: Iterable[bytes], names: Iterable[str], split: str) -> None:
        """Append encoded pictures in order; their rows follow those already added."""
        pieces = list(encoded)
        self._start_bytes()
        ends = self._h5["pictures/bytes"].shape[0] + np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        self.append("pictures/bytes", np.frombuffer(b"".join(pieces), np.uint8))
        self.append("pictures/offsets", ends)
        self._add_names(list(names), split)

    def add_raw(self, pixels: NDArray[np.uint8], names: Iterable[str], split: str) -> None:
        """Append raw pictures (n, 3, S, S) in order. A file holds either these or encoded ones."""
        self.append("pictures/raw", pixels)
        self._add_names(list(names), split)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to the data set `name`, which is made on first use."""
        if name not in self._h5:
            size = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
            shape, chunk = rows.shape[1:], max(1, (1 << 18) // max(1, size))
            self._h5.create_dataset(name, (0, *shape), rows.dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
        data = self._h5[name]
        start = len(data)
        data.resize(start + len(rows), axis=0)
        data[start:] = rows

    def write(self, name: str, value: Any) -> None:
        """Write a whole data set at once; lists of str become UTF-8 strings."""
        self._h5[name] = value

    def attr(self, name: str, value: str | int | float) -> None:
        self._h5.attrs[name] = value

    def _start_bytes(self) -> None:
        if "pictures/offsets" not in self._h5:
            self.append("pictures/bytes", np.zeros(0, np.uint8))
            self.append("pictures/offsets", np.zeros(1, np.int64))

    def _add_names(self, names: list[str], split: str) -> None:
        if names:  # as UTF-8, also where a file's name is none
            safe = [name.encode("utf-8", "backslashreplace").decode() for name in names]
            self.append("pictures/name", np.array(safe, object))
        self.append("pictures/split", np.full(len(names), SPLITS.index(split), np.uint8))
        self.picture_count += len(names)

    def __enter__(self) -> PreparedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._h5.close()
        self._stack.__exit__(kind, error, tb)


def open_prepared(path: Path, kind: str) -> h5py.File:
    """Open a prepared file for reading and check what it is.

    Raises DataError if the file is missing, is not HDF5, or is of another kind or version.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"prepared file not found: {path}", "make it with `training.data`")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file", "prepare it again") from error
    found = (file.attrs.get("kind"), int(file.attrs.get("version", 0)))
    if found != (kind, VERSION):
        file.close()
        raise DataError(
            f"{path} holds {found[0]!r} version {found[1]}, not {kind!r} version {VERSION}", "prepare it again"
        )
    return file


def read_stored(file: h5py.File, rows: Sequence[int]) -> list[Stored]:
    """Read the pictures of `rows` as they are stored; only they are read."""
    group = file["pictures"]
    if "raw" in group:
        return [group["raw"][int(row)] for row in rows]
    if not len(rows):
        return []
    first, last = min(rows), max(rows)
    offsets = group["offsets"][first : last + 2]
    return [group["bytes"][offsets[r - first] : offsets[r - first + 1]].tobytes() for r in rows]


def to_picture(stored: Stored) -> Image.Image:
    """Return the RGB picture, upright, at the size it is stored in."""
    return decode_bytes(stored) if isinstance(stored, bytes) else Image.fromarray(stored.transpose(1, 2, 0).copy())


def read_stored_pixels(file: h5py.File, rows: Sequence[int], side: int) -> NDArray[np.uint8]:
    """Read the pictures of `rows`, encoded or raw, squashed to a square: uint8 (n, S, S, 3), 0 to 255."""
    pixels = [to_pixels(to_picture(stored), side) for stored in read_stored(file, rows)]
    return np.stack(pixels) if pixels else np.zeros((0, side, side, 3), np.uint8)


def read_encoded(file: h5py.File) -> list[bytes]:
    """Read all pictures of a prepared file as encoded bytes, in row order; raw ones are encoded, without loss, as
    BMP."""
    stored = read_stored(file, range(len(file["pictures/split"])))
    return [piece if isinstance(piece, bytes) else _bmp(piece) for piece in stored]


def _bmp(raw: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    to_picture(raw).save(buffer, "BMP")
    return buffer.getvalue()
