"""What `import vsearch` offers: a golden list, nothing heavy, and every name with a docstring."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import vsearch
import vsearch.model
from tests.support.pictures import draw

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["Caption", "Label", "Model", "Translator", "VsearchError", "__version__", "load"]
METHODS = [
    "caption", "captions", "describe", "dim", "embed_captions", "embed_image", "embed_images", "embed_text", "engine",
    "identity", "label", "network", "nouns", "onnx", "pixels", "prepare", "query", "scores", "side", "space",
    "torch_captions", "where",
]  # fmt: skip


def test_the_names_are_these() -> None:
    assert dir(vsearch) == NAMES == sorted(vsearch.__all__)
    assert [name for name in NAMES if not hasattr(vsearch, name)] == []


def test_the_methods_of_a_model_are_these() -> None:
    assert [name for name in dir(vsearch.Model) if not name.startswith("_")] == METHODS


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Describer'"):
        vsearch.Describer  # noqa: B018


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_every_name_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(vsearch, name))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_does(name: str) -> None:
    assert inspect.getdoc(getattr(vsearch.Model, name))


EXAMPLES = [
    test for module in (vsearch, vsearch.model) for test in doctest.DocTestFinder().find(module) if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.name))
def test_examples_run_as_written(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bundled model, next to two pictures of the names that the examples use."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("dog.jpg", "boat.png")):
        draw(number, (96, 72)).save(name)
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.failed == 0, "".join(said)


def test_what_is_asked_first_has_an_example() -> None:
    names = {example.name.removeprefix("vsearch.model.") for example in EXAMPLES}
    calls = {f"Model.{name}" for name in ("embed_image", "embed_images", "embed_text", "query", "caption", "label")}
    assert calls | {"Model", "load", "vsearch"} <= names


def test_importing_it_and_embedding_words_load_no_torch() -> None:
    script = """
import sys, vsearch
assert not {"numpy", "PIL", "torch"} & set(sys.modules), "import vsearch is not free"
model = vsearch.load()
assert model.embed_text("boat -sail").shape == (model.dim,)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
