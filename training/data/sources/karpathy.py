"""Karpathy's splits of COCO, Flickr8k and Flickr30k ("Deep Visual-Semantic Alignments", 2015): one JSON file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.data.captions import Photo
from training.data.sources.json_file import field, pictures_of, read_json
from vsearch.errors import DataError

SPLIT_OF = {"train": "train", "restval": "train", "val": "dev", "test": "test"}


def read_karpathy(source: Path, images: Path | None = None, table: Any = None) -> list[Photo]:
    """Read the photos of a Karpathy JSON in its order. "restval" counts as train, "val" is dev here.

    {"images": [{"filepath"?, "filename", "split", "sentences": [{"raw", "tokens"}]}]}; a photo lies in
    IMAGES/filepath/filename, or in IMAGES/filename where there is no such folder. `table` is the file's content, where
    it has been read already.
    Raises DataError naming the file and the entry that does not fit.
    """
    table = read_json(source) if table is None else table
    folder = pictures_of(source, images)
    places: dict[str, Path] = {}
    photos = []
    for i, entry in enumerate(field(table, "images", list, str(source))):
        at = f"{source}, images[{i}]"
        name, split = field(entry, "filename", str, at), field(entry, "split", str, at)
        if split not in SPLIT_OF:
            raise DataError(f"{at} ({name}): unknown split {split!r}", f"known: {', '.join(SPLIT_OF)}")
        below = field(entry, "filepath", str, at) if "filepath" in entry else ""
        if below not in places:
            places[below] = folder / below if (folder / below).is_dir() else folder
        sentences = field(entry, "sentences", list, at)
        captions = [_caption(s, f"{at}, sentences[{n}]") for n, s in enumerate(sentences)]
        photos.append(Photo(places[below] / name, SPLIT_OF[split], captions))
    return photos


def _caption(sentence: Any, at: str) -> str:
    """Return the sentence as it was written; where only its tokens are there, these."""
    if isinstance(sentence, dict) and "raw" not in sentence and "tokens" in sentence:
        return " ".join(map(str, field(sentence, "tokens", list, at)))
    return field(sentence, "raw", str, at)
