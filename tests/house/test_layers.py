"""Imports run one way: cli -> commands -> index | training -> vsearch; slow or delicate packages stay in their place.

The rules stand in pyproject.toml: import-linter's contracts, and ruff's TID253 for what may be imported at the top of a
module. The tests here see to it that the rules hold and that they bite, and check what neither tool can express.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).resolve().parents[2]
LINTED = ("benchmarks", "index", "training", "vsearch")


def files(*places: str) -> list[Path]:
    return sorted(p for place in places for p in (ROOT / place).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of whatever the statements below `tree` import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def lint_imports(root: Path) -> tuple[int, set[str]]:
    """Run import-linter in `root`; return its exit code and the names of the contracts that are broken."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", script, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return done.returncode, set(re.findall(r"^(.+?) BROKEN\b", done.stdout, re.MULTILINE))


def ruff(source: str, name: str) -> list[str]:
    """Return the packages that ruff's TID253 finds in `source` as the content of the file `name`."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID253", "--output-format", "concise"]
    command += ["--stdin-filename", name, "-"]
    done = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return re.findall(r"TID253 `([\w.]+)` is banned", done.stdout)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the project, to add a wrong import to."""
    folder = tmp_path_factory.mktemp("layers")
    for path in [*files(*LINTED), ROOT / "pyproject.toml"]:
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return folder


def test_every_contract_is_kept() -> None:
    assert lint_imports(ROOT) == (0, set())


FASTER = "Nothing plain stands on what is only faster"


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("vsearch/errors.py", "import index.paths", "Imports run one way; index and training never meet"),
        ("index/paths.py", "from training import recipe", "Imports run one way; index and training never meet"),
        ("training/recipe.py", "def f(): import index.paths", "Imports run one way; index and training never meet"),
        ("index/paths.py", "import benchmarks.filled", "Imports run one way; index and training never meet"),
        ("vsearch/errors.py", "def f(): import vsearch.scores", "No circles, neither of modules nor of rooms"),
        ("vsearch/metrics/retrieval.py", "import vsearch.networks.joint", ""),
        ("index/paths.py", "def f(): import cli", "Nothing imports the command line"),
        ("index/check.py", "import vsearch.commands.options", "Only commands import commands and the console"),
        ("training/recipe.py", "def f(): import vsearch.console", "Only commands import commands and the console"),
        ("index/paths.py", "import typer", "Typer and rich are for commands and the console"),
        ("vsearch/progress.py", "def f(): import rich.progress", "Typer and rich are for commands and the console"),
        ("index/paths.py", "import vsearch.networks.losses", "The library of pictures knows a model, not its networks"),
        ("vsearch/metrics/caption.py", "import vsearch.networks.fast.cpu", FASTER),
        ("vsearch/networks/losses.py", "def f(): import vsearch.networks.fast.process", FASTER),
        ("index/paths.py", "import nmslib", "nmslib has one home"),
        ("index/shards/run.py", "def f(): import ray", "Ray and botocore have one home each"),
        ("index/shards/markers.py", "import botocore.session", "Ray and botocore have one home each"),
        ("vsearch/config.py", "def f(): import fasttext", "fastText has two homes"),
        ("index/check.py", "from sqlite3 import connect", "SQLite has two homes"),
    ],
)  # fmt: skip
def test_a_contract_bites(copy: Path, module: str, line: str, contract: str) -> None:
    before = (copy / module).read_text("utf-8")
    try:
        (copy / module).write_text(f"{before}\n\n{line}\n")
        code, broken = lint_imports(copy)
    finally:
        (copy / module).write_text(before)
    assert (code, broken) == ((1, {contract}) if contract else (0, set()))


LIGHT = [
    "cli.py", "index/search/x.py", "vsearch/text/x.py", "vsearch/image/x.py", "vsearch/config.py",
    "vsearch/storage/modelfolder.py", "vsearch/commands/x.py", "index/commands/x.py", "training/commands/x.py",
]  # fmt: skip
SLOW = [
    "torch",
    "torchvision",
    "safetensors",
    "h5py",
    "nltk",
    "matplotlib.figure",
    "rich.progress",
    "nmslib",
    "fasttext",
]


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_slow_at_its_top(module: str) -> None:
    assert ruff("".join(f"import {package}\n" for package in SLOW), module) == [p.partition(".")[0] for p in SLOW]


def test_a_slow_package_is_imported_where_it_is_needed() -> None:
    assert ruff("from torch import nn\n", "index/library.py") == ["torch"]
    assert ruff("def f() -> None:\n    import torch\n", "index/library.py") == []
    assert ruff("from torch import nn\n", "vsearch/networks/fast/x.py") == []
    guarded = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import torch\n"
    assert ruff(guarded, "index/library.py") == []


def test_the_command_line_joins_commands_and_nothing_else() -> None:
    tree = ast.parse((ROOT / "cli.py").read_text("utf-8"))
    assert {name for name in imports(tree) if name.partition(".")[0] in LINTED} == {"vsearch.commands.group"}
    modules = {module for module, _ in cli.Vsearch.table.values()}
    assert {module.partition(".")[0] for module in modules} == {"vsearch", "index", "training"}
    assert all(re.fullmatch(r"(vsearch|index|training)\.commands\.\w+", module) for module in modules)


def test_nothing_but_the_cli_prints_or_exits() -> None:
    for path in files("vsearch", "index", "training"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in {"print", "exit", "quit", "sys.exit"}, f"{path.relative_to(ROOT)}:{node.lineno}: {name}"  # type: ignore[attr-defined]


def test_no_module_of_ours_is_imported_by_a_name_in_a_string() -> None:
    """import-linter would not see it."""
    ours = re.compile(r"f?['\"](cli|\.|" + "|".join(LINTED) + ")")
    for path in files(*LINTED):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        named = [ast.unparse(n.args[0]) for n in calls if ast.unparse(n.func).endswith(("import_module", "__import__"))]
        assert not [name for name in named if ours.match(name)], path


def test_no_trap_beside_the_packages() -> None:
    assert not [p for p in files("vsearch", "index", "training") if p.name == "__main__.py"]
    assert not (ROOT / "__main__.py").exists()
    assert not [p for p in (ROOT / "tests").iterdir() if p.is_dir() and (p / "__init__.py").exists()]


def test_the_scanner_sees_what_it_must() -> None:
    source = "import torch.nn\nfrom rich import console\ndef f():\n    import nmslib\nimportlib.import_module('cli')\n"
    assert set(imports(ast.parse(source))) == {"torch.nn", "rich", "nmslib", "cli"}
