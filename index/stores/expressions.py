"""Paths and filters as Milvus takes them: nothing in them needs an escape, so nothing can end a string early.

Milvus 2.3 knows no templates for filters, and clients refuse text that is no UTF-8.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from index.paths import names
from index.stores.protocol import Where

_AWKWARD = frozenset("\"'\\%{}")  # these have a meaning in Milvus' expressions, or here


def key_of(path: str) -> str:
    """Return the key of a picture: BLAKE2b-128 of its path in 22 letters. 63 bits would clash at a billion pictures."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def encode(text: str) -> str:
    """Return a path with every byte that is no printable UTF-8, or has a meaning in filters, as %XX.

    A folder's encoded path begins the encoded paths of all that is below it.
    """
    return "".join(letter if letter.isprintable() and letter not in _AWKWARD else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(letter))


def decode(text: str) -> str:
    """Return what `encode` was given."""
    return os.fsdecode(unquote_to_bytes(text))


def with_keys(keys: Iterable[str]) -> str:
    """Return the expression that holds for these keys."""
    return f"key in [{', '.join(f'{chr(34)}{key}{chr(34)}' for key in keys)}]"


def condition(where: Where, sources: Iterable[str] = ()) -> str:
    """Return the expression that a filter stands for, empty where everything passes.

    A folder may have any name that leads to it through `sources`, see `index.paths.names`.
    """
    parts = []
    if where.within is not None:
        spans = [span for name in names(where.within, sources) for span in _spans(name)]
        parts.append(f"({' or '.join(f'(path >= {low} and path < {high})' for low, high in spans)})")
    if where.since is not None:
        parts.append(f"mtime_ns >= {int(where.since)}")
    if where.until is not None:
        parts.append(f"mtime_ns < {int(where.until)}")
    return " and ".join(parts)


def _spans(place: str) -> list[tuple[str, str]]:
    """Return the half-open ranges of `index.paths.spans`, quoted: `0` comes after `/`, and `$` after `#`."""
    stem = encode(place.rstrip("/"))
    spans = [(f'"{stem}/"', f'"{stem}0"')]
    return [*spans, (f'"{stem}#"', f'"{stem}$"')] if place.endswith(".tar") else spans
