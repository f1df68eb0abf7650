"""Imports run one way: cli -> index | training -> vsearch; and slow or delicate packages stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {"vsearch", "index", "training", "cli"}
ALLOWED = {
    "vsearch": {"vsearch"},
    "index": {"index", "vsearch"},
    "training": {"training", "vsearch"},
    "cli": {"cli", "index", "training", "vsearch"},
}
SLOW = {"torch", "torchvision", "matplotlib", "h5py", "nltk", "safetensors"}
LIGHT = ["cli.py", "index", "vsearch/text", "vsearch/image", "vsearch/config.py", "vsearch/storage/modelfolder.py"]


def files(*places: str) -> list[Path]:
    found = [p for place in places for p in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))]
    return sorted(found)


def imports(tree: ast.AST, package: str = "") -> Iterator[str]:
    """Full names of what the statements below `tree` import; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


class ModuleLevel(ast.NodeTransformer):
    """Takes away what runs only later or never: function bodies and `if TYPE_CHECKING:`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        return None

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def all_imports(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imports(ast.parse(path.read_text("utf-8")), package))


def module_level_imports(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imports(ModuleLevel().visit(ast.parse(path.read_text("utf-8"))), package))


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_layers_are_there() -> None:
    for layer in ("vsearch", "index", "training"):
        assert len(files(layer)) > 3, layer


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_imports_run_down_only(layer: str) -> None:
    for path in files("cli.py" if layer == "cli" else layer):
        wrong = (tops(all_imports(path)) & LAYERS) - ALLOWED[layer]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_only_tests_import_the_cli() -> None:
    for path in files("vsearch", "index", "training", "benchmarks"):
        assert "cli" not in tops(all_imports(path)), path


@pytest.mark.parametrize(
    ("package", "owners"),
    [
        ("nmslib", ["index/caches/graph.py"]),
        ("fasttext", ["vsearch/text", "training/data/words.py"]),
        ("typer", ["cli.py"]),
        ("rich", ["cli.py"]),
        ("sqlite3", ["index"]),
    ],
)
def test_a_delicate_package_has_one_home(package: str, owners: list[str]) -> None:
    users = {p for p in files("cli.py", "vsearch", "index", "training") if package in tops(all_imports(p))}
    assert users, f"nothing imports {package}: this test has lost its object"
    assert users <= set(files(*owners))


def test_light_modules_import_nothing_slow() -> None:
    for path in files(*LIGHT):
        slow = tops(module_level_imports(path)) & SLOW
        assert not slow, f"{path.relative_to(ROOT)} imports {slow} at module level"


def test_nothing_but_the_cli_prints_or_exits() -> None:
    for path in files("vsearch", "index", "training"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in {"print", "exit", "quit", "sys.exit"}, f"{path.relative_to(ROOT)}:{node.lineno}: {name}"  # type: ignore[attr-defined]


def test_no_trap_beside_the_packages() -> None:
    assert not [p for p in files("vsearch", "index", "training") if p.name == "__main__.py"]
    assert not (ROOT / "__main__.py").exists()
    assert not [p for p in (ROOT / "tests").iterdir() if p.is_dir() and (p / "__init__.py").exists()]


def test_the_scanner_sees_what_it_must() -> None:
    source = "import torch\nfrom . import graph\ndef f():\n    import nmslib\nif TYPE_CHECKING:\n    import h5py\n"
    assert set(imports(ast.parse(source), "index")) == {"torch", "index", "index.graph", "nmslib", "h5py"}
    assert set(imports(ModuleLevel().visit(ast.parse(source)), "index")) == {"torch", "index", "index.graph"}
    assert set(imports(ast.parse("from ..text import vocab"), "vsearch.models")) == {
        "vsearch.text",
        "vsearch.text.vocab",
    }
    assert set(imports(ast.parse("importlib.import_module('cli')"))) == {"cli"}
