"""Where small copies of pictures are kept, and how they go: files named by the content of a picture and a size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

SIZES = (240, 480, 960, 1920)  # pixels on the longer side


def default_folder() -> Path:
    """Return where thumbnails are kept: in the user's cache folder."""
    import platformdirs

    return platformdirs.user_cache_path("vsearch", appauthor=False) / "thumbnails"


def thumbnail_path(folder: Path, content: bytes, size: int) -> Path:
    """Return where the thumbnail of a content (BLAKE2b-128) is kept."""
    name = content.hex()
    return folder / name[:2] / f"{name}-{size}.jpg"


def drop(folder: Path, contents: Iterable[bytes]) -> None:
    """Delete the thumbnails of these contents, of all sizes; what cannot be deleted stays."""
    if not folder.is_dir():
        return
    for content in contents:
        for size in SIZES:
            with contextlib.suppress(OSError):
                thumbnail_path(folder, content, size).unlink(missing_ok=True)
