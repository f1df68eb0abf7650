"""What a class is called: from the WordNet number or the words by which its folder goes."""

from __future__ import annotations

import re
from pathlib import Path

from vsearch.errors import DataError
from vsearch.text import wordnet
from vsearch.text.nouns import read_nouns

NUMBER = re.compile(r"[nvars]\d{8}")  # part of speech and offset, as in n02084071


class Names:
    """Class names to lemmas: by the files given, `wnid TAB lemma, lemma` a line (.gz or plain), the first first."""

    def __init__(self, *files: Path) -> None:
        self._tables = [_read(path) for path in files]

    def find(self, name: str) -> list[str] | None:
        """Return the lemmas that a file has for `name`, if one has."""
        return next((table[name] for table in self._tables if name in table), None)

    def lemmas(self, name: str) -> list[str]:
        """Return the lemmas of a class: of a file, of NLTK's WordNet for a WordNet number, else the words of the name
        itself.

        "fire_truck" is "fire truck". Raises DataError for a WordNet number that nothing knows.
        """
        return self.find(name) or (from_wordnet(name) if NUMBER.fullmatch(name) else [name.replace("_", " ")])


def _read(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise DataError(f"no list of lemmas at {path}", "name a file with `wnid TAB lemma, lemma` a line")
    table = {noun.wnid: list(noun.lemmas) for noun in read_nouns(str(path.absolute())) if noun.wnid}
    if not table:
        raise DataError(f"no line of {path} is `wnid TAB lemma, lemma`", "name a file that has such lines")
    return table


def from_wordnet(wnid: str) -> list[str]:
    """Return the lemmas of a synset of WordNet 3.0, from the corpus of NLTK, which is not downloaded here.

    Raises DataError if the corpus is not installed, or has no such synset.
    """
    try:
        synset = wordnet.find(wnid)
    except LookupError:
        raise DataError(
            f"nothing here knows what {wnid} is",
            f"give `lemmas=file` (`wnid TAB lemma, lemma` a line), or {wordnet.INSTALL}",
        ) from None
    if synset is None:
        raise DataError(
            f"there is no {wnid} in WordNet 3.0", "give `lemmas=file` that has it, or name the folder by its words"
        )
    return list(synset.lemmas)
