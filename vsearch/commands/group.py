"""How commands are joined: modules are imported when one of their commands is called, errors end in one line.

Each module with commands has an `app`, a Typer of its own. A group of commands (`vsearch prepare ...`) is an app too.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, get_type_hints

import typer.main
from typer.core import TyperCommand, TyperGroup

from vsearch.commands.settings import defaults_of
from vsearch.console import INTERRUPTED, fail, remark, shown
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

TRAINING = {"torch", "torchvision", "h5py", "nltk"}  # packages of the extra `train`


class Commands(TyperGroup):
    """The whole program: its commands by name, imported on demand; expected errors end in one line and exit code 1."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}  # name -> module and first line of its help

    def __init__(self, **settings: Any) -> None:
        lines = {name: TyperCommand(name, help=line) for name, (_, line) in self.table.items()}
        super().__init__(**{**settings, "commands": lines})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and the rest of `args`. Only here a command is imported: help needs its line."""
        name, line, rest = super().resolve_command(ctx, args)
        if line is None or name is None:
            return name, None, rest
        module = self.table[name][0]
        command = load(module, name)
        if not ctx.resilient_parsing:  # as for completion
            ctx.default_map = {name: defaults_of(command, module, rest)}
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was called; print an expected error instead of raising it."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except VsearchError as error:
            from vsearch.commands.terms import typed

            fail(typed(str(error)), typed(error.hint))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in TRAINING:
                raise
            fail(f"this needs {package}, which is not installed", install_hint("train"))
        except BrokenPipeError:
            raise  # whoever read our output has had enough: Typer ends quietly
        except OSError as error:
            name = "" if error.filename is None else f": {shown(os.fsdecode(error.filename))}"
            fail(f"{error.strerror or error}{name}", "check that the path exists and may be used")
        except KeyboardInterrupt:
            remark("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def load(module: str, name: str) -> Any:
    """Return a command by name from the `app` of `module`; the whole group if it has no command of that name."""
    group = typer.main.get_group(importlib.import_module(module).app)
    _prepare(group)
    return group.commands.get(name, group)


NUMBERS = {"int range": "whole number", "float range": "number", "float": "number"}  # as errors call them


def _prepare(group: Any) -> None:
    """Call numbers by plain names in errors, and let no path be looked at before a command does: one that cannot be
    read is no wrong usage."""
    for command in group.commands.values():
        for parameter in command.params:
            if hasattr(parameter.type, "readable"):
                parameter.type.readable = False
            if parameter.type.name in NUMBERS and parameter.metavar:
                parameter.type.name = NUMBERS[parameter.type.name]
        if hasattr(command, "commands"):
            _prepare(command)


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """Make each field of a parameter that is a dataclass an option of the command, in its place.

    Commands share options in this way: `place: Place` gives --library, --model and --device.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        function(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        own = _options(groups[name]) if name in groups else [parameter.replace(annotation=hints[name])]
        parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters of a function."""
    hints, kind = get_type_hints(group, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    defaults = {
        field.name: inspect.Parameter.empty if field.default is MISSING else field.default for field in fields(group)
    }
    return [
        inspect.Parameter(name, kind, default=default, annotation=hints[name]) for name, default in defaults.items()
    ]
