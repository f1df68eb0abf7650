"""Photos with many labels: everyday ones of COCO (Lin et al. 2014), scenes of ADE20K (Zhou et al. 2017).

Both are a folder of photos with a `labels.jsonl` next to them, a table a line:

    COCO    {"image": "a.jpg", "labels": ["dog", "frisbee"]}               the classes that are seen
    ADE20K  {"image": "b.jpg", "labels": [["sky", 0.4], ["tree", 0.1]]}    and the share of the area of each
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.sources.json_file import field
from training.data.sources.json_lines import read_lines
from vsearch.errors import DataError
from vsearch.image.decode import SUFFIXES

FILE = "labels.jsonl"


@dataclass(frozen=True)
class Scene:
    """A photo and the names of what is seen in it, each with its share of the area, 0 to 1, 1 where unknown; and the
    names that were looked for in it, which no label means is not there (None: all that any photo has)."""

    path: Path
    labels: dict[str, float]
    asked: frozenset[str] | None = None


def read_scenes(folder: Path, *, unlabelled: bool = False) -> list[Scene]:
    """Read the labelled photos of a folder, in the order of its `labels.jsonl`.

    What any of them shows was looked for in all of them. unlabelled: the other photos of the folder follow, by name, in
    which nothing was looked for.
    Raises DataError naming the line that does not fit, and if a photo is there twice.
    """
    found, seen = [], set[str]()
    for place, entry in read_lines(folder / FILE):
        name = field(entry, "image", str, place)
        if name in seen:
            raise DataError(f"{place}: {name} is there twice", "check the data set's file")
        seen.add(name)
        found.append((folder / name, dict(_label(x, place) for x in field(entry, "labels", list, place))))
    asked = frozenset(name for _, labels in found for name in labels)
    scenes = [Scene(path, labels, asked) for path, labels in found]
    if unlabelled:
        rest = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.name not in seen)
        scenes += [Scene(path, {}, frozenset()) for path in rest]
    return scenes


def class_names(scenes: list[Scene]) -> list[str]:
    """Return all names that any of the photos has, in alphabetical order."""
    return sorted({name for scene in scenes for name in scene.labels})


def _label(given: Any, place: str) -> tuple[str, float]:
    if isinstance(given, str):
        return given, 1.0
    match given:
        case [str(name), int() | float() as share] if 0 <= share <= 1:
            return name, float(share)
    raise DataError(f"{place}: {given!r} is neither a name nor a name with a share", "check the data set's file")
