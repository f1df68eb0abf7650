"""The count of what a checkout holds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.structure import circle, structure


def test_a_small_checkout_is_counted(tmp_path: Path) -> None:
    for package in ("vsearch", "index", "training"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "cli.py").write_text("import index.a\n")
    (tmp_path / "index" / "a.py").write_text("def long():\n" + "    pass\n" * 40 + "def short():\n    pass\n")
    (tmp_path / "index" / "b.py").write_text("def late():\n    from index import c\n    return c\n")
    (tmp_path / "index" / "c.py").write_text("from index.b import late\n")
    found = structure(tmp_path)
    assert (found["files"], found["lines"]) == (7, 3 + 1 + 43 + 3 + 1)
    assert (found["functions"], found["functions over 40"], found["longest function"]) == (3, 1, 41)
    assert (found["files over 300"], found["longest file"]) == (0, "index/a.py, 43 lines")
    assert set(found["circle of imports"].split(" -> ")) == {"index.b", "index.c"}


def test_without_a_circle_there_is_none() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
