"""The joint model: pictures and words to vectors, pictures to captions and labels.

    >>> import vsearch
    >>> model = vsearch.load()
    >>> model.embed_image("dog.jpg").shape, model.embed_text("boat -sail").shape
    ((200,), (200,))

Everything here is imported when it is first asked for, so that `import vsearch` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.errors import VsearchError
    from vsearch.model import Caption, Label, Model, load
    from vsearch.translation.translator import Translator

__version__ = "0.1.0"
__all__ = ["Caption", "Label", "Model", "Translator", "VsearchError", "__version__", "load"]

_HOMES = {
    "Caption": "vsearch.model",
    "Label": "vsearch.model",
    "Model": "vsearch.model",
    "Translator": "vsearch.translation.translator",
    "VsearchError": "vsearch.errors",
    "load": "vsearch.model",
}


def __getattr__(name: str) -> Any:
    """Import the public name `name` from the module that it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
