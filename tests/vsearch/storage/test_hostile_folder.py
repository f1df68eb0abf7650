"""A stranger's model folder: sizes are checked before memory is taken, numbers are bounded, nesting has an end."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from tests.support import tiny_model
from vsearch.config import WIDEST_BEAM, ModelConfig, Range, TranslatorConfig, from_dict
from vsearch.errors import ConfigError, ModelError, VsearchError
from vsearch.files import MODEL_JSON
from vsearch.model import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(tiny_model.model_folder(), tmp_path / "model")
    return tmp_path / "model"


NUMBERS: list[tuple[str, str, Any]] = [
    ("preprocess", "side", 200_000), ("preprocess", "side", 0), ("preprocess", "side", -160),
    ("preprocess", "mean", [0.5, float("nan"), 0.5]), ("preprocess", "std", [0.2, 0.0, 0.2]),
    ("preprocess", "std", [0.2, float("inf"), 0.2]), ("encoder", "width", 10**9), ("devise", "hidden", 10**12),
    ("devise", "dim", 10**9), ("devise", "classes", 10**12), ("devise", "dropout", float("nan")),
    ("decoder", "max_len", 10**9), ("decoder", "beam", 10**6), ("decoder", "beam", 0), ("decoder", "hidden", 10**12),
    ("decoder", "embed", -1), ("decoder", "attention", 10**12), ("decoder", "cells", 10**12),
    ("decoder", "vector", 10**12), ("decoder", "centroids", 10**12), ("decoder", "length_power", float("inf")),
    ("decoder", "agreement", float("nan")), ("words", "dim", 10**9),
]  # fmt: skip


@pytest.mark.parametrize(("part", "key", "value"), NUMBERS)
def test_numbers_of_a_config_are_bounded(folder: Path, part: str, key: str, value: Any) -> None:
    table = json.loads((folder / "config.json").read_text())
    table[part][key] = value
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises(ConfigError, match=rf"{part}\.{key} must lie between"):
        load(folder)


def test_every_number_of_a_model_has_bounds() -> None:
    """A number added to a config later is not forgotten here."""
    import dataclasses
    import typing

    seen, todo = set[type](), [ModelConfig, TranslatorConfig]
    while todo:
        cls = todo.pop()
        seen.add(cls)
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            kinds = [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type)]
            todo += [kind for kind in kinds if dataclasses.is_dataclass(kind) and kind not in seen]
            inner = {kind for one in (hint, *typing.get_args(hint)) for kind in (one, *typing.get_args(one))}
            if name != "format" and {int, float} & inner:
                assert any(isinstance(one, Range) for one in typing.get_args(hint)), f"{cls.__name__}.{name}"
    assert len(seen) >= 7


@pytest.mark.parametrize("file", ["config.json", "phrase.json", "vocab.json", "ranking.json"])
@pytest.mark.parametrize("depth", [900, 100_000])
def test_nesting_has_an_end(folder: Path, file: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for text in (deep, f'{{"preprocess": {deep}, "idf": {deep}, "caption_weight": {deep}}}'):
        (folder / file).write_text(text)
        with pytest.raises(VsearchError) as caught:
            use(folder)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("file", ["config.json", "phrase.json", "vocab.json", "ranking.json"])
def test_a_huge_file_is_not_read(folder: Path, file: str) -> None:
    with (folder / file).open("wb") as hole:
        hole.truncate(MODEL_JSON + 1)
    with pytest.raises(ModelError, match=r"larger than 67,108,864 bytes"):
        use(folder)


def use(folder: Path) -> None:
    model = load(folder)
    _ = model.scores, model.query("dog"), model.network


@pytest.mark.parametrize(
    "edit",
    [
        lambda table: table["idf"].update(dog=1e300),
        lambda table: table["idf"].update(dog=float("nan")),
        lambda table: table.update(default_idf=float("inf")),
        lambda table: table["mean"].__setitem__(0, 1e30),
    ],
)
def test_weights_of_words_are_bounded(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads((folder / "phrase.json").read_text())
    edit(table)
    (folder / "phrase.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="too large"):
        load(folder).query("dog")


def test_beams_have_an_upper_bound(tmp_path: Path) -> None:
    photo = tiny_model.draw_pictures(tmp_path) / "red.png"
    done = CliRunner().invoke(cli.app, ["caption", str(photo), "--beam", "100000"])
    assert done.exit_code == 2 and "--beam" in done.stderr
    model = load(tiny_model.model_folder())
    for beam in (WIDEST_BEAM + 1, 0, -1):
        with pytest.raises(ModelError, match="1 to 100 beams"):
            model.caption(photo, beam=beam)
    assert model.caption(photo, beam=WIDEST_BEAM).text


def test_a_side_that_asks_for_memory_is_refused_before_it_is_taken(folder: Path) -> None:
    """In a process that may take 3 GB: a square of 200,000 pixels a side would need 120."""
    table = json.loads((folder / "config.json").read_text())
    table["preprocess"]["side"] = 200_000
    (folder / "config.json").write_text(json.dumps(table))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "sys.argv[0] = 'vsearch'; import cli; cli.main()"
    )
    assert resource.RLIMIT_AS
    photo = tiny_model.draw_pictures(folder.parent / "photos") / "red.png"
    done = subprocess.run(
        [sys.executable, "-c", script, "caption", photo, "--model", folder],
        capture_output=True, text=True, cwd=tiny_model.ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "preprocess.side must lie between 8 and 2048" in done.stderr, done.stderr


def test_what_ships_lies_within_its_bounds() -> None:
    assert from_dict(ModelConfig, json.loads((tiny_model.ROOT / "vsearch/bundled/config.json").read_text()))
