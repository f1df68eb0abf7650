"""What is forgotten is in none of the files any more: no path, caption, vector, hash or place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.caches.thumbnails import SIZES
from index.database.database import Database
from index.database.schema import pack
from index.forget import forget
from index.web.thumbnails import Thumbnails
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
        library.connection.execute("INSERT INTO written SELECT DISTINCT hash, 'told ' || hex(hash) FROM pictures")
        library.connection.execute(
            "INSERT INTO votes (query, hash, good) SELECT DISTINCT 'query ' || hex(hash), hash, 1 FROM pictures"
        )
        library.connection.execute(
            "INSERT INTO notes (id, title, keywords) SELECT id, 'titled ' || hex(hash), '[]' FROM pictures"
        )
        library.connection.execute(
            "INSERT INTO taught (weight, query, picture) SELECT 1, 'learned ' || hex(hash), '' FROM pictures"
        )
        library.texts.fill()
        ids = library.read.ids_under(str(tmp_path / "private-holiday")).tolist()
        pictures = list(library.read.pictures(ids).values())
        _, vectors = library.read.vectors(ids)
        hexes = [one.hash.hex().upper().encode() for one in pictures]
        secrets = {
            **{word: [f"{word} ".encode() + one for one in hexes] for word in ("told", "query", "titled", "learned")},
            "path": [b"private-holiday"], "word": [b"liday"],
            "seen": [b"seen" + one for one in hexes], "skipped": [b"broken-secret"],
            "caption": [os.fsencode(one.caption or "") for one in pictures],
            "hash": [one.hash for one in pictures],
            "vector": [pack(vector)[:16] for vector in vectors],
            "cached vector": [vector.astype(np.float32).tobytes()[:24] for vector in vectors],
        }  # fmt: skip
        assert len(ids) == 60 and traces(home, secrets) == set(secrets)
        done = forget(library, [tmp_path / "private-holiday"])
        assert (done.pictures, done.captions, done.votes) == (60, 60, 60)
        assert len(library.opinions.votes()) == 30
        assert traces(home, secrets) == set()
        assert library.read.count() == 30 and library.read.integrity(1) == []
    assert traces(home, secrets) == set()
    with Database.open(home / "pics") as library:
        assert build_index(library, [tmp_path / "kept"], describer).unchanged == 30


def test_what_belongs_to_a_content_stays_with_its_last_picture(tmp_path: Path, describer: FakeDescriber) -> None:
    """Votes, captions by hand and thumbnails; and those of pictures that were deleted before."""
    cache = tmp_path / "cache"
    kept, gone, deleted = draw_folder(tmp_path / "private", 3)
    (tmp_path / "kept").mkdir()
    shutil.copy(kept, tmp_path / "kept" / "copy.png")
    with Database.open(tmp_path / "pics", create=True) as library, pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.caches.thumbnails.default_folder", lambda: cache)
        build_index(library, [tmp_path / "kept", tmp_path / "private"], describer)
        pictures = [library.read.picture(str(path)) for path in (kept, gone, deleted)]
        contents = [one.hash for one in pictures if one]
        for picture in pictures:
            assert picture is not None
            library.opinions.vote("dog", picture.hash, True)
            library.opinions.write_caption(picture.hash, "told")
            for size in SIZES:
                Thumbnails(cache).get(picture, size)
        assert len(list(cache.glob("??/*"))) == 3 * len(SIZES)
        deleted.unlink()
        build_index(library, [tmp_path / "private"], describer)
        done = forget(library, [tmp_path / "private"])
        assert (done.pictures, done.captions, done.votes) == (2, 2, 2)
        assert [vote.hash for vote in library.opinions.votes()] == list(library.opinions.captions(contents))
        assert library.opinions.captions(contents) == {contents[0]: "told"}
    left = {path.name.partition("-")[0] for path in cache.glob("??/*")}
    assert left == {contents[0].hex(), contents[2].hex()}  # nobody knows whose that of a picture deleted before is
