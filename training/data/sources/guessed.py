"""Photos that a model captioned, as `vsearch caption --json` prints them: more to train a decoder on."""

from __future__ import annotations

from pathlib import Path

from training.data.captions import Photo
from training.data.sources.json_file import field, read_json
from vsearch.errors import DataError

KEPT = 3  # captions of a photo: the best and those that came next


def read_guessed(path: Path) -> list[Photo]:
    """Return the photos of a JSON list of {"path", "caption", "runner_ups": [{"caption"}, ...]}, to train on.

    A path that is not absolute is looked up from the folder that one works in, as the command that wrote it did.
    Raises DataError naming the file and the entry that does not fit.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} is no list of captioned photos", "write it by `model.caption(photo)`")
    return [_photo(row, f"{path}, [{number}]") for number, row in enumerate(rows)]


def _photo(row: object, place: str) -> Photo:
    others = field(row, "runner_ups", list, place)
    captions = [field(row, "caption", str, place), *(field(other, "caption", str, place) for other in others)]
    return Photo(Path(field(row, "path", str, place)), "train", captions[:KEPT], guessed=True)
