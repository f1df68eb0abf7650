"""Captions without their photos: text that a captioner, the words and the DeViSE head's words learn from.

A .jsonl or .jsonl.gz with a table a line: {"captions": ["a dog runs", ...]}, the captions of one photo. A table with
"image" has its photo elsewhere in the data, where an evaluation may use it: its captions are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from training.data.sources.json_file import field
from training.data.sources.json_lines import read_lines
from vsearch.errors import DataError


def read_captions_only(files: Iterable[Path]) -> list[list[str]]:
    """The captions of each photo whose photo is not at hand, in the order of the files.

    Of Flickr30k, whose tables name their photo by a file nobody has here, those that say `in_flickr8k_train` are left
    out: Flickr8k has their captions already. Raises DataError naming the line that does not fit.
    """
    groups = []
    for path in files:
        for place, entry in read_lines(path):
            captions = field(entry, "captions", list, place)
            if not all(isinstance(caption, str) for caption in captions):
                raise DataError(f"{place}: a caption is no text", "check the data set's file")
            has_photo = entry.get("in_flickr8k_train", "image" in entry)
            if captions and not has_photo:
                groups.append(captions)
    return groups
