"""Commands called within this process."""

from __future__ import annotations

import os

from typer.testing import CliRunner, Result

import cli


def call(*arguments: str | os.PathLike[str]) -> Result:
    """What a call of vsearch came to; an exception other than its exit is raised."""
    result = CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
