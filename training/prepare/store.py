"""The prepared file: one HDF5 file holding everything a training needs.

Layout (I pictures, M captions, L caption length with start and end, D word-vector size):

    attrs: kind ("distil" | "labels" | "captions"), version, and JSON texts
    pictures/bytes    (total,) uint8   encoded pictures (JPEG, PNG, WebP) end to end
    pictures/offsets  (I + 1,) int64   picture i is bytes[offsets[i]:offsets[i + 1]]
    pictures/name     (I,) str
    pictures/split    (I,) uint8       index into SPLITS
    labels/class      (I,) int16       -1: none
    teacher/pool      (I, C) float16   teacher/logits (I, K) float16
    captions/picture  (M,) int32       row of the picture
    captions/ids      (M, L) int32     <start> w1 ... wn <end> <pad> ...
    captions/length   (M,) int32       n + 2
    captions/text     (M,) str
    captions/vector   (M, D) float16   unit phrase vectors
    vocabulary/vector (V, D) float16   unit word vectors by id, zero for the specials
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import DataError

if TYPE_CHECKING:
    import h5py

SPLITS = ("train", "dev", "test")
VERSION = 1


class PreparedWriter:
    """Writes a prepared file under a temporary name; it takes its real name only when complete."""

    def __init__(self, path: Path, kind: str, **attrs: str | int | float) -> None:
        import h5py

        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._h5 = h5py.File(self._partial, "w")
        self._h5.attrs.update({"kind": kind, "version": VERSION, **attrs})
        group = self._h5.create_group("pictures")
        self._bytes = group.create_dataset("bytes", (0,), "u1", maxshape=(None,), chunks=(1 << 20,))
        self._offsets = [0]
        self._names: list[str] = []
        self._splits: list[int] = []

    def add_pictures(self, encoded: Iterable[bytes], names: Iterable[str], split: str) -> None:
        """Append encoded pictures in order; their rows follow those already added."""
        pieces = list(encoded)
        flat = np.frombuffer(b"".join(pieces), np.uint8)
        start = self._offsets[-1]
        self._bytes.resize((start + len(flat),))
        self._bytes[start:] = flat
        for piece in pieces:
            self._offsets.append(self._offsets[-1] + len(piece))
        self._names += names
        self._splits += [SPLITS.index(split)] * len(pieces)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to the data set `name`, which is made on first use."""
        if name not in self._h5:
            shape, chunk = rows.shape[1:], max(1, (1 << 18) // max(1, rows[:1].nbytes))
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

    @property
    def picture_count(self) -> int:
        return len(self._names)

    def __enter__(self) -> PreparedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._h5["pictures/offsets"] = np.asarray(self._offsets, np.int64)
            self._h5["pictures/name"] = self._names
            self._h5["pictures/split"] = np.asarray(self._splits, np.uint8)
        self._h5.close()
        if kind is None:
            os.replace(self._partial, self.path)


def open_prepared(path: Path, kind: str) -> h5py.File:
    """Open a prepared file for reading and check what it is.

    Raises DataError where the file is missing, is not HDF5, or is of another kind or version.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"prepared file not found: {path}", "make it with `vsearch prepare`")
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


def read_encoded(file: h5py.File) -> list[bytes]:
    """All encoded pictures of a prepared file, in row order."""
    offsets = file["pictures/offsets"][:]
    flat = file["pictures/bytes"][:].tobytes()
    return [flat[a:b] for a, b in pairwise(offsets)]
