"""torchvision, importable with any build of torch.

The wheel on the package index is linked against CUDA; with a CPU build of torch its extension does not load, and the
import fails because two operators have no schema. Their schemas are all the import needs: nothing here calls them.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def torchvision() -> ModuleType:
    """Return the module torchvision. Where its operators are missing, everything but those and `torchvision.io`
    works."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    define_missing()
    return importlib.import_module("torchvision")


@functools.cache
def define_missing() -> torch.library.Library:
    """Declare the operators that torchvision registers fake kernels for and that are not there.

    The library returned must live on, or the operators go with it.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    return library
