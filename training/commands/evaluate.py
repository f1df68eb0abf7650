"""`vsearch evaluate ...`: what was trained is measured on a prepared file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from vsearch.commands.group import expanded
from vsearch.commands.options import DeviceOption, ModelOption, PlainJsonOption, model_folder
from vsearch.console import out, out_json, progress_bar, shown_path

if TYPE_CHECKING:
    from training.evaluate.calibration import Reliability
    from training.evaluate.captions import Evaluation
    from training.evaluate.devise import DeviseReport
    from training.evaluate.scores import Choice, ScoresReport

app = typer.Typer(
    name="evaluate",
    cls=TyperGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Measure what was trained on a prepared file.

    \b
    Example:
      vsearch evaluate captions captions.h5 --split test
    """,
)


@dataclass(frozen=True)
class CaptionTrainings:
    """Caption trainings in the place of a model, and a DeViSE training that ranks their captions again."""

    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A caption training in place of the model; may be repeated."),
    ] = None
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="The features that the trainings read.")] = None
    head: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --run: a DeViSE training that ranks captions again.")
    ] = None
    agreement: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="How much the head counts in that; default: as trained.")
    ] = None


@app.command("captions")
@expanded
def evaluate_captions(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare captions`.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, dev or test.")] = "dev",
    beam: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="Beams; may be repeated; default: 1, 3 and 5.")
    ] = None,
    *,
    trained: CaptionTrainings,
    word: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Name its five nearest pictures, too; may be repeated.")
    ] = None,
    as_json: PlainJsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on pictures with captions: recall of the search both ways, and how it describes them.

    That is BLEU-1 to 4, CIDEr, ROUGE-L, the words used and the share of captions unlike all others. With --run, caption
    trainings are compared side by side, only by what they write.

    \b
    Example:
      vsearch evaluate captions captions.h5 --split test --beam 1 --beam 5
      vsearch evaluate captions captions.h5 --word dog --word snow --json
      vsearch evaluate captions captions.h5 --features features.h5 --run runs/soft --run runs/adaptive
      vsearch evaluate captions captions.h5 --features features.h5 --run runs/soft --head runs/head --agreement 1.5
    """
    check_runs(trained, asked=bool(word))
    beams = tuple(beam or [1, 3, 5])
    if trained.run:
        compare_runs(trained, data, split, beams, device, as_json=as_json)
        return
    from training.evaluate.captions import evaluate_folder

    with progress_bar("pictures") as show:
        found = evaluate_folder(
            model_folder(model), data, split, beams, word or [], trained.agreement, device, progress=show
        )
    print_evaluation(found, as_json=as_json)


def check_runs(trained: CaptionTrainings, *, asked: bool) -> None:
    """Raise BadParameter if options of a model and of trainings are mixed; `asked`: for the pictures of a word."""
    if bool(trained.run) != (trained.features is not None):
        raise typer.BadParameter("--run and --features, those it was trained on, go together")
    if trained.head is not None and not trained.run:
        raise typer.BadParameter("--head goes with --run: a model has a head of its own")
    if trained.run and trained.head is None and trained.agreement is not None:
        raise typer.BadParameter("--agreement of a caption training needs --head")
    if trained.run and asked:
        raise typer.BadParameter("--word asks a model; a caption training has no words to search by")


def print_evaluation(found: Evaluation, *, as_json: bool) -> None:
    """Print the metrics of a model and the pictures nearest to single words."""
    if as_json:
        named = {name: {"fit": fits, "pictures": names} for name, (fits, names) in found.words.items()}
        out_json({**found.metrics, "words": named})
        return
    for name, value in found.metrics.items():
        out(f"{name:<24}{value:10.2f}")
    for name, (fits, names) in found.words.items():
        out(f"{name:<24}{fits:>7} of {len(names)}  {' '.join(names)}")


def compare_runs(
    trained: CaptionTrainings, data: Path, split: str, beams: tuple[int, ...], device: str, *, as_json: bool
) -> None:
    """Print what caption trainings reached on a split, one column each."""
    from training.evaluate.decoder import evaluate_decoder
    from vsearch.device import resolve

    place, runs, tables = resolve(device), trained.run or [], {}
    for run in runs:
        assert trained.features is not None  # `check_runs`
        with progress_bar("pictures") as show:
            tables[str(run)] = evaluate_decoder(
                run, data, trained.features, split, beams, place, show, trained.head, trained.agreement
            )
    if as_json:
        out_json(tables)
        return
    names = [shown_path(run)[-18:] for run in runs]
    out(f"{'':<24}" + "".join(f"{name:>20}" for name in names))
    for metric in next(iter(tables.values())):
        out(f"{metric:<24}" + "".join(f"{table[metric]:20.2f}" for table in tables.values()))


@dataclass(frozen=True)
class ZeroShot:
    """What is measured on labelled pictures, and among which classes."""

    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A training of devise-zero-shot in place of the model; may be repeated."),
    ] = None
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of its pictures.")] = None
    unseen: Annotated[
        str | None, typer.Option(metavar="NAME", help="Classes the model never saw: a recipe, or a file of them.")
    ] = None
    hierarchy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Precision in a hierarchy, too: wordnet, tiny-imagenet, or a file."),
    ] = None


@app.command("devise")
@expanded
def evaluate_devise(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare labels`.")],
    *,
    wanted: ZeroShot,
    as_json: PlainJsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how a model names pictures and finds them by a word, also of classes it was not trained on.

    Flat hit@k, hierarchical precision@k, 1 - cos, and the precision of the ten pictures nearest to a class's word, on
    the dev pictures of labelled data. With --run, several trainings are compared side by side; the model then gives
    the words.

    \b
    Example:
      vsearch evaluate devise labels.h5 --hierarchy tiny-imagenet
      vsearch evaluate devise labels.h5 --features label-features.h5 --run runs/words --run runs/softmax
    """
    if wanted.run and wanted.unseen is not None:
        raise typer.BadParameter("--run and --unseen exclude each other: a training knows what it left out")
    if wanted.run and wanted.features is None:
        raise typer.BadParameter("--run needs --features, those it was trained on")
    from training.evaluate import devise

    folder = model_folder(model)
    if wanted.run and wanted.features is not None:
        found = devise.evaluate_runs(wanted.run, data, wanted.features, folder, wanted.hierarchy, device)
    else:
        with progress_bar("pictures") as show:
            found = devise.evaluate_model(
                folder, data, wanted.features, wanted.unseen, wanted.hierarchy, device, progress=show
            )
    print_devise(found, as_json=as_json)


@app.command("ranking")
def evaluate_ranking(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare captions`.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, dev or test.")] = "dev",
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also photos held back by `vsearch prepare scenes`.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Choose weight and curves on this split and write ranking.json.")
    ] = False,
    as_json: PlainJsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how a model's hits are ranked and scored: captions mixed in, and scores that are probabilities.

    Recall of human captions by the pictures alone, by the generated captions alone and by the mix; and, for queries by
    words, by labels and by pictures, how many hits fit and how many were predicted to. It measures ranking.json of the
    model; with --write it writes that file first, and prints how right curves fitted on half of the photos are on the
    other half. Captions omit much of what can be seen, labels do not: give both.

    \b
    Example:
      vsearch evaluate ranking captions.h5 --labels scenes.h5 --model my-model --write
      vsearch evaluate ranking captions.h5 --model my-model --split test
    """
    from training.evaluate.scores import evaluate_folder

    with progress_bar("pictures") as show:
        report = evaluate_folder(model_folder(model), data, split, labels, write=write, device=device, progress=show)
    if as_json:
        out_json(asdict(report))
    else:
        print_ranking(report)


def print_devise(report: DeviseReport, *, as_json: bool) -> None:
    """Print a column for each model, in the order given; below the figures, those of single words."""
    tables, words, found = report.tables, report.words, report.precisions
    if as_json:
        by_word = {name: {words[k]: value for k, value in values.items()} for name, values in found.items()}
        out_json({name: {**table, "words": by_word[name]} for name, table in tables.items()})
        return
    width = max(10, *(len(name) + 2 for name in tables))
    out(f"{'':<36}" + "".join(f"{name:>{width}}" for name in tables))
    for row in next(iter(tables.values())):
        digits = 4 if row.startswith("1 - cos") else 2
        out(f"{row:<36}" + "".join(cell(table[row], width, digits) for table in tables.values()))
    for k, word in words.items():
        out(f"{'  ' + word:<36}" + "".join(cell(values.get(k), width, 2) for values in found.values()))


def print_ranking(report: ScoresReport) -> None:
    weight = report.ranking.caption_weight
    out(f"{'':<24}{'R@1':>8}{'R@5':>8}{'R@10':>8}")
    for name, row in report.recalls.items():
        out(f"{name:<24}" + "".join(f"{value:8.2f}" for value in row.values()))
    out(f"caption weight {weight:g}")
    for kind, found in report.reliabilities.items():
        print_reliability(kind, found)
    if not report.reliabilities:
        out("no curves: scores are cosines")
    if report.choice is not None:
        print_choice(report.choice)


def print_choice(choice: Choice) -> None:
    """Print what decided between the two forms of the curve, and how right both halves' curves are on each other."""
    chosen = "rising" if choice.ranking.words_knots else "logistic"
    out("curve of words: " + ", ".join(f"{name} {loss:.4f}" for name, loss in choice.losses.items()))
    out(f"chosen: {chosen}; each half's on the other:")
    for kind, found in choice.reliabilities.items():
        print_reliability(kind, found)


def print_reliability(kind: str, found: Reliability) -> None:
    out(f"{kind}: {found.hits} hits, expected calibration error {100 * found.error:.2f} %")
    out(f"{'  hits':>10}{'predicted':>12}{'found':>8}")
    for one in found.bins:
        out(f"{one.count:>10}{100 * one.predicted:>10.1f} %{100 * one.found:>6.1f} %")


def cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"
