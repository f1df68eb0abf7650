"""Files: replaced in one step, identified by their sha256, and JSON that is read or refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsearch.errors import VsearchError

PRIVATE = 0o600  # the mode of a file that only its owner may read and write
MODEL_JSON = 64 << 20  # bytes: the most that a JSON file of a model folder may have; ours have 1 MB


def mode_of(path: Path) -> int:
    """Return who may read and write a file, as for `os.open`; only its owner where there is none."""
    try:
        return path.stat().st_mode & 0o666
    except OSError:
        return PRIVATE


def make_empty(path: Path, mode: int = PRIVATE) -> None:
    """Make an empty file that no one else may read, not for a moment; one that is there is not even opened."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only."""
    for one in (*reversed(folder.parents), folder):
        if not one.is_dir():
            one.mkdir(0o700, exist_ok=True)


@contextlib.contextmanager
def replacing(path: Path, *, unique: bool = False, mode: int | None = None) -> Iterator[Path]:
    """Yield a path next to `path`; what is written there takes its place in one step, or is removed on an error.

    It is called NAME.partial or, for files that several processes may write at once, by a `unique` NAME.<random>.tmp.
    With a `mode` it is there from the beginning, empty, and may be read and written by whom that says.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp" if unique else f"{path.name}.partial")
    try:
        if mode is not None:
            make_empty(fresh, mode)
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that takes its name only when it is complete."""
    with replacing(path) as fresh:
        fresh.write_bytes(data)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write `value` as JSON in UTF-8 with a line end; the file takes its name only when it is complete."""
    write_bytes(path, (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode("utf-8"))


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_json(path: Path, limit: int | None = None) -> Any:
    """Return the content of a JSON file.

    Raises OSError if it cannot be read, ValueError if it is no JSON, or larger than `limit` bytes.
    """
    if limit is not None and path.stat().st_size > limit:
        raise ValueError(f"larger than {limit:,} bytes")
    try:
        return json.loads(path.read_text("utf-8"))
    except RecursionError:
        raise ValueError("too deeply nested") from None


def read_json(
    path: Path,
    kind: type[VsearchError],
    remedy: str = "",
    *,
    what: str = "",
    missing: VsearchError | None = None,
    limit: int | None = None,
) -> Any:
    """Return the content of a JSON file.

    Raises `missing`, if given, where there is no such file; an error of `kind` if it cannot be read or is no JSON,
    which names the file as `what` it is. `limit`: the most bytes that it may have.
    """
    try:
        return load_json(path, limit)
    except (OSError, ValueError) as error:
        if missing is not None and isinstance(error, FileNotFoundError):
            raise missing from None
        raise kind(f"cannot read {what}{path}: {error}", remedy) from None


def read_table(
    path: Path,
    kind: type[VsearchError],
    remedy: str = "",
    *,
    missing: VsearchError | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the table that a JSON file holds. Raises as `read_json`, and an error of `kind` if it is no table."""
    table = read_json(path, kind, remedy, missing=missing, limit=limit)
    if not isinstance(table, dict):
        raise kind(f"{path} is damaged: it is no table", remedy)
    return table
