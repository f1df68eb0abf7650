"""`vsearch config`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from vsearch.commands.options import PlainJsonOption
from vsearch.console import out, out_json, shown_path
from vsearch.settings import ENVIRONMENT, KEYS, read_settings, settings_path

app = typer.Typer(rich_markup_mode=None)
_OWN = {  # what holds where nobody sets it, in words, for keys without a value of their own
    "beam": "the model's own",
    "min_score": "any",
    "follow_links": "as the library's last build",
    "video_every": "as the library's last build",
    "exclude": "what the library's builds left out",
}


class Setting(NamedTuple):
    """A key, what it is (None: see `_OWN`), and where that comes from: a variable, a file, or "default"."""

    key: str
    value: Any
    source: str


@app.command()
def config(as_json: PlainJsonOption = False) -> None:
    """Show the settings in force, and where each comes from.

    An option of a command stands above the environment (VSEARCH_LIBRARY, VSEARCH_MODEL), that above the file
    config.toml, and that above the default. VSEARCH_CONFIG names another file; empty, none.

    \b
    Example:
      vsearch config
      vsearch config --json
    """
    path, settings = settings_path(), list(in_force())
    if as_json:
        rows = [{"key": one.key, "value": one.value, "from": one.source} for one in settings]
        out_json({"file": None if path is None else str(path), "settings": rows})
        return
    if path is None:
        out(f"{'file':<12} none (VSEARCH_CONFIG is empty)")
    else:
        out(f"{'file':<12} {shown_path(path)}{'' if path.exists() else ' (not there: all is as without it)'}")
    for one in settings:
        out(f"{one.key:<12} {_in_words(one)}  ({one.source})")


def in_force() -> Iterator[Setting]:
    """Yield every setting. Raises ConfigError as `read_settings` does."""
    given, path = read_settings(), settings_path()
    defaults = _defaults()
    for key in KEYS:
        variable = ENVIRONMENT.get(key, "")
        if os.environ.get(variable):
            yield Setting(key, str(Path(os.environ[variable]).absolute()), variable)
        elif key in given:
            yield Setting(key, given[key], str(path))
        else:
            yield Setting(key, defaults.get(key), "default")


def _defaults() -> dict[str, Any]:
    from index.paths import default_path
    from vsearch.storage.modelfolder import bundled

    places = {"library": str(default_path()), "model": str(bundled())}
    return {**places, "device": "auto", "count": 10, "batch": 32, "captions": True}


def _in_words(one: Setting) -> str:
    if one.value is None:
        return _OWN[one.key]
    if one.key in ENVIRONMENT:
        return shown_path(one.value)
    if isinstance(one.value, bool):
        return "true" if one.value else "false"
    return ", ".join(one.value) if isinstance(one.value, list) else str(one.value)
