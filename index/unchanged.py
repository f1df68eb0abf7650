"""Whether a file may be shown: only if it still is the one that was indexed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from index.database.read import Picture
from index.paths import file_of, inside


def trouble(picture: Picture, folders: Iterable[str]) -> str:
    """Return why the file of a picture is not the one that was indexed; "" if it is.

    It is if it is regular, below one of the library's `folders`, and of the size and date noted.
    """
    if not any(inside(picture.path, folder) for folder in folders):
        return "the picture is in no folder of the library any more"
    try:
        status = os.stat(file_of(picture.path))
    except OSError:
        return "the file is gone"
    if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns) != (picture.size, picture.mtime_ns):
        return "the file has changed since it was indexed"
    return ""
