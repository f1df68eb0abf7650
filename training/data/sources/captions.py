"""Which data set it is: caption sets and labelled pictures are recognised by their content."""

from __future__ import annotations

from pathlib import Path

from training.data.captions import Photo, read_flickr8k
from training.data.sources.coco import read_coco
from training.data.sources.json_file import read_json
from training.data.sources.jsonl import is_jsonl, read_jsonl
from training.data.sources.karpathy import read_karpathy
from vsearch.errors import DataError

KNOWN = "known: a folder of Flickr8k, a Karpathy JSON, a COCO captions JSON, JSON lines"


def read_captions(
    source: Path, images: Path | None = None, dev: Path | None = None, test: Path | None = None
) -> list[Photo]:
    """Read the photos of a folder of Flickr8k, a Karpathy JSON, COCO's annotations, or JSON lines (.jsonl).

    A COCO file, or one of JSON lines, is the training split; `dev` and `test` are those of the others. `images` is the
    folder of the photos, where it is not the usual one. Raises DataError if the content is neither.
    """
    others = {split: path for split, path in (("dev", dev), ("test", test)) if path is not None}
    if is_jsonl(source):
        return read_jsonl({"train": source, **others}, images)
    table = None if source.is_dir() else read_json(source)
    if isinstance(table, dict) and "annotations" in table:
        return read_coco({"train": source, **others}, images, table)
    if others:
        raise DataError(
            f"{source} has its splits in itself", "give `dev` and `test` with a COCO file only, or JSON lines"
        )
    if table is None:
        return read_flickr8k(source, images)
    if not isinstance(table, dict) or "images" not in table:
        raise DataError(f"{source} is no caption set", KNOWN)
    return read_karpathy(source, images, table)
