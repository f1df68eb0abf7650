"""Documents and commands say the same: examples parse; commands, options and settings are explained; links lead on."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

import index
import vsearch
from cli import app
from index.database.schema import SCHEMA
from tests.support.examples import Calls, blocks, shell_calls
from training.assemble.distilled import SmallBundle
from training.assemble.pretrained import PretrainedBundle
from training.assemble.stages import WordTraining
from training.data import classifier, pairs, prepared, scenes, texts, word_table
from training.loop.config import LoopConfig
from training.recipe import shipped
from training.tasks import (
    caption,
    caption_texts,
    devise,
    devise_classes,
    distil,
    finetune,
    joint,
    labels,
    self_critical,
    self_critical_texts,
    translate,
)
from vsearch import config

ROOT = Path(__file__).resolve().parents[2]
PREPARED = (
    prepared,
    pairs,
    texts,
    word_table,
    scenes,
    classifier,
)  # their docstrings hold the layout of a prepared file
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))}
REFERENCE = PAGES.pop("docs/reference/commands.md")  # generated, see test_site
WRITTEN = {"README.md": README, **PAGES}
GIVEN = {
    "build-index", "reindex", "forget", "search", "similar", "serve", "mcp", "duplicates", "check", "export",
    "caption", "label", "train", "find-lr", "plots", "prepare", "assemble", "evaluate", "info", "config",
    "tag", "move", "vote", "votes", "teach", "translate", "assemble-translator", "export-onnx",
}  # fmt: skip


def leaves(group: TyperGroup, before: str = "") -> dict[str, TyperCommand]:
    """Every command below `group` by its full name, as in "prepare words"."""
    found: dict[str, TyperCommand] = {}
    context = group.make_context("vsearch", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.resolve_command(context, [name])[1]  # a command is imported only here
        if isinstance(command, TyperGroup):
            found |= leaves(command, f"{before}{name} ")
        elif isinstance(command, TyperCommand):
            found[before + name] = command
    return found


GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = leaves(GROUP)


def options(command: Any) -> set[str]:
    """Every option of a command or a group, by all of its names."""
    named = {o for p in command.params if p.param_type_name == "option" for o in [*p.opts, *p.secondary_opts]}
    return named | {"-h", "--help"}


def name_of(words: list[str]) -> str:
    """The command that a line calls."""
    return next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), "")


def ours(calls: Calls) -> list[list[str]]:
    """What is given to vsearch by the calls of it, also through `python cli.py` and torchrun's `-m cli`."""
    found = []
    for words in calls:
        if words[0] == "vsearch":
            found.append(words[1:])
        elif words[:2] == ["python", "cli.py"]:
            found.append(words[2:])
        elif words[0] == "torchrun" and "cli" in words:
            found.append(words[words.index("cli") + 1 :])
    return found


def check_call(words: list[str]) -> None:
    """The command line takes these words: the command exists, and they are parsed without an error."""
    if words and words[0].startswith("-"):
        assert words[0] in options(GROUP), f"vsearch has no option {words[0]}"
        return
    name = name_of(words)
    assert name, f"there is no command vsearch {' '.join(words)}"
    try:
        COMMANDS[name].make_context(name, words[len(name.split()) :])
    except Exception as error:
        raise AssertionError(f"vsearch {' '.join(words)}: {error}") from error


def example_calls(help_text: str) -> list[list[str]]:
    """The calls of vsearch under "Example:" of a help text."""
    example = help_text.partition("Example:")[2].partition("\n\n")[0]
    return ours(shell_calls(line.strip() for line in example.splitlines()))


