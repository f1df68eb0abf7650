"""From a recipe to a trained folder: the one place where the parts of a training are joined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import recipe as recipes
from training.data.features import note_key, read_note
from training.loop import distributed
from training.loop.fit import LoopConfig, Report, Task, check, fit
from training.loop.lr_finder import LrCurve, find_lr
from vsearch.config import DecoderConfig, DeviseConfig, EncoderConfig, PreprocessConfig, SourceConfig, from_dict
from vsearch.device import resolve, seed_everything
from vsearch.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vsearch.networks.joint import JointModel

USED = {  # by recipes of that kind, beside the prepared file
    "devise": ("features", "labels", "label_features"),
    "devise-labels": ("features",),
    "devise-finetune": ("start",),
    "caption": ("features",),
    "self-critical": ("features",),
    "joint": ("start",),
}

BLOCKS, BLOCK = 64, 2**16


@dataclass(frozen=True)
class Inputs:
    """The files a training reads: a prepared file, its cached features, labelled pictures and theirs, and the folder
    of the model that a second stage starts from."""

    data: Path
    features: Path | None = None
    labels: Path | None = None
    label_features: Path | None = None
    start: Path | None = None


def train(
    recipe: str | Path, inputs: Inputs, output: Path, device: str = "auto",
    overrides: Mapping[str, str] | None = None, report: Report | None = None,
) -> None:  # fmt: skip
    """Train `recipe` on `inputs` into the folder `output`; continues where an earlier run stopped.

    Under torchrun all its processes train together, see `training.loop.distributed`.

    Raises ConfigError for a recipe that does not fit, DataError for files that do not.
    """
    table, loop = _read(recipe, overrides)
    with distributed.joined(device) as place:
        task = _task(table, inputs, loop, place)
        if distributed.first():
            check(output, task)
            _note(recipes.read(recipe, overrides), inputs, output)
        fit(task, loop, output, place, report)


def _note(table: Mapping[str, Any], inputs: Inputs, output: Path) -> None:
    """Write the recipe, changed settings included, beside what is trained by it; what its features were made with; and
    which files it reads.

    Raises ConfigError where the training was begun by a recipe that differs in more than `[loop]`, DataError where it
    was begun on other files or on features of another encoder.
    """
    output.mkdir(parents=True, exist_ok=True)
    noted = output / "recipe.json"
    text = json.dumps(table, indent=2) + "\n"
    begun = (output / "checkpoint.safetensors").is_file()
    if noted.is_file() and begun:
        other = _different(read_note(noted), json.loads(text)) - {"loop"}
        if other:
            raise ConfigError(
                f"the training in {output} was begun with another {min(other)!r}",
                "use the same settings, or name another output folder",
            )
    if inputs.features is not None:
        note_key(output, inputs.features)
    _note_files(inputs, output / "inputs.json", begun)
    noted.write_text(text, "utf-8")


def _note_files(inputs: Inputs, note: Path, begun: bool) -> None:
    """Write the fingerprints of the files that are read. Raises DataError where a training `begun` has read others."""
    now = {
        name: fingerprint(path / "config.json" if name == "start" else path)
        for name, path in vars(inputs).items()
        if path is not None
    }
    other = _different(read_note(note), now) if begun and note.is_file() else set()
    if other:
        option = f"--{min(other).replace('_', '-')}"
        raise DataError(
            f"the training in {note.parent} was begun with another {option}",
            "name the same file, or another output folder",
        )
    note.write_text(json.dumps(now, indent=2) + "\n", "utf-8")


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The names that have not the same value in both, or are in one alone."""
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def fingerprint(path: Path) -> str:
    """What tells a file from another, without reading large ones whole: SHA-256 of its size and BLOCKS spread blocks.

    Raises DataError where it cannot be read.
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


def sweep(
    recipe: str | Path, inputs: Inputs, device: str = "auto", overrides: Mapping[str, str] | None = None,
    low: float = 1e-6, high: float = 1.0, steps: int = 100, progress: Callable[[int, int], None] | None = None,
) -> LrCurve:  # fmt: skip
    """The losses of `recipe` on `inputs` at learning rates from `low` to `high`; see `training.loop.lr_finder`.

    Raises ConfigError for a recipe that does not fit, DataError for files that do not.
    """
    table, loop = _read(recipe, overrides)
    place = resolve(device)
    return find_lr(_task(table, inputs, loop, place), loop, place, low, high, steps, progress)


def _read(recipe: str | Path, overrides: Mapping[str, str] | None) -> tuple[dict[str, Any], LoopConfig]:
    """The recipe, seeded, as its `[loop]` and the rest."""
    table = recipes.read(recipe, overrides)
    loop = from_dict(LoopConfig, table.pop("loop", {}), "loop")
    seed_everything(loop.seed)
    return table, loop


def _task(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    kind = table.pop("kind", None)
    tasks = {
        "distil": _distil, "devise": _devise, "devise-labels": _devise_labels, "devise-finetune": _devise_finetune,
        "caption": _caption, "self-critical": _self_critical, "joint": _joint,
        "translate": _translate,
    }  # fmt: skip
    if kind not in tasks:
        raise ConfigError(f"the recipe's kind is {kind!r}", f"known: {', '.join(tasks)}")
    for name in ("features", "labels", "label_features", "start"):
        if getattr(inputs, name) is not None and name not in USED.get(kind, ()):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} has no use in a recipe of kind {kind!r}", f"leave {option} out")
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


def _devise_labels(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.labels import LabelsTask, LabelsTaskConfig

    head = from_dict(DeviseConfig, table.pop("devise", {}), "devise")
    config = from_dict(LabelsTaskConfig, table.pop("task", {}), "task")
    return LabelsTask(config, head, inputs.data, _features(inputs), device)


def _devise_finetune(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.finetune import FinetuneConfig, FinetuneTask

    config = from_dict(FinetuneConfig, table.pop("task", {}), "task")
    return FinetuneTask(config, _start(inputs), inputs.data, device)


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


def _joint(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.joint import JointConfig, JointTask

    devise, decoder = table.pop("devise", None), table.pop("decoder", None)
    return JointTask(
        from_dict(JointConfig, table.pop("task", {}), "task"),
        _start(inputs),
        None if devise is None else from_dict(DeviseConfig, devise, "devise"),
        None if decoder is None else from_dict(DecoderConfig, decoder, "decoder"),
        inputs.data,
        device,
    )


def _translate(table: dict[str, Any], inputs: Inputs, loop: LoopConfig, device: torch.device) -> Task:
    from training.tasks.translate import TranslateTask, TranslateTaskConfig

    source = from_dict(SourceConfig, table.pop("source", {}), "source")
    decoder = from_dict(DecoderConfig, table.pop("decoder", {}), "decoder")
    config = from_dict(TranslateTaskConfig, table.pop("task", {}), "task")
    return TranslateTask(config, source, decoder, inputs.data, device)


def _start(inputs: Inputs) -> JointModel:
    from vsearch.storage import modelfolder

    if inputs.start is None:
        raise ConfigError("this recipe goes on from a model", "name its folder (--start)")
    return modelfolder.load(inputs.start, "cpu")


def _features(inputs: Inputs) -> Path:
    if inputs.features is None:
        raise ConfigError("this recipe trains on cached features", "name their file (--features)")
    return inputs.features
