"""What is forgotten is in none of the files any more: no path, caption, vector, hash or place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from index.build.build import build_index
from index.database.database import Database
from index.database.schema import pack
from index.forget import forget
from tests.support.pictures import FakeDescriber, draw_folder


def traces(folder: Path, secrets: dict[str, list[bytes]]) -> set[str]:
    """The kinds of secrets that some file next to the library holds."""
    data = b"\0".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file())
    return {kind for kind, values in secrets.items() if any(value in data for value in values)}


def test_forget_leaves_nothing(tmp_path: Path, describer: FakeDescriber) -> None:
    describer.scores = type(describer.scores)(caption_weight=0.3)
    draw_folder(tmp_path / "kept", 30)
    draw_folder(tmp_path / "private-holiday", 60, first=100)
    (tmp_path / "private-holiday" / "broken-secret.png").write_bytes(b"no picture")
    home = tmp_path / "home"
    with Database.open(home / "pics", create=True) as library:
        build_index(library, [tmp_path / "kept", tmp_path / "private-holiday"], describer, graph_from=1)
        library.connection.execute("INSERT INTO ocr SELECT DISTINCT hash, 'seen' || hex(hash) FROM pictures")
        library.texts.fill()
        ids = library.read.ids_under(str(tmp_path / "private-holiday")).tolist()
        pictures = list(library.read.pictures(ids).values())
        _, vectors = library.read.vectors(ids)
        secrets = {
            "path": [b"private-holiday"], "word": [b"liday"],
            "seen": [b"seen" + one.hash.hex().upper().encode() for one in pictures], "skipped": [b"broken-secret"],
            "caption": [os.fsencode(one.caption or "") for one in pictures],
            "hash": [one.hash for one in pictures],
            "vector": [pack(vector)[:16] for vector in vectors],
            "cached vector": [vector.astype(np.float32).tobytes()[:24] for vector in vectors],
        }  # fmt: skip
        assert len(ids) == 60 and traces(home, secrets) == set(secrets)
        assert forget(library, [tmp_path / "private-holiday"]).pictures == 60
        assert traces(home, secrets) == set()
        assert library.read.count() == 30 and library.read.integrity(1) == []
    assert traces(home, secrets) == set()
    with Database.open(home / "pics") as library:
        assert build_index(library, [tmp_path / "kept"], describer).unchanged == 30
