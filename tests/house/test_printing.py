"""Everything that people read goes through the one escaping; only JSON and bare paths are printed as they are."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

from vsearch import console

ROOT = Path(__file__).resolve().parents[2]
NASTY = "a\x1b[31m\x07\x9b2J\u202egpj.exe\u2028\udcff\x00end"


def test_out_remark_and_paths_on_a_terminal_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console.out(NASTY)
    console.remark(NASTY)
    printed = capsys.readouterr()
    for text in printed:
        assert text.endswith("end\n") and text[:-1].isprintable() and r"\x1b[31m" in text


def test_bare_paths_are_bytes_for_programs_and_escaped_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for stream, expected in (
        (io.TextIOWrapper(io.BytesIO()), NASTY.encode("utf-8", "surrogateescape") + b"\n"),
        (Terminal(io.BytesIO()), console.shown(NASTY).encode() + b"\n"),
    ):
        monkeypatch.setattr("sys.stdout", stream)
        console.out_path(NASTY)
        assert isinstance(stream.buffer, io.BytesIO) and stream.buffer.getvalue() == expected


def test_nobody_else_writes_to_stdout() -> None:
    seen = 0
    for path in [p for room in ("vsearch", "index", "training") for p in (ROOT / room).rglob("*.py")]:
        if path == ROOT / "vsearch" / "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            seen += isinstance(node, ast.Call)
            written = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            assert not written.startswith(("sys.stdout.write", "sys.stdout.buffer")), f"{path}:{node}"
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "echo")), path
    assert seen > 1000
