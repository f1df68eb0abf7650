"""A WordNet of a few nouns, in the files that NLTK reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

NOUNS = {
    "entity": [], "animal": ["entity"], "dog": ["animal"], "toy_dog": ["dog"], "boat": ["entity"], "ark": ["boat"],
}  # fmt: skip
LEMMAS = {"dog": ["dog", "domestic_dog", "Xzqwv_vzzxq"], "ark": ["zzvqx"]}  # the last ones are in no dictionary


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, nouns: Mapping[str, Sequence[str]] = NOUNS
) -> dict[str, str]:
    """Have this corpus found below `folder`, and no other; returns the WordNet numbers of `nouns`."""
    numbers = write(folder / "corpora" / "wordnet", nouns)
    _point_to(monkeypatch, folder)
    return numbers


def remove(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have no corpus found: `folder` is empty."""
    _point_to(monkeypatch, folder)


def write(folder: Path, nouns: Mapping[str, Sequence[str]] = NOUNS) -> dict[str, str]:
    folder.mkdir(parents=True)
    licence = "  1 A tiny WordNet for tests.\n"
    numbers, place = dict.fromkeys(nouns, f"n{0:08d}"), len(licence)
    for name, above in nouns.items():  # a number is the line's place in the file; all numbers are equally long
        numbers[name] = f"n{place:08d}"
        place += len(_line(name, above, numbers))
    (folder / "data.noun").write_text(licence + "".join(_line(name, above, numbers) for name, above in nouns.items()))
    for part in ("verb", "adj", "adv"):  # what else NLTK's own reader opens
        (folder / f"data.{part}").write_text(licence)
    for part in ("verb", "adj", "adv", "sense"):
        (folder / f"index.{part}").write_text("")
    places = [(lemma.lower(), numbers[name][1:]) for name in nouns for lemma in LEMMAS.get(name, [name])]
    (folder / "index.noun").write_text("".join(f"{lemma} n 1 0 1 0 {number}\n" for lemma, number in places))
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"{part}.exc").write_text("")
    (folder / "lexnames").write_text("00 noun.Tops 1\n")
    return numbers


def _line(name: str, above: Sequence[str], numbers: Mapping[str, str]) -> str:
    lemmas = LEMMAS.get(name, [name])
    words = " ".join(f"{lemma} 0" for lemma in lemmas)
    pointers = "".join(f"@ {numbers[parent][1:]} n 0000 " for parent in above)
    return f"{numbers[name][1:]} 00 n {len(lemmas):02x} {words} {len(above):03d} {pointers}| a thing\n"


def _point_to(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("vsearch.text.wordnet.places", lambda: [folder])
