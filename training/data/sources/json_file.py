"""JSON files of data sets, read so that an error names the file and the entry that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from vsearch.errors import DataError
from vsearch.files import load_json

T = TypeVar("T")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises DataError if it is missing or no JSON."""
    try:
        return load_json(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the data set's folder") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}", "copy the file again") from error


def field(entry: Any, key: str, kind: type[T], place: str) -> T:
    """Return `entry[key]`, which must be of `kind`. Raises DataError with the place, as in "x.json, images[3]"."""
    if not isinstance(entry, dict):
        raise DataError(f"{place}: not a table of keys and values", "check the data set's file")
    if key not in entry:
        raise DataError(f"{place}: {key!r} is missing", "check the data set's file")
    if not isinstance(entry[key], kind):
        raise DataError(f"{place}: {key!r} is no {kind.__name__}", "check the data set's file")
    value: T = entry[key]
    return value


def pictures_of(source: Path, images: Path | None) -> Path:
    """Return the folder of a JSON file's pictures: `images` where given, else `images/` next to the file, else the
    file's own (of a file in `annotations/`, the folder above)."""
    if images is not None:
        return images
    own = source.parent.parent if source.parent.name == "annotations" else source.parent
    return own / "images" if (own / "images").is_dir() else own
