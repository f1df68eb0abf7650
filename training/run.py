"""From a recipe to a trained folder: the one place where the parts of a training are joined."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import recipe as recipes
from training.loop import LoopConfig, Report, Task, fit
from vsearch.config import DecoderConfig, DeviseConfig, EncoderConfig, PreprocessConfig, from_dict
from vsearch.device import resolve, seed_everything
from vsearch.errors import ConfigError


@dataclass(frozen=True)
class Inputs:
    """The files a training reads: a prepared file, its cached features, labelled pictures and theirs."""

    data: Path
    features: Path | None = None
    labels: Path | None = None
    label_features: Path | None = None


def train(
    recipe: str | Path, inputs: Inputs, output: Path, device: str = "auto",
    overrides: Mapping[str, str] | None = None, report: Report | None = None,
) -> None:  # fmt: skip
    """Train `recipe` on `inputs` into the folder `output`; continues where an earlier run stopped.

    The recipe, changed settings included, is written beside the result.

    Raises ConfigError for a recipe that does not fit, DataError for files that do not.
    """
    table = recipes.read(recipe, overrides)
    note = json.dumps(table, indent=2) + "\n"
    loop = from_dict(LoopConfig, table.pop("loop", {}), "loop")
    place = resolve(device)
    seed_everything(loop.seed)
    task = _task(table, inputs, loop, place)
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.json").write_text(note, "utf-8")
    fit(task, loop, output, place, report)


def _task(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    kind = table.pop("kind", None)
    tasks = {"distil": _distil, "devise": _devise, "caption": _caption, "self-critical": _self_critical}
    if kind not in tasks:
        raise ConfigError(f"the recipe's kind is {kind!r}", f"known: {', '.join(tasks)}")
    task = tasks[kind](table, inputs, loop, device)
    if table:
        raise ConfigError(f"a recipe of kind {kind!r} has no table {next(iter(table))!r}")
    return task


def _distil(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.distil import DistilConfig, DistilTask

    encoder = from_dict(EncoderConfig, table.pop("encoder", {}), "encoder")
    preprocess = from_dict(PreprocessConfig, table.pop("preprocess", {}), "preprocess")
    config = from_dict(DistilConfig, table.pop("task", {}), "task")
    return DistilTask(config, encoder, preprocess, inputs.data, loop.epochs, device)


def _devise(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.devise import DeviseTask, DeviseTaskConfig

    head = from_dict(DeviseConfig, table.pop("devise", {}), "devise")
    config = from_dict(DeviseTaskConfig, table.pop("task", {}), "task")
    return DeviseTask(config, head, inputs.data, _features(inputs), device, inputs.labels, inputs.label_features)


def _caption(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.caption import CaptionTask, CaptionTaskConfig

    decoder = from_dict(DecoderConfig, table.pop("decoder", {}), "decoder")
    config = from_dict(CaptionTaskConfig, table.pop("task", {}), "task")
    return CaptionTask(config, decoder, inputs.data, _features(inputs), device)


def _self_critical(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.self_critical import SelfCriticalConfig, SelfCriticalTask

    decoder = from_dict(DecoderConfig, table.pop("decoder", {}), "decoder")
    config = from_dict(SelfCriticalConfig, table.pop("task", {}), "task")
    return SelfCriticalTask(config, decoder, inputs.data, _features(inputs), device)


def _features(inputs: Inputs) -> Path:
    if inputs.features is None:
        raise ConfigError("this recipe trains on cached features", "name their file (--features)")
    return inputs.features
