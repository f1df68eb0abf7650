"""Sentences of several languages as tokens, punctuation kept, and back: what a translator reads and writes.

Both sides are lower case, as in the figures that are published on Multi30k. `vsearch.text.tokenise` is for phrases: it
drops punctuation and knows no language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from vsearch.errors import ConfigError

LANGUAGES = {"de": "German", "en": "English", "fr": "French"}
_SAME = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"',
                       "»": '"', "–": "-", "—": "-", "\u2011": "-", "…": "."})  # fmt: skip
# Words with inner apostrophes, hyphens and combining accents; numbers with inner stops; any other sign by itself.
_TOKEN = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f])*(?:['-][^\W\d_](?:[^\W\d_]|[\u0300-\u036f])*)*'?"
                    r"|\d+(?:[.,]\d+)*|\S")  # fmt: skip
_ELIDED = re.compile(r"(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quelqu|presqu|entr)'")
_ENDING = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ve|ll))")
_BEFORE, _AFTER = {".", ",", ";", ":", "!", "?", ")", "]", "%", "'"}, {"(", "["}


def check_language(code: str) -> str:
    """Return `code`. Raises ConfigError if its sentences cannot be told apart into words here."""
    if code not in LANGUAGES:
        known = ", ".join(f"{c} ({name})" for c, name in LANGUAGES.items())
        raise ConfigError(f"unknown language {code!r}", f"known: {known}")
    return code


def split(text: str, language: str) -> list[str]:
    """Return the tokens of a sentence, lower case, NFC: words, numbers, and every other sign by itself.

    French elisions are words of their own ("l'homme" is l' homme), English endings too ("dog's" is dog 's, "don't" is
    do n't). Raises ConfigError for an unknown language.
    """
    check_language(language)
    text = unicodedata.normalize("NFC", text.lower().translate(_SAME))
    found = _TOKEN.findall("".join(c if c.isprintable() else " " for c in text))
    parted = {"fr": _part_french, "en": _part_english}.get(language)
    return [piece for token in found for piece in ([*_loose(token)] if parted is None else parted(token))]


def join(tokens: Sequence[str], language: str) -> str:
    """Return the tokens of `split` as a sentence: no blank before a stop, elisions and endings at their words."""
    check_language(language)
    text, glued, quoted = "", True, False
    for token in tokens:
        opens = token == '"' and not quoted
        ending = language == "en" and (token == "n't" or (token.startswith("'") and len(token) > 1))
        close = token in _BEFORE or ending or (token == '"' and quoted)
        text += token if glued or close else f" {token}"
        quoted ^= token == '"'
        glued = token in _AFTER or opens or (language == "fr" and _ELIDED.fullmatch(token) is not None)
    return text


def _loose(token: str) -> list[str]:
    """Return a word without the apostrophe after it, which is a token of its own."""
    return [token[:-1], "'"] if len(token) > 1 and token.endswith("'") else [token]


def _part_french(token: str) -> list[str]:
    pieces = []
    while elided := _ELIDED.match(token):
        pieces.append(elided[0])
        token = token[elided.end() :]
    return pieces + (_loose(token) if token else [])


def _part_english(token: str) -> list[str]:
    ending = _ENDING.fullmatch(token)
    return [ending[1], ending[2]] if ending else _loose(token)
