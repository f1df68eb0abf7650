"""Text of other people as one line."""

from __future__ import annotations


def one_line(text: str, longest: int) -> str:
    """Return a text as one line of at most `longest` letters that can be shown and stored."""
    clean = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    return " ".join("".join(letter if letter.isprintable() else " " for letter in clean).split())[:longest].rstrip()
