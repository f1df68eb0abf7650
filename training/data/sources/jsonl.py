"""Captions in JSON lines, one photo a line: of photos, or of photos that are not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from training.data.captions import Photo
from training.data.sources.json_file import field, pictures_of
from training.data.texts import Told, names_of
from vsearch.errors import DataError


def is_jsonl(path: Path) -> bool:
    """Return whether a file's name says that it holds JSON lines."""
    return path.suffix == ".jsonl"


def read_jsonl(files: Mapping[str, Path], images: Path | None = None) -> list[Photo]:
    """Return the photos of a file for each split, in the order of its lines; their files lie in `images`.

    Raises DataError naming the file and the line that does not fit.
    """
    return [photo for split, path in files.items() for photo in _photos(path, split, pictures_of(path, images))]


def _photos(path: Path, split: str, folder: Path) -> list[Photo]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "check the data set's folder") from error
    return [_photo(line, split, folder, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _photo(line: str, split: str, folder: Path, place: str) -> Photo:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} is not JSON: {error}", "copy the file again") from error
    captions = [str(caption) for caption in field(row, "captions", list, place)]
    return Photo(folder / field(row, "image", str, place), split, captions)


def read_texts(path: Path) -> list[Told]:
    """Read a file of lines {"captions": [...], "id"?: number, "image"?: name, "apart"?: ...}, .jsonl or .jsonl.gz.

    Raises DataError naming the file and the line that does not fit.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return [_told(line, f"{path}, line {n}") for n, line in enumerate(file, 1) if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "name a file of captions, one photo a line") from error


def _told(line: str, place: str) -> Told:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} is not JSON: {error}", "copy the file again") from error
    captions = [str(caption) for caption in field(row, "captions", list, place)]
    names = {str(row["id"])} if "id" in row else set[str]()
    return Told(frozenset(names | (names_of(str(row["image"])) if "image" in row else set())), captions)
