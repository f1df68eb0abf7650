"""Plots: what is drawn, from which runs, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training import plots
from training.loop.lr_finder import LrCurve
from vsearch.drawing import figure
from vsearch.errors import ConfigError, DataError, VsearchError


def run(folder: Path, *records: dict[str, float]) -> Path:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps({"epoch": i, **r}) + "\n" for i, r in enumerate(records, 1)))
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sheets that are drawn, to be looked into."""
    sheets: list[Any] = []
    make = figure.new_figure

    def kept(width: float, height: float) -> Any:
        sheets.append(make(width, height))
        return sheets[-1]

    monkeypatch.setattr(plots, "new_figure", kept)
    return sheets


def lines(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_a_panel_a_metric_and_a_line_a_run(tmp_path: Path, drawn: list[Any]) -> None:
    one = run(tmp_path / "one", {"loss": 2.0, "seconds": 1, "lr": 1e-3}, {"loss": 1.0, "seconds": 1, "lr": 1e-4})
    two = run(tmp_path / "two", {"loss": 3.0, "lr": 1e-3, "cider": 10.0})
    metrics = plots.draw_runs([one, two], tmp_path / "out.png")
    assert metrics == ["loss", "cider", "lr"]
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["loss", "dev CIDEr", "learning rate"]
    assert lines(panels[0]) == {"one": [(1, 2.0), (2, 1.0)], "two": [(1, 3.0)]}
    assert lines(panels[1]) == {"one": [], "two": [(1, 10.0)]}
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["one", "two"]
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_nothing_overlaps_on_a_full_sheet(tmp_path: Path, drawn: list[Any]) -> None:
    names = [f"{way}_r{k}" for way in ("t2i", "i2t") for k in (1, 5, 10)]
    names += ["loss", "recall", "lr", "items_per_second"]
    runs = [
        run(tmp_path / f"a-run-with-a-long-name-{i}", *[dict.fromkeys(names, float(i + e)) for e in range(30)])
        for i in range(9)
    ]
    plots.draw_runs(runs, tmp_path / "out.png")
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.get_visible()]
    boxes.append(figure.legends[0].get_window_extent())
    assert len(boxes) == 11
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 <= box.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(styles) == 9


def test_chosen_metrics_alone_are_drawn_and_unknown_ones_named(tmp_path: Path, drawn: list[Any]) -> None:
    folder = run(tmp_path / "one", {"loss": 2.0, "bleu4": 1.0})
    assert plots.draw_runs([folder], tmp_path / "out.png", ["bleu4"]) == ["bleu4"]
    assert len(drawn[0].axes) == 1
    with pytest.raises(ConfigError, match="no run has a metric 'bleu'") as caught:
        plots.draw_runs([folder], tmp_path / "out.png", ["bleu"])
    assert "loss, bleu4" in caught.value.hint


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert plots.labels([tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "y"]) == ["a/x", "b/x", "y"]
    with pytest.raises(ConfigError, match="named twice"):
        plots.labels([tmp_path / "a", tmp_path / "a"])


def test_titles_are_words() -> None:
    assert plots.title("t2i_r10") == "text to image R@10, %"
    assert plots.title("i2t_median_rank") == "image to text median rank"
    assert plots.title("label_cosine") == "label cosine"
    assert plots.title("top5") == "top-5 accuracy"


def test_folders_without_a_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no log\.jsonl"):
        plots.read_log(tmp_path)
    for text in ("{", "[1]", '{"loss": "low"}', '{"loss": 1}'):
        (tmp_path / "log.jsonl").write_text(text)
        with pytest.raises(DataError, match="not the log"):
            plots.read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(DataError, match="empty"):
        plots.draw_runs([tmp_path], tmp_path / "out.png")


def test_the_curve_shows_both_suggestions(tmp_path: Path, drawn: list[Any]) -> None:
    curve = LrCurve((1e-4, 1e-3, 1e-2, 1e-1), (4.0, 3.5, 0.9, 80.0), (4.0, 3.6, 1.0, 90.0))
    plots.draw_curve(curve, tmp_path / "lr.png")
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 10  # the divergence does not flatten the rest
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["loss of the batch", "smoothed", "steepest fall: 1.0e-03", "a tenth of the lowest: 1.0e-03"]
    assert (tmp_path / "lr.png").is_file()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(VsearchError, match="matplotlib") as caught:
        figure.require()
    assert caught.value.hint == "pip install 'vsearch-photos[plots]'"
