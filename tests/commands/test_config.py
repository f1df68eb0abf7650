"""Settings as commands take them: option, then environment, then config.toml, then default; `vsearch config`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import cli
from tests.support.commands import call
from tests.support.tiny_model import draw_pictures, model_folder
from vsearch.commands.group import load
from vsearch.commands.settings import OPTIONS, defaults_of
from vsearch.settings import KEYS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("VSEARCH_CONFIG", str(path))
    return path


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the libraries `one`, of four pictures, and `two`, of three."""
    folder = tmp_path_factory.mktemp("libraries")
    draw_pictures(folder / "photos")
    for name in ("one", "two"):
        options: list[str | Path] = ["--library", folder / name, "--model", model_folder(), "--no-captions"]
        assert call("build-index", folder / "photos", *options).exit_code == 0
        (folder / "photos" / "red.png").unlink(missing_ok=True)
    return folder


def test_option_then_environment_then_file(libraries: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f'library = "{libraries / "one"}"\nmodel = "{model_folder()}"\n')

    def found(*options: str | Path) -> int:
        result = call("search", "dog", "--paths", *options)
        assert result.exit_code == 0, result.stderr
        return len(result.stdout.splitlines())

    assert found() == 4
    monkeypatch.setenv("VSEARCH_LIBRARY", str(libraries / "two"))
    assert found() == 3
    assert found("--library", libraries / "one") == 4
    monkeypatch.setenv("VSEARCH_MODEL", str(libraries / "none"))
    assert "none" in call("search", "dog").stderr and call("search", "dog").exit_code == 1
    assert found("--model", model_folder()) == 3


def test_what_else_is_set(libraries: Path, file: Path) -> None:
    place = libraries / "built"
    settings = f'library = "{place}"\nmodel = "{model_folder()}"\ncount = 1\ncaptions = false\nexclude = ["green.*"]\n'
    file.write_text(settings)
    assert call("build-index", libraries / "photos").stdout.startswith("2 added")
    rows = json.loads(call("search", "dog", "--json").stdout)
    assert len(rows) == 1 and rows[0]["caption"] is None
    assert len(json.loads(call("search", "dog", "--json", "-k", "9").stdout)) == 2
    assert len(json.loads(call("label", libraries / "photos" / "green.jpg", "--json").stdout)[0]["labels"]) == 5


@pytest.mark.parametrize("command", [["search", "dog"], ["prepare", "words", "x"], ["config"], ["info"]])
def test_a_wrong_file_is_one_line(file: Path, command: list[str]) -> None:
    file.write_text('librry = "x"\n')
    result = call(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {file}: unknown key 'librry'; did you mean library?\n"
    assert call(*command, "--help").exit_code == 0  # help comes without it


def test_config_shows_what_is_in_force(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('device = "cpu"\nexclude = ["raw/", "x"]\ncaptions = false\nlibrary = "/l"\n')
    monkeypatch.setenv("VSEARCH_LIBRARY", "/other")
    shown = json.loads(call("config", "--json").stdout)
    assert shown["file"] == str(file)
    rows = {row["key"]: (row["value"], row["from"]) for row in shown["settings"]}
    assert list(rows) == list(KEYS)
    assert rows["library"] == ("/other", "VSEARCH_LIBRARY")
    assert rows["device"] == ("cpu", str(file)) and rows["exclude"] == (["raw/", "x"], str(file))
    assert rows["count"] == (10, "default") and rows["beam"] == (None, "default")
    lines = call("config").stdout.splitlines()
    assert f"captions     false  ({file})" in lines and "library      /other  (VSEARCH_LIBRARY)" in lines
    assert "beam         the model's own  (default)" in lines
    monkeypatch.setenv("VSEARCH_CONFIG", "")
    assert call("config").stdout.startswith("file         none")


def test_the_defaults_shown_are_those_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["key"]: row["value"] for row in json.loads(call("config", "--json").stdout)["settings"]}
    real: dict[str, object] = {}
    for module, name in (("index.commands.search", "search"), ("index.commands.build", "build-index")):
        for parameter in load(module, name).params:
            real |= dict.fromkeys(parameter.opts, parameter.default)
    for key in ("device", "count", "min_score", "batch", "beam", "captions", "follow_links", "video_every", "exclude"):
        assert rows[key] == real[OPTIONS[key][0]], key


def test_every_key_is_an_option_somewhere_and_strangers_are_left_alone(file: Path) -> None:
    values = {"count": "3", "min_score": "0.1", "batch": "4", "beam": "2", "video_every": "5", "exclude": '["x"]'}
    values |= {"captions": "false", "follow_links": "true"}
    file.write_text("".join(f"{key} = {values.get(key, chr(34) + 'x' + chr(34))}\n" for key in KEYS))
    taken: set[str] = set()
    for name, (module, _) in cli.Vsearch.table.items():
        command = load(module, name)
        defaults = defaults_of(command, module, [])
        taken |= {option for p in command.params if p.name in defaults for option in p.opts}
        if module.startswith("training."):
            flat = [*defaults.values(), *(value for group in defaults.values() if isinstance(group, dict) for value in
                                          group.values())]  # fmt: skip
            assert not {3, 0.1, 4, 2, 5} & {value for value in flat if isinstance(value, int | float)}
    assert {option for option, _ in OPTIONS.values()} <= taken and set(OPTIONS) == set(KEYS)


def test_the_page_of_settings_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "config.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(KEYS)
