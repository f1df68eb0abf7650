"""The user's settings as defaults of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vsearch.settings import ENVIRONMENT, read_settings

OPTIONS = {  # key: the option it stands for, and the beginning of the modules whose commands take it
    "library": ("--library", ""),
    "model": ("--model", ""),
    "device": ("--device", ""),
    "count": ("-k", "index.commands.search"),
    "min_score": ("--min-score", "index.commands.search"),
    "batch": ("--batch", "index.commands.build"),
    "beam": ("--beam", ""),
    "captions": ("--captions", "index.commands.build"),
    "follow_links": ("--follow-links", "index.commands.build"),
    "video_every": ("--video-every", "index.commands.build"),
    "exclude": ("--exclude", "index.commands.build"),
}
_HELP = {"-h", "--help"}


def defaults_of(command: Any, module: str, args: Sequence[str]) -> dict[str, Any]:
    """Return what the user's file sets of a command's parameters, by their names; for a group of commands, by command.

    Nothing is read where `args` ask for help. Raises ConfigError as `read_settings` does.
    """
    end = args.index("--") if "--" in args else len(args)
    if _HELP.intersection(args[:end]):
        return {}
    settings = read_settings()
    return _defaults(command, module, settings) if settings else {}


def was_typed(context: Any, *names: str) -> bool:
    """Tell whether one of these parameters was given by an option, not by the environment or the user's file."""
    sources = (context.get_parameter_source(name) for name in names)
    return any(source is not None and source.name == "COMMANDLINE" for source in sources)


def _defaults(command: Any, module: str, settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _defaults(one, module, settings) for name, one in getattr(command, "commands", {}).items()
    }
    for key, value in settings.items():
        option, home = OPTIONS[key]
        for parameter in command.params:
            shared = key not in ENVIRONMENT or parameter.envvar == ENVIRONMENT[key]  # not every --model is that one
            if option in parameter.opts and shared and _is_at_home(module, home, key):
                found[parameter.name] = value
    return found


def _is_at_home(module: str, home: str, key: str) -> bool:
    return module.startswith(home) and (key in (*ENVIRONMENT, "device") or not module.startswith("training."))
