"""Names of photos from stdin, and the exit code of a search that finds nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from tests.support.commands import call
from tests.support.pictures import draw
from tests.support.site import build
from tests.support.tiny_model import model_folder

ODD = ("a b.png", "new\nline.png", os.fsdecode(b"inv\xff.png"), "-.png")


def fed(data: bytes, *arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, list(arguments), input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("named")
    for number, name in enumerate(ODD):
        draw(number).save(folder / "x", "PNG")
        (folder / "x").rename(folder / name)
    return [folder / name for name in ODD]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("found")
    build(place, 4)
    return place


@pytest.mark.parametrize("command", ["caption", "label"])
def test_names_come_with_a_nul_each(photos: list[Path], command: str) -> None:
    data = b"".join(os.fsencode(photo) + b"\0" for photo in photos)
    done = fed(data, command, "--stdin", "-0", "--json", "--model", str(model_folder()), "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert [row["path"] for row in json.loads(done.stdout)] == [os.fspath(photo) for photo in photos]


@pytest.mark.parametrize("sign", ["--stdin", "-"])
def test_names_come_a_line_each(photos: list[Path], sign: str) -> None:
    data = b"\n".join([os.fsencode(photos[0]), b"", os.fsencode(photos[3])])
    done = fed(data, "caption", sign, "--json", "--model", str(model_folder()), "--device", "cpu")
    assert [row["path"] for row in json.loads(done.stdout)] == [os.fspath(photos[0]), os.fspath(photos[3])]


def test_what_a_search_prints_is_tagged(place: Path) -> None:
    model = ("--model", str(model_folder()), "--device", "cpu", "--library", str(place / "library"))
    for separator in ((), ("-0",)):
        found = call("search", "dog", "-k", "2", "--paths", *separator, *model)
        done = fed(found.stdout_bytes, "tag", "--stdin", *separator, "--dry-run", "--json", *model)
        assert done.exit_code == 0, done.output
        named = {Path(row["file"]).name.removesuffix(".xmp") for row in json.loads(done.stdout)}
        assert named == {Path(name).name for name in found.stdout.replace("\0", "\n").split()}


def test_a_name_on_stdin_is_never_a_query(place: Path) -> None:
    model = ("--model", str(model_folder()), "--device", "cpu", "--library", str(place / "library"))
    done = fed(b"dog\n", "tag", "--stdin", "--dry-run", *model)
    assert done.exit_code == 1 and "no photo" in done.stderr


@pytest.mark.parametrize("command", ["caption", "tag"])
def test_no_name_at_all(command: str) -> None:
    done = fed(b"", command, "--stdin", "--model", str(model_folder()), "--device", "cpu")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no name came on stdin\n")


@pytest.mark.parametrize(
    ("data", "arguments", "code", "said"),
    [
        (b"a\0b\0", ("--stdin",), 1, "add -0"),
        (b"a.png\n", ("b.png", "--stdin"), 2, "takes the place of names"),
        (b"a.png\n", ("b.png", "-0"), 2, "-0 needs --stdin"),
        (b"a.png\n", (), 2, "name photos, or read their names with --stdin"),
        (b"/no/such.png\n", ("--stdin", "--device", "cpu"), 1, "/no/such.png: "),
    ],
)
def test_what_is_refused(data: bytes, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = fed(data, "caption", *arguments, "--model", str(model_folder()))
    assert done.exit_code == code and said in done.stderr


def test_a_search_that_finds_nothing_can_fail(place: Path) -> None:
    """With a code of its own: an error has another."""
    model = ("--model", str(model_folder()), "--device", "cpu", "--library", str(place / "library"))
    photo = str(place / "photos" / "001.jpg")
    for query in (("search", "dog"), ("similar", photo)):
        assert call(*query, "--min-score", "2", *model).exit_code == 0
        none = call(*query, "--min-score", "2", "--fail-if-empty", *model)
        assert (none.exit_code, none.stdout, none.stderr) == (4, "", "no picture fits\n")
        assert call(*query, "--fail-if-empty", *model).exit_code == 0
    assert call("search", "dog", "--min-score", "2", "--fail-if-empty", "--json", *model).stdout == "[]\n"
    assert call("search", '"open', "--fail-if-empty", *model).exit_code == 1
