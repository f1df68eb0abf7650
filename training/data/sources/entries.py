"""LabelledPictures pictures as every reader of a data set yields them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

Classes = list[tuple[str, list[str]]]  # (WordNet number or name, lemmas)


class Entry(NamedTuple):
    """One labelled picture: its name, its class, and its file or encoded bytes."""

    name: str
    label: int
    source: Path | bytes


class LabelledPictures(Protocol):
    """A set of labelled pictures with the splits "train" and "dev"."""

    @property
    def classes(self) -> Classes: ...
    @property
    def empty(self) -> list[str]: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    def entries(self, split: str, per_class: int | None) -> Iterator[Entry]: ...
    def total(self, split: str, per_class: int | None) -> int: ...
