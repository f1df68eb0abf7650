"""Every kind of recipe. A task is declared by its recipe, in its own module, and by its line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from training.recipe import Recipe, Source, read
from training.run_folder import RECIPE, read_note
from training.tasks.caption import CaptionRecipe
from training.tasks.caption_texts import TextsRecipe
from training.tasks.devise import DeviseRecipe
from training.tasks.devise_classes import ClassesRecipe
from training.tasks.distil import DistilRecipe
from training.tasks.finetune import FinetuneRecipe
from training.tasks.joint import JointRecipe
from training.tasks.labels import LabelsRecipe
from training.tasks.self_critical import SelfCriticalRecipe
from training.tasks.self_critical_texts import CriticalTextsRecipe
from training.tasks.translate import TranslateRecipe
from vsearch.config import from_dict
from vsearch.errors import ConfigError, DataError

KINDS: dict[str, type[Recipe]] = {
    recipe.kind: recipe
    for recipe in (
        DistilRecipe,
        DeviseRecipe,
        ClassesRecipe,
        LabelsRecipe,
        FinetuneRecipe,
        CaptionRecipe,
        TextsRecipe,
        SelfCriticalRecipe,
        CriticalTextsRecipe,
        JointRecipe,
        TranslateRecipe,
    )
}


def load(source: Source, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe, see `training.recipe.read`.

    Raises ConfigError if it is of no known kind, or a table or a setting in it is unknown or of the wrong type.
    """
    return parse(read(source, overrides))


def parse(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe of its tables, those of a TOML file or of a recipe.json. Raises ConfigError as `load` does."""
    kind = table.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"the recipe's kind is {kind!r}", f"known: {', '.join(KINDS)}")
    known = {field.name for field in fields(KINDS[kind])}
    for name in table:
        if name not in known:
            raise ConfigError(f"a recipe of kind {kind!r} has no table {name!r}")
    return from_dict(KINDS[kind], table)


def recipe_of(run: Path) -> Recipe:
    """Return the recipe of the training in the folder `run`. Raises DataError if its recipe.json cannot be read."""
    table = read_note(run / RECIPE)
    try:
        return parse(table)
    except ConfigError as error:
        raise DataError(f"cannot read {run / RECIPE}: {error}", "train into a new folder") from None
