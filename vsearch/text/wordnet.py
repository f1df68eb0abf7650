"""WordNet 3.0, read from the corpus that NLTK's downloader installs; nothing is downloaded here.

Only its data files are read (wndb(5WN) in WordNet's manual says how), unpacked or in wordnet.zip, where NLTK would find
them; NLTK itself is not needed.
"""

from __future__ import annotations

import functools
import io
import os
import re
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vsearch.errors import DataError

PARTS = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}  # first letter of a number: file
INSTALL = "run `python -m nltk.downloader wordnet` once, where NLTK is installed"


MARKER = re.compile(r"\((a|p|ip)\)$")  # of an adjective: where it may stand


@dataclass(frozen=True)
class Synset:
    """A set of synonyms: its number ("n02084071"), its lemmas with spaces, and the numbers of its hypernyms."""

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


def find(wnid: str) -> Synset | None:
    """Read one synset by its number: a letter of PARTS and its line's place in the file; None where there is no such
    one.

    Raises LookupError if the corpus is not installed, DataError for a damaged one.
    """
    with _open(PARTS[wnid[0]]) as file:
        file.seek(int(wnid[1:]))
        line = file.readline()
    if not line.startswith(wnid[1:].encode() + b" "):
        return None
    try:
        return _synset(line.decode("utf-8"), wnid[0])
    except (ValueError, IndexError):
        raise DataError("NLTK's WordNet is damaged", f"delete it and {INSTALL}") from None


def _read() -> str:
    try:
        with _open("noun") as file:
            return file.read().decode("utf-8")
    except LookupError:
        return ""


def _open(part: str) -> BinaryIO:
    """Open the file of a part of speech. Raises LookupError if the corpus is not installed."""
    name = f"data.{part}"
    for folder in places():
        corpora = folder / "corpora"
        if (corpora / "wordnet" / name).is_file():
            return (corpora / "wordnet" / name).open("rb")
        if (corpora / "wordnet.zip").is_file():
            return io.BytesIO(_unpacked(corpora / "wordnet.zip", f"wordnet/{name}"))
    raise LookupError("WordNet is not installed")


@functools.lru_cache(maxsize=1)
def _unpacked(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (KeyError, zipfile.BadZipFile, zlib.error):
        raise DataError("NLTK's WordNet is damaged", f"delete it and {INSTALL}") from None


def places() -> list[Path]:
    """Return the folders where NLTK looks for corpora: those of NLTK_DATA, the user's, Python's and the system's."""
    named = [Path(name) for name in os.environ.get("NLTK_DATA", "").split(os.pathsep) if name]
    own = [Path(sys.prefix, part, "nltk_data") for part in ("", "share", "lib")]
    system = [Path("/usr", part, "nltk_data") for part in ("share", "local/share", "lib", "local/lib")]
    return [*named, Path("~/nltk_data").expanduser(), *own, *system]


def _synset(line: str, part: str = "n") -> Synset:
    """Parse a line: number, file, type, count of lemmas (hexadecimal), lemmas with a digit each, count of pointers,
    pointers (symbol, number, part of speech, which lemmas), a bar, the gloss."""
    fields = line.partition("|")[0].split()
    end = 4 + 2 * int(fields[3], 16)
    lemmas = tuple(MARKER.sub("", lemma).replace("_", " ") for lemma in fields[4:end:2])
    pointers = range(end + 1, end + 1 + 4 * int(fields[end]), 4)
    above = tuple(f"{part}{fields[i + 1]}" for i in pointers if fields[i] in ("@", "@i"))
    return Synset(f"{part}{fields[0]}", lemmas, above)
