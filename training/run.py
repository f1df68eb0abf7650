"""From a recipe to a trained folder: the one place where the parts of a training are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from training.kinds import load, recipe_of
from training.loop import distributed
from training.loop.fit import check_checkpoint, fit
from training.loop.lr_finder import LrCurve, find_lr
from training.loop.task import Report, Task
from training.recipe import Inputs, Recipe, Source
from training.run_folder import RECIPE, begun, write_notes
from vsearch.device import resolve, seed_everything
from vsearch.errors import ConfigError


def train(
    source: Source, inputs: Inputs, output: Path, device: str = "auto",
    overrides: Mapping[str, str] | None = None, report: Report | None = None,
) -> None:  # fmt: skip
    """Train a recipe on `inputs` into the folder `output`; continues where an earlier run stopped.

    Under torchrun all its processes train together, see `training.loop.distributed`.

    Raises ConfigError if the recipe does not fit, DataError if a file does not.
    """
    train_recipe(load(source, overrides), inputs, output, device, report)


def train_recipe(
    recipe: Recipe, inputs: Inputs, output: Path, device: str = "auto", report: Report | None = None
) -> None:
    """Train a recipe that has been read, as `train` does."""
    seed_everything(recipe.loop.seed)
    with distributed.process_group(device) as place:
        task = build(recipe, inputs, place)
        if distributed.first():
            check_checkpoint(output, task)
            before = recipe_of(output) if begun(output) and (output / RECIPE).is_file() else None
            write_notes(output, recipe, inputs, before)
        fit(task, recipe.loop, output, place, report)


def sweep(
    source: Source, inputs: Inputs, device: str = "auto", overrides: Mapping[str, str] | None = None,
    low: float = 1e-6, high: float = 1.0, steps: int = 100, progress: Callable[[int, int], None] | None = None,
) -> LrCurve:  # fmt: skip
    """Return the losses of a recipe on `inputs` at learning rates from `low` to `high`; see `training.loop.lr_finder`.

    Raises ConfigError if the recipe does not fit, DataError if a file does not.
    """
    recipe, place = load(source, overrides), resolve(device)
    seed_everything(recipe.loop.seed)
    return find_lr(build(recipe, inputs, place), recipe.loop, place, low, high, steps, progress)


def build(recipe: Recipe, inputs: Inputs, device: torch.device) -> Task:
    """Make the task of a recipe. Raises ConfigError if a file is given that it does not read."""
    for name, path in vars(inputs).items():
        if path is not None and name not in ("data", *recipe.reads):
            raise ConfigError(f"`{name}` has no use in a recipe of kind {recipe.kind!r}", f"leave `{name}` out")
    return recipe.build(inputs, device)
