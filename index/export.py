"""Write the vectors of a library as files that other programs read: NumPy, JSON Lines, Parquet.

Pictures stand in the order of their ids. Each file is written next to its place and moved there when it is complete.
D is the length of a vector, n the pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from index.database.database import Database
from index.database.read import Picture
from index.paths import neighbours, readable
from vsearch.distribution import install_hint
from vsearch.errors import LibraryError, VsearchError
from vsearch.files import replacing
from vsearch.outputs import check_output

_ROWS = 10_000  # held in memory at a time
_FACTS = {"id", "path", "caption", "hash", "mtime_ns", "size"}  # of a picture, in every format
_COLUMNS = ("id", "path", "path_bytes", "caption", "hash", "mtime_ns", "size")  # of a Parquet file, before the vector
_LONGEST_LINE = 1 << 20  # bytes


@dataclass(frozen=True)
class Exported:
    """What `export` wrote: the files, n and D."""

    files: tuple[Path, ...]
    count: int
    dim: int


@dataclass(frozen=True)
class Pictures:
    """What is exported: its name, n, D, and a function that yields pictures and their vectors (m, D)."""

    name: str
    count: int
    dim: int
    blocks: Callable[[], Iterator[tuple[list[Picture], NDArray[np.float32]]]]


def export(database: Database, file: Path, *, force: bool = False) -> Exported:
    """Write all vectors, float32 and of unit length, with their pictures, as the ending of `file` says.

    - `.npy`: the vectors (n, D); next to it, as NAME.rows.jsonl, the pictures in the same order.
    - `.jsonl`: an object a line, the vector in it. JSON holds a byte of a path that is no UTF-8 as `\\udcXX`:
      `os.fsencode(row["path"])` gives the path as it is on disk.
    - `.parquet`: a column each, `vector` a list of D; `path_bytes` is the path as it is on disk, `path` its readable
      form. Needs pyarrow.

    All files appear complete, or none does. An earlier export is replaced, any other file only by `force`; the library
    and what is next to it never. Raises VsearchError for another ending, without pyarrow, and where nothing can be
    written; LibraryError if the library holds no picture.
    """
    own = [database.path, *neighbours(database.path)]
    with database.snapshot():
        source = Pictures(str(database.path), database.read.count(), database.read.dim or 0, partial(_blocks, database))
        return write(source, file, own, force=force)


def write(pictures: Pictures, file: Path, own: Sequence[Path], *, force: bool = False) -> Exported:
    """Write pictures from wherever they are, as `export` does; `own` are files that are never replaced."""
    writers = {".npy": _npy, ".jsonl": _jsonl, ".parquet": _parquet}
    if file.suffix not in writers:
        raise VsearchError(f"cannot export to {file}", f"name it as one of {', '.join(writers)}")
    check_outputs(own, file, force=force)
    if not pictures.count:
        raise LibraryError("the library holds no picture", "fill it: `library.build([folder])`")
    try:
        files = writers[file.suffix](pictures, file)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise VsearchError(f"cannot write {file}: {reason}", "name another file, or free some space") from error
    return Exported(files, pictures.count, pictures.dim)


def check_outputs(own: Sequence[Path], file: Path, *, force: bool) -> None:
    """Raise VsearchError if an export to `file` would replace a library's `own` files, or one that no export made."""
    for one in [file, _rows_path(file)] if file.suffix == ".npy" else [file]:
        check_output(one, made=_is_export, inputs=own, force=force)


def _is_export(file: Path) -> bool:
    """Tell whether an earlier export made this file: by its columns, for an array by those of the file next to it."""
    if file.suffix == ".parquet":
        with contextlib.suppress(Exception):  # pyarrow, if it is there, raises nearly every kind of error
            from pyarrow import parquet

            return bool(parquet.read_schema(file).names == [*_COLUMNS, "vector"])
        return False
    try:
        if file.suffix == ".npy":
            with file.open("rb") as array:
                return np.lib.format.read_magic(array) == (1, 0) and _is_export(_rows_path(file))
        with file.open("rb") as lines:
            row = json.loads(lines.readline(_LONGEST_LINE))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and row.keys() - {"vector"} == _FACTS


