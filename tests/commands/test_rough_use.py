"""What a user can do to the program: odd dates, folders that cannot be read, no stdout, a full one, Ctrl-C."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cli
from index.search.query import nanoseconds
from tests.support import tiny_model
from tests.support.commands import call, interruptible
from vsearch.commands.group import load

CLI = [sys.executable, str(tiny_model.ROOT / "cli.py")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("made")
    photos = tiny_model.draw_pictures(top / "photos")
    done = call("build-index", photos, "--library", top / "library", "--model", tiny_model.model_folder())
    assert done.exit_code == 0, done.stderr
    return top


def search(library: Path, *arguments: str) -> list[str]:
    return ["search", "dog", *arguments, "--library", str(library), "--model", str(tiny_model.model_folder())]


# ---- dates


@pytest.mark.parametrize(
    ("bounds", "hits"),
    [
        (["--since", "2300-01-01"], 0), (["--until", "2300-01-01"], 4), (["--since", "1600-01-01"], 4),
        (["--until", "1600-01-01"], 0), (["--since", "9999-12-31"], 0), (["--until", "9999-12-31"], 4),
        (["--since", "0001-01-01"], 4), (["--until", "0001-01-01"], 0),
        (["--since", "0001-01-01", "--until", "9999-12-31"], 4),
    ],
)  # fmt: skip
def test_dates_of_any_year(made: Path, bounds: list[str], hits: int) -> None:
    done = call(*search(made / "library", *bounds, "--paths"))
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == hits


def test_nanoseconds_keep_the_order_of_dates() -> None:
    days = [datetime(1, 1, 1), *(datetime(year, 3, 1) for year in range(1600, 2400, 25)), datetime.max]
    numbers = [nanoseconds(day) for day in days]
    assert numbers == sorted(number for number in numbers if number is not None)
    assert all(abs(number or 0) < 2**63 for number in numbers)
    assert nanoseconds(datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC)) == -500_000_000
    assert nanoseconds(datetime(1970, 1, 2, tzinfo=UTC) + timedelta(microseconds=1)) == 86_400_000_001_000


# ---- folders


def test_one_folder_that_cannot_be_read_stops_no_build(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """As cron calls it: the others are indexed, the exit code is 3."""
    (tmp_path / "locked").mkdir()
    real, scandir = os.access, os.scandir

    def access(path: Any, mode: int, **named: Any) -> bool:
        return "locked" not in str(path) and real(path, mode, **named)

    def refuse(path: Any) -> Any:
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "scandir", refuse)
    model, place = tiny_model.model_folder(), tmp_path / "library"
    done = call("build-index", tmp_path / "locked", made / "photos", "--library", place, "--model", model)
    assert done.exit_code == 3 and "4 added" in done.stdout
    assert "could not look into" in done.stderr and "no permission to read it" in done.stderr


def test_no_path_is_looked_at_before_its_command_does() -> None:
    seen = 0

    def walk(command: Any) -> None:
        nonlocal seen
        for parameter in command.params:
            if hasattr(parameter.type, "readable"):
                seen += 1
                assert not parameter.type.readable and not parameter.type.exists, parameter.name
        for below in getattr(command, "commands", {}).values():
            walk(below)

    for name, (module, _) in cli.Vsearch.table.items():
        walk(load(module, name))
    assert seen > 60 and typer.main.get_command(cli.app)


# ---- a library with damaged fields

DAMAGE = [
    "UPDATE meta SET value = 'x' WHERE key = 'dim'", "UPDATE meta SET value = '-5' WHERE key = 'dim'",
    "UPDATE meta SET value = '0' WHERE key = 'dim'", "UPDATE meta SET value = '99999999999' WHERE key = 'dim'",
    "UPDATE meta SET value = '²' WHERE key = 'dim'", "UPDATE meta SET value = 'much' WHERE key = 'caption_weight'",
    "UPDATE meta SET value = 'nan' WHERE key = 'caption_weight'", "UPDATE vectors SET vector = 'text'",
    "UPDATE vectors SET vector = 7", "UPDATE caption_vectors SET vector = 'text'",
    "UPDATE pictures SET caption = x'ff00'", "UPDATE pictures SET hash = 'text'", "UPDATE pictures SET hash = 5",
    "UPDATE pictures SET size = 'big'", "UPDATE pictures SET mtime_ns = x'00'", "UPDATE pictures SET path = id || 'x'",
    "UPDATE sqlite_sequence SET seq = 'last'", "UPDATE folders SET path = 'text'", "UPDATE mounts SET path = 4",
    "INSERT INTO skipped VALUES (CAST('{photos}/x.jpg' AS BLOB), 'a', 'b', x'00')",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_fields_are_said_and_no_traceback(made: Path, tmp_path: Path, damage: str) -> None:
    place, model = tmp_path / "library", str(tiny_model.model_folder())
    with sqlite3.connect(made / "library") as source, sqlite3.connect(place) as target:
        source.backup(target)
        target.execute(damage.replace("{photos}", str(made / "photos")))
    source.close()
    target.close()
    words = 0
    for command in (
        search(place), search(place, "--in", str(made)), search(place, "--caption-weight", "0.5"),
        ["similar", str(made / "photos" / "red.png"), "--library", str(place), "--model", model],
        ["check", "--library", str(place)], ["duplicates", "--library", str(place)],
        ["export", str(tmp_path / "v.jsonl"), "--library", str(place)], ["info", "--library", str(place)],
        ["build-index", str(made / "photos"), "--library", str(place), "--model", model],
        ["forget", str(made / "photos"), "--library", str(place)],
    ):  # fmt: skip
        done = call(*command)  # raises what is no expected error
        words += "damaged" in done.stdout + done.stderr or "not of" in done.stdout
    assert words, "nothing noticed"


# ---- stdout and Ctrl-C


def run(arguments: Sequence[str], shell: str) -> subprocess.CompletedProcess[str]:
    words = ["bash", "-c", f'"$@" {shell}', "bash", *CLI, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_without_stdout(made: Path) -> None:
    for arguments in (search(made / "library"), search(made / "library", "--json")):
        done = run(arguments, ">&-")
        assert done.returncode == 1 and "there is no stdout" in done.stderr and "Traceback" not in done.stderr
    assert run(["--version-of-nothing"], ">&- 2>&-").returncode != 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_stdout(made: Path) -> None:
    for arguments in (search(made / "library"), search(made / "library", "-0")):
        done = run(arguments, ">/dev/full")
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "cannot print to stdout: no space left on device" in done.stderr


def test_a_reader_that_has_had_enough(made: Path) -> None:
    done = run(search(made / "library", "--json"), "| head -c 1")
    assert done.returncode == 0 and done.stderr == ""


def test_an_interrupt_at_any_moment_shows_no_traceback(made: Path) -> None:
    rng = random.Random(1)
    ended = 0
    for n in range(12):
        command = [*CLI, *(search(made / "library") if n % 2 else ["caption", str(made / "photos" / "red.png")])]
        with interruptible(command) as process:
            time.sleep(0.06 + rng.random() * 0.8)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        beginning = "site.py" in errors or "encodings" in errors  # Python itself had not begun yet
        ended += beginning or process.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in errors or beginning, errors
    assert ended >= 3
