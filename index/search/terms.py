"""The terms of a query: joined where they are equal, shown as they are typed, and the key that votes are kept under."""

from __future__ import annotations

from collections.abc import Sequence

from vsearch.text.phrase import PhraseSpace, Term, parse


def merged(terms: Sequence[Term]) -> list[Term]:
    """Return the terms with equal ones joined, their weights added; those that come to nothing are left out."""
    weights: dict[tuple[str, ...], float] = {}
    for term in terms:
        weights[term.words] = weights.get(term.words, 0.0) + term.weight
    return [Term(words, weight) for words, weight in weights.items() if weight]


def shown(term: Term) -> str:
    """Return a term as it is typed, without its weight."""
    return term.words[0] if len(term.words) == 1 else '"' + " ".join(term.words) + '"'


def key_of(space: PhraseSpace, text: str) -> str:
    """Return under which name votes on a query are kept: its words without weights, in one order, minus signs kept.

    Raises QueryError if the words cannot be parsed.
    """
    terms = merged(space.folded(parse(text))) if text.strip() else []
    return " ".join(sorted({("-" if term.weight < 0 else "") + shown(term) for term in terms}))
