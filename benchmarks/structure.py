"""How large the packages are, and whether their modules import in circles.

    python -m benchmarks.structure [CHECKOUT] [--json FILE]

Counts the lines of cli.py, vsearch, index and training, the functions of more than 40 lines (decorators left out), the
files of more than 300, and the circles of imports between modules, function bodies included. It reads files only, so it
measures any checkout, also one of an older commit.
"""

from __future__ import annotations

import argparse
import ast
import json
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT

PACKAGES = ("vsearch", "index", "training")
FUNCTION, FILE = 40, 300  # lines that a function and a file should not exceed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = structure(given.checkout)
    for name, value in found.items():
        print(f"{name:<24}{value}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def structure(checkout: Path) -> dict[str, Any]:
    """Return the figures of a checkout by their names."""
    files = sorted([checkout / "cli.py", *(path for name in PACKAGES for path in (checkout / name).rglob("*.py"))])
    trees = {path: ast.parse(path.read_text("utf-8")) for path in files}
    lines = {path.relative_to(checkout).as_posix(): len(path.read_text("utf-8").splitlines()) for path in files}
    functions = [length for tree in trees.values() for length in lengths(tree)]
    longest = max(lines, key=lambda name: lines[name])
    return {
        "files": len(files),
        "lines": sum(lines.values()),
        "functions": len(functions),
        f"functions over {FUNCTION}": sum(length > FUNCTION for length in functions),
        "longest function": max(functions),
        f"files over {FILE}": sum(count > FILE for count in lines.values()),
        "longest file": f"{longest}, {lines[longest]} lines",
        "circle of imports": " -> ".join(circle(imports(trees, checkout))) or "none",
    }


def lengths(tree: ast.AST) -> list[int]:
    """Return the lines of every function below `tree`."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in found]


def imports(trees: dict[Path, ast.Module], checkout: Path) -> dict[str, set[str]]:
    """Return which modules each module imports; packages themselves are left out."""
    names = {path: ".".join(path.relative_to(checkout).with_suffix("").parts) for path in trees}
    modules = {name for name in names.values() if not name.endswith("__init__")}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                targets = [name for alias in node.names for name in (f"{node.module}.{alias.name}", str(node.module))]
            if names[path] in graph:
                graph[names[path]] |= modules.intersection(targets) - {names[path]}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle, the first of them also at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


if __name__ == "__main__":
    main()
