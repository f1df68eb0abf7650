"""The notes in the folder of a training: its recipe, and what tells the files it was begun with from others.

    recipe.json     the recipe, with the value of every setting
    inputs.json     a fingerprint of each file that is read
    features.json   the key of the cached features, see `training.data.features`

`training.loop.fit` adds checkpoint.safetensors, best.safetensors and log.jsonl.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data.features import key_in
from training.recipe import Inputs, Recipe
from vsearch.config import to_dict
from vsearch.errors import ConfigError, DataError
from vsearch.files import read_table, write_json

RECIPE, INPUTS, FEATURES = "recipe.json", "inputs.json", "features.json"
BLOCKS, BLOCK = 64, 2**16


def write_notes(run: Path, recipe: Recipe, inputs: Inputs, before: Recipe | None) -> None:
    """Note in the folder `run` what is trained there, on which files. `before` is the recipe that it was begun with.

    Raises ConfigError if that differs in more than `[loop]`, DataError if the training was begun on other files, or on
    features of another encoder.
    """
    run.mkdir(parents=True, exist_ok=True)
    if before is not None:
        other = _different(to_dict(before), to_dict(recipe)) - {"loop"}
        if other:
            raise ConfigError(
                f"the training in {run} was begun with another {min(other)!r}",
                "use the same settings, or name another output folder",
            )
    if inputs.features is not None:
        note_key(run, inputs.features)
    _note_files(run / INPUTS, inputs, begun(run))
    write_json(run / RECIPE, to_dict(recipe))


def begun(run: Path) -> bool:
    """Return whether the training in the folder `run` has done an epoch."""
    return (run / "checkpoint.safetensors").is_file()


def _note_files(note: Path, inputs: Inputs, begun: bool) -> None:
    """Write the fingerprints of the files that are read. Raises DataError if a training `begun` has read others."""
    now = {
        name: fingerprint(path / "config.json" if name == "start" else path)
        for name, path in vars(inputs).items()
        if path is not None
    }
    other = _different(read_note(note), now) if begun and note.is_file() else set()
    if other:
        raise DataError(
            f"the training in {note.parent} was begun with another `{min(other)}`",
            "name the same file, or another output folder",
        )
    write_json(note, now)


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the names whose values differ, or that only one of the two has."""
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def fingerprint(path: Path) -> str:
    """Return what tells a file from another without reading a large one whole: the SHA-256 of its size and BLOCKS
    blocks of it.

    Raises DataError if it cannot be read.
    """
    try:
        size = path.stat().st_size
        found = hashlib.sha256(str(size).encode())
        with path.open("rb") as file:
            for n in range(BLOCKS):
                file.seek(max(0, size - BLOCK) * n // (BLOCKS - 1))
                found.update(file.read(BLOCK))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "name the file that was prepared") from None
    return found.hexdigest()


def note_key(run: Path, features: Path) -> None:
    """Note in the folder `run` the key of the cached features it reads.

    Raises DataError if the training was begun on features of another encoder or preprocessing.
    """
    key = key_in(features)
    if noted_key(run) not in (None, key):
        raise DataError(
            f"the training in {run} was begun on features of another encoder or preprocessing",
            "go on with those, or name another output folder",
        )
    write_json(run / FEATURES, {"key": key}, indent=None)


def noted_key(run: Path) -> str | None:
    """Return what `note_key` wrote, or None. Raises DataError if it is damaged."""
    path = run / FEATURES
    return str(read_note(path).get("key", "")) if path.is_file() else None


def read_note(path: Path) -> dict[str, Any]:
    """Read a JSON table that a training left in its folder. Raises DataError if it is missing or damaged."""
    return read_table(path, DataError, "train into a new folder")
