"""Drawings of trainings: runs against each other from their logs, and the curve of a learning-rate sweep."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from training.loop.lr_finder import LrCurve
from vsearch.drawing.figure import new_figure, plain, save
from vsearch.errors import ConfigError, DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, float]
# Okabe and Ito 2008, told apart with every kind of colour vision; then the same again, dashed and dotted.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = tuple((c, line) for line, c in product(("-", "--", ":"), COLOURS))
NOT_DRAWN = ("epoch", "seconds")
TITLES = {
    "lr": "learning rate",
    "items_per_second": "items per second",
    "top5": "top-5 accuracy",
    "cider": "dev CIDEr",
    "bleu4": "dev BLEU-4",
    "val_loss": "dev loss, forced",
    "val_loss_free": "dev loss, free-running",
    "recall": "dev mean recall, %",
}
LAST = ("lr", "items_per_second")
PANEL = (4.0, 2.9)  # inches


def read_log(run: Path) -> list[Record]:
    """Read the epochs of the run folder `run`, in order. Raises DataError if it has no readable log."""
    log = run / "log.jsonl"
    if not log.is_file():
        raise DataError(f"{run} has no log.jsonl", "name the output folder of a training that has done an epoch")
    try:
        records: list[Record] = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        return [{"epoch": float(r["epoch"]), **{str(k): float(v) for k, v in r.items()}} for r in records]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{log} is not the log of a training: {error}") from error


def draw_runs(runs: Sequence[Path], output: Path, metrics: Sequence[str] = ()) -> list[str]:
    """Draw one panel a metric with a line a run, into the picture `output`; returns the metrics drawn.

    Without `metrics` there is a panel for whatever the logs hold. Raises ConfigError for a metric in none of them.
    """
    logs = dict(zip(labels(runs), map(read_log, runs), strict=True))
    known = _metrics(list(logs.values()))
    if unknown := [m for m in metrics if m not in known]:
        raise ConfigError(f"no run has a metric {unknown[0]!r}", f"known: {', '.join(known)}")
    chosen = list(metrics) or known
    if not chosen:
        raise DataError("the logs are empty", "wait for the first epoch's end")
    columns = min(len(chosen), 4 if len(chosen) > 9 else 3)
    rows = math.ceil(len(chosen) / columns)
    legend = 0.3 * len(logs) + 0.3  # inches below the panels
    figure = new_figure(max(PANEL[0] * columns, 5.0), PANEL[1] * rows + legend)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for metric, axes in zip(chosen, panels, strict=False):
        _panel(axes, metric, logs)
    for axes in panels[len(chosen) :]:
        axes.set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", frameon=False)
    save(figure, output)
    return chosen


def labels(runs: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, with the folders above it as far as they are needed to tell runs
    apart."""
    paths = [run.resolve() for run in runs]
    names = [path.name for path in paths]
    for depth in range(2, max(len(p.parts) for p in paths) + 1):
        if max(Counter(names).values()) == 1:
            break
        twice = {n for n, k in Counter(names).items() if k > 1}
        names = ["/".join(p.parts[-depth:]) if n in twice else n for n, p in zip(names, paths, strict=True)]
    if max(Counter(names).values()) > 1:
        raise ConfigError("a run is named twice", "name each once")
    return names


def draw_curve(curve: LrCurve, output: Path) -> None:
    """Draw the losses of a sweep over the learning rate, with the suggested ones, into the picture `output`."""
    figure = new_figure(7.0, 4.6)
    axes = figure.subplots()
    axes.plot(curve.lr, curve.loss, color=COLOURS[5], linewidth=1, alpha=0.7, label="loss of the batch")
    axes.plot(curve.lr, curve.smooth, color=COLOURS[0], linewidth=2, label="smoothed")
    for value, colour, line, name in (
        (curve.steepest, COLOURS[1], "--", "steepest fall"),
        (curve.tenth, COLOURS[2], ":", "a tenth of the lowest"),
    ):
        axes.axvline(value, color=colour, linestyle=line, linewidth=1.8, label=f"{name}: {value:.1e}")
    axes.set_xscale("log")
    low, high = min(curve.smooth), max(curve.smooth[: curve.smooth.index(min(curve.smooth)) + 1])
    room = (high - low) or abs(low) or 1.0
    axes.set_ylim(low - 0.2 * room, high + 0.4 * room)  # not so high that the divergence flattens the rest
    plain(axes, "learning rate", "loss")
    axes.legend(frameon=False)
    save(figure, output)


def _metrics(logs: list[list[Record]]) -> list[str]:
    """Return what the logs hold, in their order; how it was trained comes last."""
    found = dict.fromkeys(k for log in logs for record in log for k in record if k not in NOT_DRAWN)
    return sorted(found, key=lambda k: LAST.index(k) + 1 if k in LAST else 0)


def _panel(axes: Axes, metric: str, logs: dict[str, list[Record]]) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    marker = "o" if max(map(len, logs.values())) <= 20 else ""
    for number, (name, log) in enumerate(logs.items()):
        colour, line = STYLES[number % len(STYLES)]
        there = [r for r in log if metric in r]
        epochs, values = [r["epoch"] for r in there], [r[metric] for r in there]
        axes.plot(epochs, values, color=colour, linestyle=line, marker=marker, markersize=3, linewidth=1.6, label=name)
    plain(axes, "epoch", "")
    axes.set_title(title(metric), fontsize=11, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if metric == "lr":
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def title(metric: str) -> str:
    """Return a metric's name for people: "t2i_r10" is "text to image R@10, %"."""
    ways = {"t2i": "text to image", "i2t": "image to text"}
    way, _, rest = metric.partition("_")
    if way in ways and rest:
        what = f"R@{rest[1:]}, %" if rest.startswith("r") and rest[1:].isdigit() else rest.replace("_", " ")
        return f"{ways[way]} {what}"
    return TITLES.get(metric, metric.replace("_", " "))
