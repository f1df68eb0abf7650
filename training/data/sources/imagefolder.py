"""Labelled pictures in folders, one a class, as ImageNet and Tiny-ImageNet come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from training.data.sources.class_names import Names
from training.data.sources.entries import Entry
from vsearch.errors import DataError
from vsearch.image.decode import SUFFIXES


@dataclass(frozen=True)
class ImageFolder:
    """A folder with `train/` and perhaps `val/` (which is the dev split here).

    `classes` is [(folder's name, lemmas)]; `empty` are the classes without a picture to train on, `skipped` what is in
    `val/` and fits none, with the reason. Paths are listed a class at a time, so that memory stays bounded.
    """

    root: Path
    classes: list[tuple[str, list[str]]]
    empty: list[str]
    skipped: list[tuple[str, str]]
    annotated: dict[str, list[str]] | None = field(default=None, repr=False)  # file names of a `val/` without folders

    def entries(self, split: str, per_class: int | None) -> Iterator[Entry]:
        """Yield the pictures of "train" or "dev", class by class, at most `per_class` of each, named as below
        `root`."""
        for label, (name, _) in enumerate(self.classes):
            for path in self._paths(split, name)[:per_class]:
                yield Entry(path.relative_to(self.root).as_posix(), label, path)

    def total(self, split: str, per_class: int | None) -> int:
        """Return how many pictures `entries` has."""
        return sum(len(self._paths(split, name)[:per_class]) for name, _ in self.classes)

    def _paths(self, split: str, name: str) -> list[Path]:
        if split == "dev" and self.annotated is not None:
            return [self.root / "val" / "images" / file for file in self.annotated.get(name, [])]
        return pictures_below(self.root / ("val" if split == "dev" else split) / name)


def read_image_folder(root: Path, lemmas: Path | None = None) -> ImageFolder:
    """Read the classes of `train/<class>/*.JPEG` (or `train/<class>/images/`), with the pictures of `val/<class>/`.

    `val/images/` with `val/val_annotations.txt`, as in the archive of Tiny-ImageNet, does as well. Only the classes of
    `wnids.txt` are taken where there is one. A class's lemmas come from the file `lemmas`, the folder's `words.txt` or
    NLTK's WordNet, by its WordNet number, or are the words of its name. Classes without a picture are kept out.
    Raises DataError if there is no class, all are empty, or nothing knows the lemmas of one.
    """
    listed = root / "wnids.txt"
    names = list(dict.fromkeys(_text(listed).split())) if listed.is_file() else folders_in(root / "train")
    if not names:
        raise DataError(f"no class folder in {root / 'train'}", "it holds a folder for each class, with its pictures")
    full = [name for name in names if pictures_below(root / "train" / name)]
    if not full:
        raise DataError(f"all {len(names)} class folders in {root / 'train'} are empty", "put pictures into them")
    known = Names(*([lemmas] if lemmas else []), *([root / "words.txt"] if (root / "words.txt").is_file() else []))
    annotations = root / "val" / "val_annotations.txt"
    annotated = read_annotations(annotations) if annotations.is_file() else None
    held, taken = folders_in(root / "val") if annotated is None else list(annotated), set(full)
    strange = [(f"val/{name}", "no class of train is called so") for name in held if name not in taken]
    empty = [name for name in names if name not in taken]
    return ImageFolder(root, [(name, known.lemmas(name)) for name in full], empty, strange, annotated)


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in one, A to Z; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if entry.is_dir() and not entry.name.startswith("."))


def pictures_below(folder: Path) -> list[Path]:
    """Return the picture files of a class folder, A to Z, or those of `images/` in it; none where there is no such
    folder."""
    place = folder / "images" if (folder / "images").is_dir() else folder
    if not place.is_dir():
        return []
    with os.scandir(place) as found:
        names = [entry.name for entry in found if os.path.splitext(entry.name)[1].lower() in SUFFIXES]
    return [place / name for name in sorted(names) if not name.startswith(".")]


def read_annotations(path: Path) -> dict[str, list[str]]:
    """Read the file names of each class in `val_annotations.txt`: name TAB wnid, and a box that is not read."""
    files: dict[str, list[str]] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if not name.strip() or not wnid:
            raise DataError(f"{path}, line {number}: not 'file TAB wnid'", "copy the file again")
        files.setdefault(wnid, []).append(name.strip())
    return files


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", "copy the file again") from error
