"""Translate the query of a search: subtracted and weighed words keep their sign and weight."""

from __future__ import annotations

from vsearch.text.phrase import parse
from vsearch.text.tokenise import tokenise
from vsearch.translation.translator import Translator


def translate_query(text: str, translator: Translator) -> str:
    """Return a query in the translator's target language: plain words as one sentence, every other term by itself.

    Raises QueryError if the query cannot be parsed.
    """
    terms = parse(text)
    others = [term for term in terms if term.weight != 1 or len(term.words) > 1]
    plain = [term for term in terms if term not in others]
    phrases = [" ".join(word for term in plain for word in term.words)] if plain else []
    if not others:
        phrases = [text.replace('"', "")]  # as it was written, hyphens and elisions included
    found = translator.translate([*phrases, *(" ".join(term.words) for term in others)])
    words = [" ".join(tokenise(one.text)) for one in found]
    queries = [f'{term.weight:g}*"{own}"' for term, own in zip(others, words[len(phrases) :], strict=True) if own]
    return " ".join([*words[: len(phrases)], *queries]).strip()
