"""Read what a library says: its pictures, their vectors, its folders.

Paths come out as `os.fsdecode` makes them, so that every name that a file system can hold comes back as it was.
D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.database.connection import Connection, as_library_error
from index.database.schema import FORMAT, OF_PICTURES, unpack
from index.paths import below, names, spans
from vsearch.errors import LibraryError
from vsearch.scores import mix

_LONGEST = 65_536  # numbers of a vector


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


class Skipped(NamedTuple):
    """A file that is no readable picture, and why."""

    path: str
    size: int
    mtime_ns: int
    reason: str


class Reading:
    """Every query on a library. Each method raises LibraryError if the file fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # ---- the library itself

    @property
    def identity(self) -> str | None:
        """The model that made the vectors; None before the first build."""
        return self.noted("identity")

    @property
    def dim(self) -> int | None:
        """D, the length of a vector; None before the first build."""
        value = self.noted("dim")
        if value is not None and (not value.isdecimal() or not 1 <= int(value) <= _LONGEST):
            raise self._damage(f"the length of a vector is {value!r}")
        return None if value is None else int(value)

    @property
    def caption_weight(self) -> float:
        """How much captions count in searches by words, as the last build had it: 0 to 1."""
        value = self.noted("caption_weight") or "0.0"
        try:
            weight = float(value)
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= 1:
            raise self._damage(f"the weight of captions is {value!r}")
        return weight

    @property
    def follows_links(self) -> bool:
        """Whether the last build followed links to folders."""
        return self.noted("follow_links") == "1"

    @property
    def video_every(self) -> float | None:
        """Seconds between two frames of a video, as the last build was told; 0 for no videos, None if none was."""
        return self._seconds("video_every")

    @property
    def video_every_done(self) -> float | None:
        """The same of the last build that came to its end."""
        return self._seconds("video_every_done")

    def _seconds(self, key: str) -> float | None:
        try:
            return float(self.noted(key) or "nan") if self.noted(key) else None
        except ValueError:
            raise self._damage(f"the seconds between frames are {self.noted(key)!r}") from None

    def noted(self, key: str) -> str | None:
        """Return a fact kept by `Writing.note`, None if it was never noted."""
        value = self._connection.value("SELECT value FROM meta WHERE key = ?", (key,))
        return str(value) if value is not None else None

    def tables(self) -> set[str]:
        """Return the names of the tables in the file."""
        return {str(row[0]) for row in self._connection.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def run_token(self) -> str:
        """Return the token of the last build that changed something, empty if there was none."""
        return self.noted("run") or ""

    def knows_run(self, token: str) -> bool:
        """Tell whether a cache that names this token was made of this library."""
        return self._connection.value("SELECT 1 FROM runs WHERE token = ?", (token,)) is not None

    # ---- folders and files

    def folders(self) -> list[str]:
        """Return every folder that was ever scanned, sorted."""
        return sorted(self._name(row[0]) for row in self._connection.rows("SELECT path FROM folders"))

    def folders_in(self, folder: str, limit: int = -1, skip: int = 0) -> list[tuple[str, int, bool]]:
        """Return the folders right below one that hold pictures, by name: path, pictures, whether more lie below."""
        stem, end = below(folder)
        rest = "SELECT substr(path, ?) AS rest FROM pictures WHERE path >= ? AND path < ?"
        cut = f"SELECT rest, instr(rest, x'2f') AS at FROM ({rest})"
        names = "SELECT substr(rest, 1, at - 1) AS name, count(*), max(instr(substr(rest, at + 1), x'2f') > 0)"
        sql = f"{names} FROM ({cut}) WHERE at > 0 GROUP BY name ORDER BY name LIMIT ? OFFSET ?"
        rows = self._typed(self._connection.rows(sql, (len(stem) + 1, stem, end, limit, skip)), bytes, int, int)
        return [(os.fsdecode(stem + name), count, bool(more)) for name, count, more in rows]

    def weight(self, folder: str) -> tuple[int, bool]:
        """Return how many pictures lie below a folder, and whether any lies in a folder below it."""
        stem, end = below(folder)
        sql = "SELECT count(*), max(instr(substr(path, ?), x'2f') > 0) FROM pictures WHERE path >= ? AND path < ?"
        [(count, more)] = self._connection.rows(sql, (len(stem) + 1, stem, end))
        return int(count), bool(more)

    def mounts(self) -> list[str]:
        """Return the folders that were mount points when they were last scanned, sorted."""
        return sorted(self._name(row[0]) for row in self._connection.rows("SELECT path FROM mounts"))

    def excludes(self) -> list[str]:
        """Return the patterns of what builds leave out, sorted; a library of an older format has none."""
        if "excludes" not in self.tables():
            return []
        rows = self._connection.rows("SELECT pattern FROM excludes ORDER BY pattern")
        return [pattern for (pattern,) in self._typed(rows, str)]

    def skipped(self) -> list[tuple[str, str]]:
        """Return (path, reason) of the files that are no readable pictures, by path."""
        rows = self._connection.rows("SELECT path, reason FROM skipped ORDER BY path")
        return [(self._name(path), reason) for path, reason in self._typed(rows, bytes, str)]

    def skipped_under(self, folder: str) -> list[Skipped]:
        """Return the skipped files at a path or below it, see `dates_under`."""
        rows = self._typed(self._rows_at("path, size, mtime_ns, reason FROM skipped", folder), bytes, int, int, str)
        return [Skipped(self._name(row[0]), *row[1:]) for row in rows]

    def dates_under(self, folder: str) -> list[Dates]:
        """Return the dates of the pictures at a path, or below a folder, or of a video, by path."""
        what = "path, id, size, mtime_ns, caption IS NOT NULL FROM pictures"
        rows = self._typed(self._rows_at(what, folder), bytes, int, int, int, int)
        return [Dates(self._name(row[0]), *row[1:]) for row in sorted(rows)]

    def contents_under(self, folder: str) -> set[bytes]:
        """Return the contents (hashes) of the pictures at a path, or below a folder, or of a video."""
        return {row[0] for row in self._typed(self._rows_at("hash FROM pictures", folder), bytes)}

    def _rows_at(self, what: str, place: str) -> list[Any]:
        """Return the rows of "columns FROM table" whose path is this one or lies below it."""
        rows = self._connection.rows(f"SELECT {what} WHERE path = ?", (os.fsencode(place),))
        for span in spans(place):
            rows += self._connection.rows(f"SELECT {what} WHERE path >= ? AND path < ?", span)
        return rows

    # ---- pictures

    def count(self) -> int:
        """Return the number of pictures."""
        return int(self._connection.value("SELECT count(*) FROM pictures"))

    def count_after(self, id_: int) -> int:
        """Return the number of pictures whose id is above `id_`."""
        return int(self._connection.value("SELECT count(*) FROM pictures WHERE id > ?", (id_,)))

    def captioned(self) -> int:
        """Return the number of pictures that have a caption."""
        return int(self._connection.value("SELECT count(*) FROM pictures WHERE caption IS NOT NULL"))

    def last_id(self) -> int:
        """Return the highest id ever given, 0 if there is none."""
        value = self._connection.value("SELECT seq FROM sqlite_sequence WHERE name = 'pictures'")
        if not isinstance(value, int | None):
            raise self._damage("the highest id is no number")
        return value or 0

    def removed(self, up_to: int) -> NDArray[np.int64]:
        """Return the ids up to `up_to` whose pictures are gone: int64 (n,), ascending."""
        return _ids(self._connection.rows("SELECT id FROM removed WHERE id <= ? ORDER BY id", (up_to,)))

    def ids_where(
        self, folder: str | None = None, since: int | None = None, until: int | None = None
    ) -> NDArray[np.int64]:
        """Return the ids of pictures below a folder and changed in [since, until) (ns): int64 (n,), ascending.

        The folder may have any name that leads to it, see `index.paths.names`.
        """
        wanted: list[str] = []
        values: list[bytes | int] = []
        if folder is not None:
            places = [span for one in names(folder, self.folders()) for span in spans(one)]
            wanted.append(f"({' OR '.join(['path >= ? AND path < ?'] * len(places))})")
            values += [bound for place in places for bound in place]
        for bound, condition in ((since, "mtime_ns >= ?"), (until, "mtime_ns < ?")):
            if bound is not None:
                wanted.append(condition)
                values.append(bound)
        sql = f"SELECT id FROM pictures WHERE {' AND '.join(wanted) or 'true'} ORDER BY id"
        return _ids(self._connection.rows(sql, values))

    def ids_under(self, folder: str) -> NDArray[np.int64]:
        """Return the ids of the pictures below a folder: int64 (n,), ascending."""
        return self.ids_where(folder)

    def pictures(self, ids: Iterable[int]) -> dict[int, Picture]:
        """Return the rows of these ids, by id; ids that are gone are left out."""
        sql = "SELECT id, path, size, mtime_ns, hash, caption FROM pictures WHERE id IN ({})"
        rows = self._typed(self._connection.rows_in(sql, ids), int, bytes, int, int, bytes, str | None)
        return {row[0]: Picture(row[0], self._name(row[1]), *row[2:]) for row in rows}

    def picture(self, path: str) -> Picture | None:
        """Return the row of the picture at this path, by whatever links it leads there; None if there is none."""
        for name in names(path, self.folders()):
            id_ = self._connection.value("SELECT id FROM pictures WHERE path = ?", (os.fsencode(name),))
            if id_ is not None:
                return self.pictures([id_]).get(id_)
        return None

    def ids_at(self, paths: Iterable[str]) -> dict[str, int]:
        """Return the ids of the pictures at exactly these paths, by path; those that are not there are left out."""
        sql, found = "SELECT id FROM pictures WHERE path = ?", dict[str, int]()
        for path in paths:
            if (id_ := self._connection.value(sql, (os.fsencode(path),))) is not None:
                found[path] = id_
        return found

    def ids_after(self, id_: int, limit: int) -> list[int]:
        """Return at most `limit` of the ids of pictures above `id_`, ascending."""
        rows = self._connection.rows("SELECT id FROM pictures WHERE id > ? ORDER BY id LIMIT ?", (id_, limit))
        return [row[0] for row in rows]

    def by_hash(self, digest: bytes) -> list[Picture]:
        """Return the pictures with this content, the oldest first."""
        rows = self._connection.rows("SELECT id FROM pictures WHERE hash = ?", (digest,))
        found = self.pictures(row[0] for row in rows)
        return [found[id_] for id_ in sorted(found)]

    def equal_content(self) -> list[tuple[bytes, int]]:
        """Return (hash, id) of all pictures whose content another one has, too, in that order."""
        several = "SELECT hash FROM pictures GROUP BY hash HAVING count(*) > 1"
        sql = f"SELECT hash, id FROM pictures WHERE hash IN ({several}) ORDER BY hash, id"
        return [(digest, id_) for digest, id_ in self._typed(self._connection.rows(sql), bytes, int)]

    # ---- vectors

    def places_captions(self) -> bool:
        """Tell whether there is a table for the vectors of captions; a library of format 1 has none."""
        sql = "SELECT 1 FROM sqlite_master WHERE name = 'caption_vectors'"
        return self._connection.value(sql) is not None

    def mixed(self, weight: float) -> float:
        """Return the weight that captions can have here: `weight`, or 0 where none has a vector."""
        usable = weight and self.places_captions()
        if usable and self._connection.value("SELECT 1 FROM caption_vectors LIMIT 1") is not None:
            return weight
        return 0.0

    def vectors(self, ids: Iterable[int], weight: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids int64 (n,), ascending, and their unit vectors float32 (n, D); ids that are gone are left out.

        `weight` says how much the captions count in them, see `vsearch.scores.mix`.
        """
        source, weight = self._source(weight)
        return self._unpacked(sorted(self._connection.rows_in(f"{source} WHERE v.id IN ({{}})", ids)), weight)

    def halves(self, ids: Iterable[int], *, captions: bool = False) -> dict[int, NDArray[np.float16]]:
        """Return vectors of pictures, or of their captions, as they are stored: float16 (D,) by id, where there is one.

        Raises LibraryError if one is not of D numbers.
        """
        if captions and not self.places_captions():
            return {}
        table, size = "caption_vectors" if captions else "vectors", 2 * (self.dim or 0)
        rows = self._connection.rows_in(f"SELECT id, vector FROM {table} WHERE id IN ({{}})", ids)
        if any(not isinstance(blob, bytes) or len(blob) != size for _, blob in rows):
            raise self._damage(f"a vector is not of {self.dim} numbers")
        return {id_: np.frombuffer(blob, "<f2").astype(np.float16) for id_, blob in rows}

    def vectors_after(
        self, id_: int, limit: int = -1, weight: float = 0.0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return at most `limit` of the ids above `id_` and their vectors, as `vectors` does."""
        source, weight = self._source(weight)
        sql = f"{source} WHERE v.id > ? ORDER BY v.id LIMIT ?"
        return self._unpacked(self._connection.rows(sql, (id_, limit)), weight)

    def blocks(self, size: int, weight: float = 0.0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield all ids and vectors as `vectors_after` returns them, at most `size` at a time."""
        last = 0
        while len((found := self.vectors_after(last, size, weight))[0]):
            yield found
            last = int(found[0][-1])

    # ---- for `index.check`

    def integrity(self, limit: int) -> list[str]:
        """Return what SQLite finds wrong with the file, at most `limit` lines; none if it is whole."""
        lines = [str(row[0]) for row in self._connection.rows(f"PRAGMA integrity_check({int(limit)})")]
        return [] if lines == ["ok"] else lines

    def unmatched(self) -> dict[str, int]:
        """Count the rows that contradict another table, by what is wrong with them; all are 0 in a whole library."""
        questions = {
            "pictures have no vector": "pictures WHERE id NOT IN (SELECT id FROM vectors)",
            "vectors have no picture": "vectors WHERE id NOT IN (SELECT id FROM pictures)",
            "pictures count as removed": "pictures WHERE id IN (SELECT id FROM removed)",
        }
        if self.places_captions():
            question = "caption_vectors WHERE id NOT IN (SELECT id FROM pictures)"
            questions["caption vectors have no picture"] = question
        for table, column in OF_PICTURES.items() if self.noted("format") == str(FORMAT) else ():
            questions[f"{table} have no picture"] = f"{table} WHERE {column} NOT IN (SELECT id FROM pictures)"
        return {what: int(self._connection.value(f"SELECT count(*) FROM {sql}")) for what, sql in questions.items()}

    def packed(self, size: int, *, captions: bool = False) -> Iterator[list[bytes]]:
        """Yield the vectors of pictures, or of their captions, as they are stored, at most `size` at a time."""
        table = "caption_vectors" if captions else "vectors"
        sql, last = f"SELECT id, vector FROM {table} WHERE id > ? ORDER BY id LIMIT ?", 0
        while rows := self._connection.rows(sql, (last, size)):
            last = rows[-1][0]
            yield [row[1] for row in rows]

    # ---- rows as values

    def _damage(self, what: str) -> LibraryError:
        """Return the error for what SQLite itself does not find wrong: a value of another type, or out of range."""
        return as_library_error(self._connection.path, ValueError(f"malformed: {what}"))

    def _typed(self, rows: list[Any], *kinds: Any) -> list[Any]:
        """Return the rows, once it is sure that each column holds only values of its kind; SQLite takes any in any."""
        for column, kind in enumerate(kinds):
            if not all(issubclass(found, kind) for found in {type(row[column]) for row in rows}):
                raise self._damage("a value is of the wrong type")
        return rows

    def _source(self, weight: float) -> tuple[str, float]:
        if not (weight := self.mixed(weight)):
            return "SELECT v.id, v.vector FROM vectors v", 0.0
        join = "FROM vectors v LEFT JOIN caption_vectors c ON c.id = v.id"
        return f"SELECT v.id, v.vector, c.vector {join}", weight

    def _name(self, blob: object) -> str:
        """Decode a path; one that is not even bytes is damage that SQLite does not see."""
        if not isinstance(blob, bytes):
            raise self._damage("a path is no bytes")
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
            raise self._damage(str(error)) from None


def _ids(rows: list[Any]) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
