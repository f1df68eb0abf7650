"""Recipes: TOML files that say what is trained and how; unknown keys are errors."""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from training.loop.config import LoopConfig  # noqa: TID253 - settings only, without torch
from vsearch.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from training.loop.task import Task

Source = str | Path | Mapping[str, Any]  # a recipe: shipped, by its name; a .toml file; or its tables, read before


@dataclass(frozen=True)
class Inputs:
    """The files a training reads: a prepared file, its cached features, labelled pictures and theirs, the folder of the
    model that a second stage starts from, a pretrained classifier, and photos with many labels and their features."""

    data: Path
    features: Path | None = None
    labels: Path | None = None
    label_features: Path | None = None
    start: Path | None = None
    classifier: Path | None = None
    scenes: Path | None = None
    scene_features: Path | None = None

    def needed_features(self) -> Path:
        """Return the file of cached features. Raises ConfigError if none is given."""
        if self.features is None:
            raise ConfigError("this recipe trains on cached features", "name their file (`features`)")
        return self.features

    def needed_start(self) -> Path:
        """Return the folder of the model to start from. Raises ConfigError if none is given."""
        if self.start is None:
            raise ConfigError("this recipe goes on from a model", "name its folder (`start`)")
        return self.start


@dataclass(frozen=True)
class Recipe(ABC):
    """What is trained, and how. Each task derives its own recipe, with a field for each table of the TOML file.

    `kind` names the task; `reads` are the files of `Inputs` that the task uses next to the prepared one.
    """

    kind: str = ""
    loop: LoopConfig = field(default_factory=LoopConfig)

    reads: ClassVar[tuple[str, ...]] = ()

    def settings(self, name: str) -> Any:
        """Return the settings of the table `name`, or None if the recipe has no such table."""
        return getattr(self, name, None)

    @abstractmethod
    def build(self, inputs: Inputs, device: torch.device) -> Task:
        """Make the task on its data.

        Raises ConfigError if settings and data do not fit each other, DataError if a file cannot be used.
        """


def shipped() -> list[str]:
    """Return the names of the recipes in this package."""
    folder = resources.files("training") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read(source: Source, overrides: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the tables of a recipe, changed by `overrides` ("loop.epochs" -> "3", a value in TOML or plain text).

    Raises ConfigError if there is no such recipe, or it is not TOML.
    """
    table = _copy(source) if isinstance(source, Mapping) else _parsed(source)
    for key, value in (overrides or {}).items():
        _put(table, key, value)
    return table


def _parsed(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if path.suffix != ".toml":
        if str(source) not in shipped():
            raise ConfigError(f"no recipe {str(source)!r}", f"shipped: {', '.join(shipped())}; or name a .toml file")
        text = (resources.files("training") / "recipes" / f"{source}.toml").read_text("utf-8")
    elif path.is_file():
        text = path.read_text("utf-8")
    else:
        raise ConfigError(f"recipe not found: {path}", f"shipped: {', '.join(shipped())}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def _put(table: dict[str, Any], key: str, value: str) -> None:
    *outer, last = key.split(".")
    for name in outer:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key!r} goes below {name!r}, which is no table of the recipe")
    try:
        table[last] = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        table[last] = value
