"""What a library says: its pictures, their vectors, its folders. `library` opens it and writes to it.

D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Database, as_library_error
from index.database.schema import unpack
from index.paths import below
from vsearch.scores import mix


class Picture(NamedTuple):
    """A row of the library, without its vector."""

    id: int
    path: str
    size: int
    mtime_ns: int
    hash: bytes
    caption: str | None


class Dates(NamedTuple):
    """What tells whether a file changed since it was indexed."""

    path: str
    id: int
    size: int
    mtime_ns: int
    captioned: bool


class Reading(Database):
    """The part of a library that changes nothing. Every method raises LibraryError where the file fails."""

    @property
    def identity(self) -> str | None:
        """The model that made the vectors; None before the first build."""
        return self.noted("identity")

    @property
    def dim(self) -> int | None:
        """D, the length of a vector; None before the first build."""
        value = self.noted("dim")
        return int(value) if value is not None else None

    @property
    def caption_weight(self) -> float:
        """How much captions count in searches by words, as the last build had it: 0 to 1."""
        return float(self.noted("caption_weight") or 0.0)

    def count(self) -> int:
        """Pictures in the library."""
        return int(self.value("SELECT count(*) FROM pictures"))

    def captioned(self) -> int:
        """Pictures that have a caption."""
        return int(self.value("SELECT count(*) FROM pictures WHERE caption IS NOT NULL"))

    def last_id(self) -> int:
        """The highest id ever given, 0 if none."""
        return int(self.value("SELECT seq FROM sqlite_sequence WHERE name = 'pictures'") or 0)

    def folders(self) -> list[str]:
        """Every folder that was ever scanned, sorted."""
        return sorted(self._name(row[0]) for row in self.rows("SELECT path FROM folders"))

    def mounts(self) -> list[str]:
        """Folders that were mount points when they were last scanned, sorted."""
        return sorted(self._name(row[0]) for row in self.rows("SELECT path FROM mounts"))

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that are no readable pictures, by path."""
        rows = self.rows("SELECT path, reason FROM skipped ORDER BY path")
        return [(self._name(path), reason) for path, reason in rows]

    def skipped_under(self, folder: str) -> list[tuple[str, int, int, str]]:
        """(path, size, mtime_ns, reason) of the skipped files below a folder."""
        sql = "SELECT path, size, mtime_ns, reason FROM skipped WHERE path >= ? AND path < ?"
        return [(self._name(row[0]), *row[1:]) for row in self.rows(sql, below(folder))]

    def dates_under(self, folder: str) -> list[Dates]:
        """The dates of the pictures below a folder, by path."""
        sql = "SELECT path, id, size, mtime_ns, caption IS NOT NULL FROM pictures WHERE path >= ? AND path < ?"
        return [Dates(self._name(row[0]), *row[1:]) for row in self.rows(f"{sql} ORDER BY path", below(folder))]

    def ids_where(
        self, folder: str | None = None, since: int | None = None, until: int | None = None
    ) -> NDArray[np.int64]:
        """Ids int64 (n,), ascending, of the pictures below a folder and changed in [since, until) (ns)."""
        wanted: list[str] = []
        values: list[bytes | int] = []
        if folder is not None:
            wanted.append("path >= ? AND path < ?")
            values += below(folder)
        for bound, condition in ((since, "mtime_ns >= ?"), (until, "mtime_ns < ?")):
            if bound is not None:
                wanted.append(condition)
                values.append(bound)
        return _ids(self.rows(f"SELECT id FROM pictures WHERE {' AND '.join(wanted) or 'true'} ORDER BY id", values))

    def ids_under(self, folder: str) -> NDArray[np.int64]:
        """Ids of the pictures below a folder: int64 (n,), ascending."""
        return self.ids_where(folder)

    def pictures(self, ids: Iterable[int]) -> dict[int, Picture]:
        """The rows of these ids, by id; ids that are gone are left out."""
        sql = "SELECT id, path, size, mtime_ns, hash, caption FROM pictures WHERE id IN ({})"
        return {row[0]: Picture(row[0], self._name(row[1]), *row[2:]) for row in self.rows_in(sql, ids)}

    def picture(self, path: str) -> Picture | None:
        """The row of the picture at this path, None if it is not in the library."""
        id_ = self.value("SELECT id FROM pictures WHERE path = ?", (os.fsencode(path),))
        return self.pictures([id_]).get(id_) if id_ is not None else None

    def by_hash(self, digest: bytes) -> list[Picture]:
        """The pictures with this content, the oldest first."""
        rows = self.rows("SELECT id FROM pictures WHERE hash = ?", (digest,))
        found = self.pictures(row[0] for row in rows)
        return [found[id_] for id_ in sorted(found)]

    def places_captions(self) -> bool:
        """Whether there is a table for the vectors of captions; a library of format 1 has none."""
        return self.value("SELECT 1 FROM sqlite_master WHERE name = 'caption_vectors'") is not None

    def mixed(self, weight: float) -> float:
        """The weight that captions can have here: `weight`, or 0 where none has a vector."""
        usable = weight and self.places_captions()
        return weight if usable and self.value("SELECT 1 FROM caption_vectors LIMIT 1") is not None else 0.0

    def vectors(self, ids: Iterable[int], weight: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids int64 (n,) ascending and their unit vectors float32 (n, D); ids that are gone are left out.

        `weight`: how much the captions count in them, see `vsearch.scores.mix`.
        """
        source, weight = self._source(weight)
        return self._unpacked(sorted(self.rows_in(f"{source} WHERE v.id IN ({{}})", ids)), weight)

    def vectors_after(
        self, id_: int, limit: int = -1, weight: float = 0.0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `vectors`, of the ids above `id_`, ascending; at most `limit` of them."""
        source, weight = self._source(weight)
        return self._unpacked(self.rows(f"{source} WHERE v.id > ? ORDER BY v.id LIMIT ?", (id_, limit)), weight)

    def blocks(self, size: int, weight: float = 0.0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All of them as `vectors_after` gives them, at most `size` at a time."""
        last = 0
        while len((found := self.vectors_after(last, size, weight))[0]):
            yield found
            last = int(found[0][-1])

    def _source(self, weight: float) -> tuple[str, float]:
        if not (weight := self.mixed(weight)):
            return "SELECT v.id, v.vector FROM vectors v", 0.0
        join = "FROM vectors v LEFT JOIN caption_vectors c ON c.id = v.id"
        return f"SELECT v.id, v.vector, c.vector {join}", weight

    def removed(self, up_to: int) -> NDArray[np.int64]:
        """Ids up to `up_to` whose pictures are gone: int64 (n,), ascending."""
        return _ids(self.rows("SELECT id FROM removed WHERE id <= ? ORDER BY id", (up_to,)))

    def run_token(self) -> str:
        """The token of the last build that changed something, empty if none."""
        return self.noted("run") or ""

    def knows_run(self, token: str) -> bool:
        """Whether a cache that names this token was made of this library."""
        return self.value("SELECT 1 FROM runs WHERE token = ?", (token,)) is not None

    def noted(self, key: str) -> str | None:
        """A fact kept by `note`, None if it was never noted."""
        value = self.value("SELECT value FROM meta WHERE key = ?", (key,))
        return str(value) if value is not None else None

    def _name(self, blob: object) -> str:
        """A path from the library; what is not even bytes is damage that SQLite does not see."""
        if not isinstance(blob, bytes):
            raise as_library_error(self.path, ValueError("malformed: a path is no bytes"))
        return os.fsdecode(blob)

    def _unpacked(self, rows: list[Any], weight: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        dim = self.dim or 0
        try:
            vectors = unpack([row[1] for row in rows], dim)
            if weight:
                captions = unpack([row[2] or bytes(2 * dim) for row in rows], dim)  # zeros where there is none
                vectors = mix(vectors, captions, weight)
            return _ids(rows), vectors
        except (TypeError, ValueError) as error:  # TypeError: a vector is no bytes
            raise as_library_error(self.path, ValueError(f"malformed: {error}")) from None


def _ids(rows: list[Any]) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
