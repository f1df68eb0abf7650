"""How Sphinx builds the documentation: `make docs` writes docs/_build/html, without network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import vsearch

project = "vsearch"
author = "the vsearch authors"
copyright = author
version = release = vsearch.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
# Aliases stand in signatures by their own names; docs/reference/python-api.md says what they are.
autodoc_type_aliases = {name: name for name in ("Floats", "Photo", "Pixels", "Place", "Progress", "Vector")}

default_role = "code"

html_theme = "furo"
html_title = f"vsearch {version}"
html_static_path = ["_static"]
html_css_files = ["vsearch.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"


ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
ARRAY = re.compile(r"~?[\w.]*ndarray\[~?[\w.]*tuple\[~?[\w.]*Any, \.\.\.\], ~?[\w.]*dtype\[~?[\w.]*?(\w+)\]\]")


def short_types(*event: Any) -> tuple[str | None, str | None] | None:
    """Return a signature and its result as the source has them: aliases by their names, arrays as NDArray."""
    signature, result = (text and ARRAY.sub(r"NDArray[\1]", ALIAS.sub(r"\1", text)) for text in event[-2:])
    return (signature, result) if signature else None


def setup(app: Any) -> None:
    """Connect `short_types`."""
    app.connect("autodoc-process-signature", short_types)
