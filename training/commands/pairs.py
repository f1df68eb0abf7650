"""`vsearch prepare pairs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.options import OutputArgument
from vsearch.commands.group import expanded
from vsearch.console import out, shown_path

if TYPE_CHECKING:
    from training.data.pairs import Pair

TextsArgument = Annotated[
    list[Path], typer.Argument(metavar="SOURCE [TARGET]", help="Two files of lines, or one with tabs; or .gz.")
]


@dataclass(frozen=True)
class Parts:
    """Which pairs there are, and which of them train."""

    swap: Annotated[bool, typer.Option("--swap", help="In the one file with tabs the target comes first.")] = False
    dev_source: Annotated[Path | None, typer.Option(metavar="FILE", help="Source sentences of the dev split.")] = None
    dev_target: Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations.")] = None
    test_source: Annotated[Path | None, typer.Option(metavar="FILE", help="Source of the test split.")] = None
    test_target: Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations.")] = None
    dev_share: Annotated[
        float, typer.Option(min=0.001, max=0.5, metavar="X", help="Without dev files: so much becomes the dev split.")
    ] = 0.1
    only: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Train only on pairs whose target begins like this.")
    ] = None
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="The photo of each training line.")] = None
    dev_names: Annotated[Path | None, typer.Option(metavar="FILE", help="The photo of each dev line.")] = None
    exclude: Annotated[Path | None, typer.Option(metavar="FILE", help="Photos whose pairs are left out.")] = None


@dataclass(frozen=True)
class Vocabularies:
    """How sentences become numbers."""

    vocabulary: Annotated[int, typer.Option(min=1, metavar="N", help="Words of each side, at most.")] = 30_000
    min_word_freq: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words become unknown.")] = 2
    max_percentile: Annotated[
        float, typer.Option(metavar="P", help="Leave out pairs longer than this percentile of lengths.")
    ] = 100.0
    bpe: Annotated[int, typer.Option(min=0, metavar="N", help="Split words into N pieces; 0: whole words.")] = 0
    source_words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="fastText vectors to start from, .bin or .vec.")
    ] = None
    target_words: Annotated[Path | None, typer.Option(metavar="FILE", help="The same for the target.")] = None


@expanded
def prepare_pairs(
    texts: TextsArgument,
    output: OutputArgument,
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the source: de, en or fr.")],
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="Of the target.")],
    parts: Parts,
    given: Vocabularies,
) -> None:
    """Prepare sentences in two languages, for training a translator.

    \b
    Example:
      vsearch prepare pairs fra.txt pairs.h5 --from fr --to en --swap
      vsearch prepare pairs a.fr.gz a.en.gz pairs.h5 --from fr --to en --dev-source b.fr.gz --dev-target b.en.gz
    """
    from training.data import pairs

    check_parts(texts, parts)
    settings = pairs.Settings(source, target, given.vocabulary, given.min_word_freq, given.max_percentile, given.bpe)
    splits = read_splits(texts, parts)
    vectors = {"source": given.source_words, "target": given.target_words}
    words = {side: path for side, path in vectors.items() if path is not None}
    done = pairs.prepare_pairs(splits, output, settings, words)
    told = ", ".join(f"{done[name]} {name}" for name in splits)
    out(f"{shown_path(output)}: {told} pairs, {done['source']} and {done['target']} words")


def check_parts(texts: list[Path], parts: Parts) -> None:
    """Raise BadParameter if options do not go together."""
    if bool(parts.names or parts.dev_names) != (parts.exclude is not None):
        raise typer.BadParameter("--exclude needs --names or --dev-names, and they need it")
    if parts.dev_names is not None and parts.dev_source is None:
        raise typer.BadParameter("--dev-names needs --dev-source and --dev-target")
    if parts.swap and len(texts) != 1:
        raise typer.BadParameter("--swap is for one file with tabs")


def read_splits(texts: list[Path], parts: Parts) -> dict[str, list[Pair]]:
    """Read the pairs of each split; without dev files, the dev split is a part of the training pairs."""
    from training.data import pairs

    splits = {"train": pairs.read_pairs(texts, parts.swap)}
    extra = {"dev": (parts.dev_source, parts.dev_target), "test": (parts.test_source, parts.test_target)}
    for name, (own, other) in extra.items():
        if (own is None) != (other is None):
            raise typer.BadParameter(f"--{name}-source and --{name}-target need each other")
        if own is not None and other is not None:
            splits[name] = pairs.read_pairs([own, other])
    for split, file in (("train", parts.names), ("dev", parts.dev_names)):
        if file is not None and parts.exclude is not None:
            splits[split] = pairs.without(splits[split], file, parts.exclude)
    if parts.only is not None:
        splits["train"] = pairs.only(splits["train"], parts.only)
    if "dev" not in splits:
        splits["train"], splits["dev"] = pairs.part(splits["train"], parts.dev_share)
    return splits
