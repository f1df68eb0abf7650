"""Files with a JSON table a line, plain or compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsearch.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tables of a .jsonl or .jsonl.gz, each with its place as errors name it ("x.jsonl, line 3").

    Blank lines hold none. Raises DataError if the file cannot be read, or a line is not JSON.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                place = f"{path}, line {number}"
                try:
                    table = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{place} is not JSON: {error}", "copy the file again") from error
                yield place, table
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", "check the data set's folder") from error
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}", "copy the file again") from error
