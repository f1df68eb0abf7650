"""The nouns of WordNet 3.0, read from the corpus that NLTK's downloader installs; nothing is downloaded here.

Only data.noun is read (wndb(5WN) in WordNet's manual says how), which is quicker than NLTK's own reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from vsearch.errors import DataError

INSTALL = "run `python -m nltk.downloader wordnet` once"


@dataclass(frozen=True)
class Synset:
    """A noun: its number ("n02084071"), its lemmas with spaces, and the numbers of its hypernyms."""

    wnid: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]


def synsets() -> dict[str, Synset]:
    """Read all noun synsets by number, in order; none where the corpus is not installed. DataError for a damaged
    one."""
    text = _read()
    try:
        found = [_synset(line) for line in text.splitlines() if line and not line.startswith(" ")]
    except (ValueError, IndexError):
        raise DataError("NLTK's WordNet is damaged", f"delete it and {INSTALL}") from None
    return {synset.wnid: synset for synset in found}


def _read() -> str:
    import nltk

    try:
        with nltk.data.find("corpora/wordnet/data.noun").open() as file:
            return str(file.read().decode("utf-8"))
    except LookupError:
        return ""


def _synset(line: str) -> Synset:
    """Parse a line: number, file, type, count of lemmas (hexadecimal), lemmas with a digit each, count of pointers,
    pointers (symbol, number, part of speech, which lemmas), a bar, the gloss."""
    fields = line.partition("|")[0].split()
    end = 4 + 2 * int(fields[3], 16)
    lemmas = tuple(lemma.replace("_", " ") for lemma in fields[4:end:2])
    pointers = range(end + 1, end + 1 + 4 * int(fields[end]), 4)
    return Synset(f"n{fields[0]}", lemmas, tuple(f"n{fields[i + 1]}" for i in pointers if fields[i] in ("@", "@i")))
