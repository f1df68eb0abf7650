"""What errors say in Python's terms, as it is typed on the command line: one table, and a few calls with paths in them.

A term stands in backticks: `features`, `library.check()`, `Library.open('a.library', model).build([folder])`.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Callable

OPTIONS = (
    "broader", "classifier", "data", "dev", "dev_every", "device", "features", "label_features", "labels", "model",
    "pretrained", "scene_features", "scenes", "source_words", "start", "target_words", "teacher", "test", "texts",
)  # fmt: skip
TERMS = {
    **{name: f"--{name.replace('_', '-')}" for name in OPTIONS},
    "lemmas=file": "--lemmas FILE",
    "force=True": "--force",
    "index.move.move": "`vsearch move`",
    "markers=place": "--markers PLACE",
    "reindex=True": "--reindex",
    "poll=30": "`--poll 30`",
    "port=8770": "--port 8770",
    "read_only=True": "--read-only",
    "Library.open(path)": "--library",
    "Translator.load": "--translator",
    "library.build([folder])": "vsearch build-index FOLDER",
    "library.check()": "`vsearch check`",
    "library.folders()": "`vsearch info`",
    "library.search(exact=True)": "`vsearch search --exact`",
    "model.caption(photo)": "`vsearch caption PHOTOS --json`",
    "training.data": "`vsearch prepare`",
    "training.data.features.write_features": "`vsearch prepare features`",
    "training.run.train": "`vsearch train`",
    "training.run.train('devise')": "`vsearch train devise`",
    "training.run.train('translate')": "`vsearch train translate`",
    "training.data.pairs, training.run.train, training.assemble.translator":
        "vsearch prepare pairs, train translate, assemble-translator",
    "training.assemble.onnx.export_onnx": "`vsearch export-onnx`",
    "training.assemble.translator": "`vsearch assemble-translator`",
    "training.evaluate.scores": "`vsearch evaluate ranking --write`",
}  # fmt: skip


class Typed(str):
    """Text that says what to type; `typed` leaves it as it is."""


def typed(text: str) -> Typed:
    """Return `text` with each term in backticks as it is typed in a shell; other backticks stay as they are."""
    return text if isinstance(text, Typed) else Typed(re.sub("`([^`]+)`", _typed, text))


def shell(word: str) -> str:
    """Return a word as bash and zsh take it; control characters and bytes that are no UTF-8 in the $'...' form."""
    if word.isprintable():
        return shlex.quote(word)
    body = "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\{b:03o}" for b in os.fsencode(word))
    return f"$'{body}'"


def _typed(found: re.Match[str]) -> str:
    term = found.group(1)
    if term in TERMS:
        return TERMS[term]
    for pattern, said in CALLS.items():
        if call := re.fullmatch(pattern, term):
            return said(*call.groups())
    return found.group()


def _build(place: str | None, reindex: str | None, folders: str | None) -> str:
    """Say how a library is built: `place` and `folders` are literals of Python, or names to fill in."""
    library = [] if place is None else ["--library", _words(place)[0]]
    if folders is None:
        return _line("vsearch", "reindex", *library)
    if folders == "[folder]":
        return _line("vsearch", "build-index", "FOLDER", *(["--reindex"] if reindex else []), *library)
    return _line("vsearch", "build-index", *library, *_words(folders))


def _move_aside(ending: str, files: str) -> str:
    """Say how files are moved to their names with an `ending`; none that is there is replaced."""
    return " && ".join(_line("mv", "-n", name, name + ending) for name in _words(files))


def _words(code: str) -> list[str]:
    """Return the strings of a literal: a string, or a list of some."""
    found = ast.literal_eval(code)
    return [found] if isinstance(found, str) else list(found)


def _line(*words: str) -> str:
    return " ".join(map(shell, words))


_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
CALLS: dict[str, Callable[..., str]] = {
    r"caption_weight=([0-9.]+)": lambda weight: f"--caption-weight {weight}",
    rf"Library\.open\((?:({_STRING}), model|model=model)(, reindex=True)?\)"
    rf"\.build\((\[folder\]|\[(?:{_STRING})\])?(?:(?:, )?reindex=True)?\)": _build,
    rf"os\.remove\(({_STRING})\)": lambda path: _line("rm", *_words(path)),
    rf"\[os\.rename\(file, file \+ '(\.aside\d*)'\) for file in (\[(?:{_STRING})(?:, (?:{_STRING}))*\])\]": _move_aside,
}