def test_all_commands_are_there() -> None:
    assert {name.split()[0] for name in COMMANDS} == GIVEN


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_is_right(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    calls = [words for words in example_calls(result.output) if name_of(words) == name]
    assert calls, f"{name} --help shows no example"
    for words in calls:
        check_call(words)


@pytest.mark.parametrize("group", ["prepare", "evaluate"])
def test_the_group_has_help_with_an_example(group: str) -> None:
    result = CliRunner().invoke(app, [group, "--help"])
    calls = example_calls(result.output)
    assert calls
    for words in calls:
        check_call(words)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_parameter_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


CALLS = {page: ours(shell_calls(blocks(text))) for page, text in WRITTEN.items()}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_is_shown_in_a_written_page(name: str) -> None:
    assert any(name_of(words) == name for calls in CALLS.values() for words in calls), f"no page shows {name}"


@pytest.mark.parametrize("page", [page for page, calls in CALLS.items() if calls])
def test_page_shows_no_command_or_option_that_is_not_there(page: str) -> None:
    for words in CALLS[page]:
        check_call(words)


def test_the_pages_hold_many_examples() -> None:
    assert len(CALLS["README.md"]) >= 10
    assert sum(len(calls) for page, calls in CALLS.items() if page != "docs/results.md") >= 100
    assert len(CALLS["docs/results.md"]) >= 25


def test_a_wrong_example_is_noticed() -> None:
    for line in ("vsearch find dog", "vsearch search dog --nearest", "vsearch search -k many dog", "vsearch export"):
        [words] = ours(shell_calls([line]))
        with pytest.raises(AssertionError):
            check_call(words)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_stands_in_the_reference(name: str) -> None:
    section = re.search(rf"^## vsearch {name}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert section, f"the reference has no section for {name}"
    for option in options(COMMANDS[name]):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", section[1]), f"{option} of {name}"


def test_every_option_is_explained_in_a_written_page() -> None:
    text = "\n".join(WRITTEN.values())
    for name, command in COMMANDS.items():
        for option in options(command) - {"-h", "--help"}:
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"no page names {option} of {name}"


def test_readme_shows_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("make demo", "make test"):
        assert target in README
        assert re.search(rf"^{target.split()[1]}:", makefile, re.MULTILINE)


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    calls = [words for text in WRITTEN.values() for words in shell_calls(blocks(text)) if words[0] == "make"]
    assert len(calls) >= 5
    for words in calls:
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_make_test_alone() -> None:
    lines = [n for n in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if n and not n.startswith("#")]
    assert len(lines) == 1
    assert "make test" in lines[0]


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub and MyST make them."""
    plain = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]+)?\)", WRITTEN[page]):
        if target.startswith(("http://", "https://")):
            continue
        place = (ROOT / page).parent / target if target else ROOT / page
        assert place.exists(), f"{page}: {target}"
        if anchor:
            assert anchor[1:] in anchors(place.read_text("utf-8")), f"{page}: {target}{anchor}"


@pytest.mark.parametrize("page", WRITTEN)
def test_files_named_are_there(page: str) -> None:
    named = r"(?<![\w/.-])((?:vsearch|index|training|tests|benchmarks|docs)/[\w/.-]+\.(?:py|toml|md|txt|j2|css|json))\b"
    for name in re.findall(named, WRITTEN[page]):
        assert (ROOT / name).is_file(), f"{page}: {name}"


def test_programs_named_are_there() -> None:
    calls = [words for text in WRITTEN.values() for words in shell_calls(blocks(text)) if words[:2] == ["python", "-m"]]
    programs = {words[2] for words in calls if words[2].startswith("benchmarks.")}
    assert len(programs) >= 8
    for program in programs:
        assert (ROOT / (program.replace(".", "/") + ".py")).is_file(), program


# ---- the reference of settings

TABLES: dict[str, type] = {
    "`[loop]`": LoopConfig,
    "`[encoder]`": config.EncoderConfig,
    "`[preprocess]`": config.PreprocessConfig,
    "`[devise]`": config.DeviseConfig,
    "`[decoder]`": config.DecoderConfig,
    "`[source]`": config.SourceConfig,
    "`distil`": distil.DistilConfig,
    "`devise`": devise.DeviseTaskConfig,
    "`devise-classes`": devise_classes.ClassesTaskConfig,
    "`devise-finetune`": finetune.FinetuneConfig,
    "`devise-labels`": labels.LabelsTaskConfig,
    "`caption`": caption.CaptionTaskConfig,
    "`caption-texts`": caption_texts.TextsTaskConfig,
    "`self-critical`": self_critical.SelfCriticalConfig,
    "`self-critical-texts`": self_critical_texts.CriticalTextsConfig,
    "`joint`": joint.JointConfig,
    "`translate`": translate.TranslateTaskConfig,
    "`bundle-pretrained`": PretrainedBundle,
    "`bundle`": SmallBundle,
    "`[words]`": WordTraining,
}
RECIPES = PAGES["docs/reference/recipes.md"]


def settings_of(heading: str) -> dict[str, object]:
    """The settings of the table below the heading that names `heading`, with their defaults."""
    sections = re.findall(r"^#+ ([^\n]+)\n(.*?)(?=^#|\Z)", RECIPES, re.MULTILINE | re.DOTALL)
    [body] = [body for title, body in sections if heading in title]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", body, re.MULTILINE)
    return {name: tomllib.loads(f"x = {default}")["x"] for name, default in rows}


@pytest.mark.parametrize("heading", TABLES)
def test_settings_and_their_defaults_are_right(heading: str) -> None:
    fields = dataclasses.fields(TABLES[heading])
    instance = TABLES[heading]()
    real = {
        f.name: getattr(instance, f.name) for f in fields if not dataclasses.is_dataclass(getattr(instance, f.name))
    }
    real = {name: list(value) if isinstance(value, tuple) else value for name, value in real.items()}
    assert settings_of(heading) == real


def test_every_shipped_recipe_is_listed() -> None:
    table = RECIPES.partition("## How it is optimised")[0]
    for name in shipped():
        assert f"`{name}`" in table, name


# ---- the reference of file formats


def test_the_tables_of_a_library_are_described() -> None:
    page = PAGES["docs/reference/file-formats.md"]
    described = {
        name: re.findall(r"`(\w+)`", columns)
        for name, columns in re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    }
    made = [re.match(r"CREATE TABLE (\w+) \((.*)\)", statement) for statement in SCHEMA]
    real = {m[1]: re.findall(r"(?:^|, )(\w+) [A-Z]", m[2]) for m in made if m}
    searched = [re.match(r"CREATE VIRTUAL TABLE (\w+) USING fts5\((.*), tokenize", statement) for statement in SCHEMA]
    real |= {m[1]: m[2].split(", ") for m in searched if m}
    assert len(real) >= 8 and "texts" in real
    assert described == real


def test_every_data_set_of_a_prepared_file_is_described() -> None:
    page = PAGES["docs/reference/file-formats.md"]
    layouts = [module.__doc__ or "" for module in PREPARED]
    groups = "pictures|labels|scenes|classifier|teacher|captions|texts|pairs|vectors|words"
    named = {name for text in layouts for name in re.findall(rf"\b((?:{groups})/\w+)", text)}
    assert len(named) >= 20
    assert {name for name in named if f"`{name}`" not in page} == set()


# ---- the reference of the Python API


def test_every_public_name_stands_in_the_reference() -> None:
    page = PAGES["docs/reference/python-api.md"]
    names = [f"{package.__name__}.{name}" for package in (vsearch, index) for name in package.__all__]
    assert len(names) >= 11
    assert [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", page)] == []


def test_the_design_shows_every_room() -> None:
    house = PAGES["docs/explanation/design.md"].partition("## The house")[2].partition("What a user")[0]
    rooms = {
        path.parent.relative_to(ROOT) for p in ("vsearch", "index", "training") for path in (ROOT / p).rglob("*.py")
    }
    assert len(rooms) >= 20
    assert [room for room in rooms if not re.search(rf"(?<![\w/]){room.name}/", house)] == []
