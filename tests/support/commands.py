"""Commands called within this process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from typer.testing import CliRunner, Result

import cli


def call(*arguments: str | os.PathLike[str]) -> Result:
    """What a call of vsearch came to; an exception other than its exit is raised."""
    result = CliRunner().invoke(cli.app, [os.fspath(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def interruptible(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process that Ctrl-C ends, though whatever runs the tests may ignore it; its outputs are pipes of text."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
