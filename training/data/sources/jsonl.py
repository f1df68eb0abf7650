"""Captions in JSON lines, one photo a line: of photos, or of photos that are not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data.captions import Photo
from training.data.sources.json_file import field, pictures_of
from training.data.sources.json_lines import read_lines
from training.data.texts import Told, names_of


def is_jsonl(path: Path) -> bool:
    """Return whether a file's name says that it holds JSON lines."""
    return path.suffix == ".jsonl"


def read_jsonl(files: Mapping[str, Path], images: Path | None = None) -> list[Photo]:
    """Return the photos of a file for each split, in the order of its lines; their files lie in `images`.

    Raises DataError naming the file and the line that does not fit.
    """
    return [photo for split, path in files.items() for photo in _photos(path, split, pictures_of(path, images))]


def _photos(path: Path, split: str, folder: Path) -> list[Photo]:
    return [
        Photo(folder / field(row, "image", str, place), split, _captions(row, place)) for place, row in read_lines(path)
    ]


def _captions(row: Any, place: str) -> list[str]:
    return [str(caption) for caption in field(row, "captions", list, place)]


def read_texts(path: Path) -> list[Told]:
    """Read a file of lines {"captions": [...], "id"?: number, "image"?: name, "apart"?: ...}, .jsonl or .jsonl.gz.

    Raises DataError naming the file and the line that does not fit.
    """
    return [_told(row, place) for place, row in read_lines(path)]


def _told(row: Any, place: str) -> Told:
    captions = _captions(row, place)
    names = {str(row["id"])} if "id" in row else set[str]()
    return Told(frozenset(names | (names_of(str(row["image"])) if "image" in row else set())), captions)