def _rows_path(file: Path) -> Path:
    """Return where the pictures of an array of vectors stand."""
    return file.with_suffix(".rows.jsonl")


def _blocks(database: Database) -> Iterator[tuple[list[Picture], NDArray[np.float32]]]:
    """Yield pictures and their vectors (m, D), by id. A row without its partner is damage: LibraryError."""
    for ids, vectors in database.read.blocks(_ROWS):
        pictures = database.read.pictures(ids.tolist())
        if len(pictures) != len(ids):
            raise LibraryError(f"{database.path} has vectors without a picture", "`library.check()` tells more")
        yield [pictures[id_] for id_ in ids.tolist()], vectors


def _npy(pictures: Pictures, file: Path) -> tuple[Path, ...]:
    rows_file = _rows_path(file)
    with contextlib.ExitStack() as stack:  # left in the other order: the rows come last
        rows_path = stack.enter_context(replacing(rows_file, unique=True))
        vectors_path = stack.enter_context(replacing(file, unique=True))
        with rows_path.open("xb") as rows, vectors_path.open("xb") as out:
            header = {"descr": "<f4", "fortran_order": False, "shape": (pictures.count, pictures.dim)}
            np.lib.format.write_array_header_1_0(out, header)
            written = 0
            for part, vectors in pictures.blocks():
                out.write(vectors.astype("<f4").data)
                rows.writelines(_line(picture) for picture in part)
                written += len(part)
        _same_number(pictures, written)
        rows_file.unlink(missing_ok=True)  # rows of an older export never stand next to new vectors
    return file, rows_file


def _jsonl(pictures: Pictures, file: Path) -> tuple[Path, ...]:
    with replacing(file, unique=True) as fresh:
        with fresh.open("xb") as out:
            written = _write_lines(pictures, out)
        _same_number(pictures, written)
    return (file,)


def _write_lines(pictures: Pictures, out: BinaryIO) -> int:
    written = 0
    for part, vectors in pictures.blocks():
        for picture, vector in zip(part, vectors.tolist(), strict=True):
            out.write(_line(picture, [float(f"{number:.9g}") for number in vector]))  # nine digits hold a float32
        written += len(part)
    return written


def _line(picture: Picture, vector: list[float] | None = None) -> bytes:
    row = {**_facts(picture), "vector": vector} if vector is not None else _facts(picture)
    return json.dumps(row).encode("ascii") + b"\n"


def _facts(picture: Picture) -> dict[str, Any]:
    """Return size in bytes, time of the last change in nanoseconds since 1970, BLAKE2b-128 of the content in
    hexadecimal."""
    facts = {"id": picture.id, "path": picture.path, "caption": picture.caption, "hash": picture.hash.hex()}
    return {**facts, "mtime_ns": picture.mtime_ns, "size": picture.size}


def _parquet(pictures: Pictures, file: Path) -> tuple[Path, ...]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        remedy = f"install the extra: {install_hint('parquet')}; or export to .npy or .jsonl"
        raise VsearchError("writing Parquet needs pyarrow", remedy) from None
    dim = pictures.dim
    kinds = (pa.int64(), pa.string(), pa.binary(), pa.string(), pa.string(), pa.int64(), pa.int64())
    columns = list(zip(_COLUMNS, kinds, strict=True))
    schema = pa.schema([*columns, ("vector", pa.list_(pa.float32(), dim))])
    with replacing(file, unique=True) as fresh:
        written = 0
        with fresh.open("xb") as out, parquet.ParquetWriter(out, schema) as writer:
            for part, vectors in pictures.blocks():
                rows = [{**_facts(picture), **_paths(picture)} for picture in part]
                flat = pa.array(vectors.reshape(-1), pa.float32())
                arrays = [pa.array([row[name] for row in rows], kind) for name, kind in columns]
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, dim))
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                written += len(part)
        _same_number(pictures, written)
    return (file,)


def _paths(picture: Picture) -> dict[str, str | bytes]:
    return {"path": readable(picture.path), "path_bytes": os.fsencode(picture.path)}


def _same_number(pictures: Pictures, written: int) -> None:
    if written != pictures.count:
        raise LibraryError(f"{pictures.name} has pictures without a vector", "`library.check()` tells more")
