"""Broader terms of a classifier's classes: "bird" for 59 of the 1,000 of ImageNet.

A file has a term a line, the numbers of its classes (from 0, ranges with a dash) and what it is called:

    7-24,80-100,127-146 TAB bird
    151-268 TAB dog, domestic dog, Canis familiaris

What stands behind a `#` at the start of a line is a remark.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from training.data.sources.entries import Classes
from vsearch.errors import DataError
from vsearch.text.nouns import IMAGENET_FILE, read_nouns

IMAGENET = "imagenet"  # its classes and terms ship, made from WordNet 3.0


@dataclass(frozen=True)
class Broader:
    """A term by its lemmas, and the numbers of the classes that it covers."""

    lemmas: list[str]
    classes: list[int]


def read_broader(name: str) -> list[Broader]:
    """Read the broader terms of the classes "imagenet", or those in the file of that name.

    Raises DataError naming the file that cannot be read, or the line that does not fit.
    """
    if name == IMAGENET:
        text = (resources.files("training") / "recipes" / "imagenet.broader.tsv").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the broader terms {name}: {error}", "name imagenet, or a file") from None
    lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#"))
    return [_term(line, f"{name}, line {number}") for number, line in lines]


def read_classes(name: str) -> Classes:
    """Read what classes are called, in their order: the 1,000 of "imagenet" with all their lemmas, or those in the file
    of that name, which `vsearch.text.nouns` reads.

    Raises DataError where that cannot be read or holds no noun.
    """
    if name == IMAGENET:
        nouns = read_nouns(str(IMAGENET_FILE))
    else:
        nouns = read_nouns(name)
    return [(noun.wnid or noun.lemmas[0], list(noun.lemmas)) for noun in nouns]


def _term(line: str, place: str) -> Broader:
    numbers, _, names = line.partition("\t")
    lemmas = [lemma.strip() for lemma in names.split(",") if lemma.strip()]
    try:
        ends = [[int(end) for end in part.split("-")] for part in numbers.split(",")]
        classes = [number for end in ends for number in range(end[0], end[-1] + 1)]
    except ValueError:
        classes = []
    if not lemmas or not classes:
        raise DataError(f"{place} is no 'numbers TAB lemma, lemma'", "write it as in: 7-24,80 TAB bird")
    return Broader(lemmas, classes)
