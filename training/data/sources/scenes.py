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

FILE = "labels.jsonl"


@dataclass(frozen=True)
class Scene:
    """A photo and the names of what is seen in it, each with its share of the area, 0 to 1, 1 where unknown."""

    path: Path
    labels: dict[str, float]


def read_scenes(folder: Path) -> list[Scene]:
    """Read the labelled photos of a folder, in the order of its `labels.jsonl`.

    Raises DataError naming the line that does not fit, and where a photo stands twice.
    """
    scenes, seen = [], set[str]()
    for place, entry in read_lines(folder / FILE):
        name = field(entry, "image", str, place)
        if name in seen:
            raise DataError(f"{place}: {name} stands twice", "check the data set's file")
        seen.add(name)
        scenes.append(Scene(folder / name, dict(_label(x, place) for x in field(entry, "labels", list, place))))
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
