"""COCO captions ("Microsoft COCO Captions", Chen et al. 2015): one annotations file for each split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.data.captions import Photo
from training.data.sources.json_file import field, pictures_of, read_json
from vsearch.errors import DataError


def read_coco(files: dict[str, Path], images: Path | None = None, table: Any = None) -> list[Photo]:
    """Read the photos of annotations files, one a split: {"train": captions_train2014.json, "dev": ...}.

    {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}; the photos of captions_train2014.json
    lie in IMAGES/train2014, or in IMAGES itself where there is no such folder. `table` is the content of the file of
    "train", where it has been read already.
    Raises DataError naming the file and the entry that does not fit.
    """
    photos = []
    for split, source in files.items():
        content = table if split == "train" and table is not None else read_json(source)
        photos += _read(source, split, pictures_of(source, images), content)
    return photos


def _read(source: Path, split: str, folder: Path, table: Any) -> list[Photo]:
    own = folder / source.stem.rpartition("_")[2]
    folder = own if own.is_dir() else folder
    captions: dict[int, list[str]] = {}
    photos = []
    for i, entry in enumerate(field(table, "images", list, str(source))):
        at = f"{source}, images[{i}]"
        number, name = field(entry, "id", int, at), field(entry, "file_name", str, at)
        if number in captions:
            raise DataError(f"{at} ({name}): the id {number} is there twice", "check the data set's file")
        captions[number] = []
        photos.append(Photo(folder / name, split, captions[number]))
    for i, entry in enumerate(field(table, "annotations", list, str(source))):
        at = f"{source}, annotations[{i}]"
        number, caption = field(entry, "image_id", int, at), field(entry, "caption", str, at)
        if number not in captions:
            raise DataError(f"{at}: there is no image {number}", "check the data set's file")
        captions[number].append(caption)
    return photos
