"""What a user sets once: the file `config.toml` in the folder for configurations.

A command's option stands above it, and so do the environment variables VSEARCH_LIBRARY and VSEARCH_MODEL. Python code
says itself what it opens; `read_settings` tells it what the commands would take:

    from vsearch.settings import read_settings

    settings = read_settings()
    with Library.open(settings.get("library"), vsearch.load(settings.get("model"))) as library:
        ...
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vsearch.config import WIDEST_BEAM
from vsearch.errors import ConfigError

FILE = "VSEARCH_CONFIG"  # names another file than that in the folder for configurations; empty: none
ENVIRONMENT = {"library": "VSEARCH_LIBRARY", "model": "VSEARCH_MODEL"}  # they stand above the file


class Kind(NamedTuple):
    """What a key takes: in words, and whether a value is one."""

    what: str
    fits: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(most: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


_PATH = Kind("a path", lambda value: isinstance(value, str) and value != "")
_SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
KEYS: dict[str, Kind] = {
    "library": _PATH,
    "model": _PATH,
    "device": Kind("the name of a device", lambda value: isinstance(value, str) and value != ""),
    "count": Kind("a whole number of at least 1", _whole(math.inf)),
    "min_score": Kind("a number", _is_number),
    "batch": Kind("a whole number of at least 1", _whole(math.inf)),
    "beam": Kind(f"a whole number from 1 to {WIDEST_BEAM}", _whole(WIDEST_BEAM)),
    "captions": _SWITCH,
    "follow_links": _SWITCH,
    "video_every": Kind("a number of seconds, 0 for none", lambda value: _is_number(value) and value >= 0),
    "exclude": Kind(
        "a list of patterns", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)
    ),
}


def settings_path() -> Path | None:
    """Return where the file is or would be; None where the user wants none."""
    named = os.environ.get(FILE)
    if named is not None:
        return Path(named).expanduser() if named else None
    import platformdirs

    return platformdirs.user_config_path("vsearch", appauthor=False) / "config.toml"


def read_settings() -> dict[str, Any]:
    """Return what the user's file sets, by key, once it is sure that all of it is understood; empty without a file.

    Paths are made absolute: ~ is the user's home, and others begin in the folder of the file.
    Raises ConfigError, naming file and key, for an unknown key or a value of another kind, if the file is no TOML or
    cannot be read, and if VSEARCH_CONFIG names one that is not there.
    """
    path = settings_path()
    if path is None:
        return {}
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        if FILE in os.environ:
            raise ConfigError(f"there is no file {path}", f"make it, or unset {FILE}") from None
        return {}
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8", "write it again as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'error').lower()}", "make it readable") from None
    return _checked(path, _parsed(path, text))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # 5 ms, and only where there is a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}", 'write it as in: library = "photos.library"') from None
    except RecursionError:
        raise ConfigError(f"{path} is no TOML: too deep", 'write it as in: library = "photos.library"') from None


def _checked(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        kind = KEYS.get(key)
        if kind is None:
            raise ConfigError(f"{path}: unknown key {key!r}", _nearest(key))
        if not kind.fits(value):
            raise ConfigError(f"{path}: {key} takes {kind.what}, not {_shown(value)}", "correct that setting")
        found[key] = str(path.absolute().parent / Path(value).expanduser()) if kind is _PATH else value
    return found


def _nearest(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.lower().replace("-", "_"), KEYS, 1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
