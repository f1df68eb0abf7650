"""The one tokeniser: captions, corpus, queries, labels and vocabularies all pass through it."""

from __future__ import annotations

import re
import unicodedata

# A run of letters (accents that have no composed form included), joined by inner apostrophes; or a run of digits.
# Letters and digits are parted ("mp3" is "mp 3"), as they are in the corpus the word vectors come from.
_LETTERS = "[^\\W\\d_]+(?:[\u0300-\u036f]+[^\\W\\d_]*)*"
_TOKEN = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|\d+")
# Treebank-style captions part the ending from its word: "dog 's" is "dog's", "do n't" is "don't".
_PARTED = re.compile(r"(?<=\w) +(?=(?:'(?:s|m|d|re|ve|ll)|n't)\b)")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "＇": "'"})


def tokenise(text: str) -> list[str]:
    """Return the words of `text`: lower case, NFC, punctuation dropped, hyphens parted, inner apostrophes kept.

    "A T-shirt, the dog 's." gives ["a", "t", "shirt", "the", "dog's"]. Tokenising joined tokens again changes nothing.
    """
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
    if "'" in text:
        text = _PARTED.sub("", text)
    return _TOKEN.findall(text)
