"""torchvision with a matching build of torch, and with one its operators do not load with."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch

from vsearch import torchvision as vision


def test_matching_pair_is_imported_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    module, defined = ModuleType("torchvision"), []
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    monkeypatch.setattr(vision, "define_missing", lambda: defined.append(1))
    assert vision.torchvision.__wrapped__() is module
    assert defined == []


def test_missing_operators_are_defined_and_the_import_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    module, events = ModuleType("torchvision"), []

    def import_module(name: str) -> ModuleType:
        events.append(name)
        if "define" not in events:
            raise RuntimeError("operator torchvision::nms does not exist")
        return module

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(vision, "define_missing", lambda: events.append("define"))
    assert vision.torchvision.__wrapped__() is module
    assert events == ["torchvision", "define", "torchvision"]


@pytest.mark.parametrize("error", [RuntimeError("no space left on device"), ImportError("no module named torchvision")])
def test_other_errors_come_through(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def import_module(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(vision, "define_missing", lambda: pytest.fail("nothing to define"))
    with pytest.raises(type(error), match=str(error)):
        vision.torchvision.__wrapped__()


def test_here_torchvision_imports_with_both_schemas() -> None:
    assert vision.torchvision() is sys.modules["torchvision"]
    vision.define_missing()  # must not clash with what is there, defined here or by torchvision itself
    assert hasattr(torch.ops.torchvision, "nms")
    assert hasattr(torch.ops.torchvision, "qnms")
