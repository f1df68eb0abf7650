"""`vsearch train`, `vsearch find-lr` and `vsearch plots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsearch.commands.group import expanded
from vsearch.commands.options import DeviceOption, ForceOption, check_drawing
from vsearch.console import clock, out, progress_bar, remark, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from training.loop.task import Status

app = typer.Typer(rich_markup_mode=None)


BUNDLES = {"bundle-pretrained": "pretrained", "bundle": "teacher"}  # kinds of bundles, and the option each needs
RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe by name, or a .toml file.")]


@dataclass(frozen=True)
class Extra:
    """What recipes read next to the prepared file."""

    features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of its pictures.")] = None
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="A prepared file of labelled pictures.")] = None
    label_features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of those.")] = None
    start: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The model that a second stage goes on from.")
    ] = None
    classifier: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prepared file of a pretrained classifier.")
    ] = None
    scenes: Annotated[Path | None, typer.Option(metavar="FILE", help="A prepared file of photos with many labels.")] = (
        None
    )
    scene_features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of those.")] = None


@dataclass(frozen=True)
class Bundled:
    """What the recipe of a bundle needs."""

    pretrained: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights a bundle builds on; or torchvision:resnet50.")
    ] = None
    teacher: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The network a small bundle learns from.")] = (
        None
    )
    work: Annotated[Path | None, typer.Option(metavar="FOLDER", help="What a bundle makes on its way.")] = None
    stage: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run only this stage of a bundle.")] = None


@dataclass(frozen=True)
class How:
    """How a recipe is run."""

    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None
    device: DeviceOption = "auto"


@app.command()
@expanded
def train(
    recipe: RecipeArgument,
    data: Annotated[Path, typer.Option(metavar="PATH", help="The prepared file; for a bundle, the data folder.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="What is trained goes there.")],
    extra: Extra,
    bundled: Bundled,
    how: How,
) -> None:
    """Train what a recipe says: a part of a model, or (a bundle) a whole model from the raw data.

    A training that was stopped continues from there. torchrun --nproc-per-node N -m cli train ... trains on N GPUs;
    task.batch is then that of all of them together.

    \b
    Example:
      vsearch train bundled --data data --pretrained resnet50.safetensors --work runs/bundled --output my-model
      vsearch train devise-tuned --data captions.h5 --features features.h5 --output runs/head --set loop.epochs=30
    """
    from training import recipe as recipes
    from training.loop import distributed

    overrides = parse_settings(how.settings or [])
    tables = recipes.read(recipe)
    is_bundle = str(tables.get("kind")) in BUNDLES
    check_use(recipe, extra if is_bundle else bundled)
    if is_bundle and distributed.started():
        raise VsearchError(
            "a bundle is made in one process", "leave out torchrun; use it for the recipes of its stages"
        )
    with progress_bar("steps") as show:
        if is_bundle:
            train_bundle(tables, data, output, bundled, how.device, overrides, show)
        else:
            import training.run
            from training.recipe import Inputs

            inputs = Inputs(data, **vars(extra))
            training.run.train(tables, inputs, output, how.device, overrides, training_report(show))
    if distributed.first():
        out(shown_path(output))


def check_use(recipe: str, others: Extra | Bundled) -> None:
    """Raise BadParameter if an option is given that only recipes of another kind use."""
    for name, value in vars(others).items():
        if value:
            raise typer.BadParameter(f"--{name.replace('_', '-')} has no use in the recipe {recipe}")


def train_bundle(
    recipe: Mapping[str, Any],
    data: Path,
    output: Path,
    bundled: Bundled,
    device: str,
    overrides: dict[str, str],
    show: Callable[..., None],
) -> None:
    """Train a whole model from the raw data. Raises BadParameter if the options of another kind of bundle are given."""
    from training.assemble.bundle import make
    from training.assemble.stages import Folders, Telling

    needed, *others = sorted(BUNDLES.values(), key=lambda name: name != BUNDLES[recipe["kind"]])
    if getattr(bundled, needed) is None or bundled.work is None:
        raise typer.BadParameter(f"this bundle also needs --{needed} and --work")
    for name in others:
        if getattr(bundled, name) is not None:
            raise typer.BadParameter(f"--{name} has no use in this bundle; it needs --{needed}")
    places = Folders(data, bundled.work, output, bundled.teacher, bundled.pretrained)
    telling = Telling(remark, training_report(show), show)
    make(recipe, places, device, tuple(bundled.stage or ()), overrides, telling)


@app.command("find-lr")
@expanded
def find_lr(
    recipe: RecipeArgument,
    data: Annotated[Path, typer.Option(metavar="FILE", help="The prepared file.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The picture to draw: loss over learning rate.")],
    extra: Extra,
    low: Annotated[float, typer.Option(metavar="X", help="The learning rate to begin with.")] = 1e-6,
    high: Annotated[float, typer.Option(metavar="X", help="The learning rate to end with, at the latest.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, metavar="N", help="Batches to try.")] = 100,
    force: ForceOption = False,
    *,
    how: How,
) -> None:
    """Find a learning rate for a recipe: raise it from batch to batch and watch the loss.

    Nothing is kept of that training. Two suggestions are printed: where the loss falls fastest, and a tenth of the
    rate at which it is lowest. --output replaces an earlier drawing of vsearch, but no other file unless --force.

    \b
    Example:
      vsearch find-lr devise-tuned --data captions.h5 --features features.h5 --output lr.png --set task.batch=512
    """
    import training.plots
    from training.loop import distributed
    from training.recipe import Inputs
    from training.run import sweep
    from vsearch.drawing import figure

    if distributed.started():
        raise VsearchError("find-lr runs in a single process", "leave out torchrun")

    check_drawing(output, force=force)
    figure.require()
    inputs, overrides = Inputs(data, **vars(extra)), parse_settings(how.settings or [])
    with progress_bar("steps") as show:
        curve = sweep(recipe, inputs, how.device, overrides, low, high, steps, show)
    training.plots.draw_curve(curve, output)
    out(f"steepest fall          {curve.steepest:.1e}")
    out(f"a tenth of the lowest  {curve.tenth:.1e}")


@app.command()
def plots(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of trainings.", show_default=False)],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The picture to draw.")],
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw only this one, as in log.jsonl; may be repeated.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Draw trainings against each other: a panel for each metric, a line for each run.

    --output replaces an earlier drawing of vsearch, but no other file unless --force.

    \b
    Example:
      vsearch plots runs/devise runs/devise-wide --output runs.png
      vsearch plots runs/caption --output caption.png --metric cider --metric bleu4
    """
    import training.plots
    from vsearch.drawing import figure

    check_drawing(output, force=force)
    figure.require()
    out(f"{shown_path(output)}: {', '.join(training.plots.draw_runs(runs, output, metric or []))}")


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    for setting in settings:
        if "=" not in setting:
            raise typer.BadParameter(f"--set takes KEY=VALUE, not {setting!r}")
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}


def training_report(show: Callable[..., None]) -> Callable[[Status], None]:
    """Return a report that shows in the progress bar how far a training is."""

    def report(p: Status) -> None:
        numbers = f"loss {p.loss:.4f}, lr {p.lr:.1e}, {p.items_per_second:.0f}/s, {clock(p.left)} left"
        show(p.step + 1, p.steps, f"of epoch {p.epoch}/{p.epochs}: {numbers}")

    return report
