"""Recipes: TOML files that say what is trained and how; unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from vsearch.errors import ConfigError


def shipped() -> list[str]:
    """Names of the recipes in this package."""
    folder = resources.files("training") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read(recipe: str | Path, overrides: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The recipe at a path, or a shipped one by name, with `overrides` put in ("loop.epochs" -> "3", as TOML)."""
    path = Path(recipe)
    if path.suffix != ".toml":
        if str(recipe) not in shipped():
            raise ConfigError(f"no recipe {str(recipe)!r}", f"shipped: {', '.join(shipped())}; or name a .toml file")
        text = (resources.files("training") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    elif path.is_file():
        text = path.read_text("utf-8")
    else:
        raise ConfigError(f"recipe not found: {path}", f"shipped: {', '.join(shipped())}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{recipe} is not valid TOML: {error}") from error
    for key, value in (overrides or {}).items():
        _put(table, key, value)
    return table


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
