"""The library of one machine as a store: a thin cover over its database and searcher."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index import remedies
from index.database.database import Database, NoLibraryError
from index.database.write import NewPicture
from index.paths import default_path
from index.search.searcher import Searcher
from index.stores.protocol import ALL, Candidate, Dates, Facts, Row, Where
from vsearch.errors import LibraryError
from vsearch.scores import Scores


class SQLiteStore:
    """A library file as a store; what a build of folders keeps next to pictures (moves, skipped files) it leaves be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._searcher: Searcher | None = None
        self._started = False

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, *, create: bool = False) -> SQLiteStore:
        """Open the library at a path, by default the user's own; `create` makes it if it is not there.

        Raises LibraryError if it is missing, damaged, of another format, or cannot be written.
        """
        place = default_path() if path is None else Path(path)
        database = Database.open(place, create=create, read_only=not create)
        if create:  # a shard is marked as done once its pictures are here: no power cut may lose them
            database.connection.execute("PRAGMA synchronous = FULL")
        return cls(database)

    @property
    def url(self) -> str:
        """The path of the file."""
        return str(self._database.path)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # ---- whose vectors it holds

    def facts(self) -> Facts | None:
        """Return whose vectors the library holds, None before the first build."""
        read = self._database.read
        identity, dim = read.identity, read.dim
        return None if identity is None or dim is None else Facts(identity, dim, read.caption_weight)

    def adopt(self, identity: str, dim: int, caption_weight: float) -> None:
        """Make the library one of this model. Raises OtherModelError if it is another's."""
        self._database.adopt(identity, dim)
        self._database.write.note("caption_weight", str(float(caption_weight)))

    def check_identity(self, identity: str) -> None:
        """Raise OtherModelError if another model made the library."""
        if self.facts() is None:
            raise NoLibraryError(self._database.path)
        self._database.check_identity(identity)

    def add_source(self, source: str) -> None:
        """Remember a folder or URL that pictures come from."""
        self._database.write.set_folders([source], self._database.read.mounts())

    def sources(self) -> list[str]:
        """Return the folders and URLs that pictures came from, sorted."""
        return self._database.read.folders()

    # ---- change

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write pictures in one transaction."""
        dim = self._known_dim()
        for row in rows:
            if any(vector is not None and vector.shape != (dim,) for vector in (row.vector, row.caption_vector)):
                raise ValueError(f"the vector of {row.path} is not of {dim} numbers")
        with self._database.writing():
            self._start_run()
            for row in {row.path: row for row in rows}.values():
                self._database.write.put(NewPicture(*row))

    def delete(self, paths: Iterable[str]) -> None:
        """Forget the pictures at these paths."""
        with self._database.writing():
            self._start_run()
            self._database.write.remove(paths)

    def sync(self) -> None:
        """Let searches by text see what was written; for all others it is enough that it is committed."""
        self._database.texts.fill()

    def finish(self) -> None:
        """Bring the caches next to the library up to date."""
        from index.caches.refresh import refresh

        refresh(self._database)

    def _start_run(self) -> None:
        """Give what this store changes a token of its own, so that caches know."""
        if not self._started:
            self._database.write.start_run()
            self._started = True

    def _known_dim(self) -> int:
        if (facts := self.facts()) is None:
            remedy = f"build it first: {remedies.build(self._database.path, remedies.FOLDER)}"
            raise LibraryError(f"{self._database.path} belongs to no model yet", remedy)
        return facts.dim

    # ---- ask

    def search(
        self, vector: NDArray[np.float32], k: int, where: Where = ALL, *, words: bool = False, exact: bool | None = None
    ) -> list[Candidate]:
        """Return candidates that hold the k nearest, by the searcher of the library."""
        database, weight = self._database, self._database.read.caption_weight
        if self._searcher is None or self._searcher.scores.caption_weight != weight:
            self._searcher = Searcher(database, Scores(caption_weight=weight))
        with database.snapshot():
            if database.read.dim is None:
                return []
            mixed = database.read.mixed(weight if words else 0.0)
            wanted = None if where == ALL else database.read.ids_where(*where)
            ids, vectors = database.read.vectors(
                self._searcher.nearest(vector, k, mixed, wanted, exact).tolist(), mixed
            )
            pictures = database.read.pictures(ids.tolist())
        found = zip(ids.tolist(), vectors, strict=True)
        return [Candidate(pictures[id_].path, pictures[id_].caption, own) for id_, own in found]

    def fetch(self, paths: Sequence[str]) -> dict[str, Row]:
        """Return the pictures at these paths, by path."""
        ids = self._database.read.ids_at(paths)
        return {row.path: row for row in self._rows(ids.values())}

    def known(self, paths: Sequence[str]) -> dict[str, Dates]:
        """Return the dates of the pictures at these paths, by path."""
        found = self._database.read.pictures(self._database.read.ids_at(paths).values()).values()
        return {one.path: Dates(one.size, one.mtime_ns, one.caption is not None) for one in found}

    def count(self, where: Where = ALL) -> int:
        """Return the number of pictures."""
        return self._database.read.count() if where == ALL else len(self._database.read.ids_where(*where))

    def walk(self, size: int = 1_000, after: str | None = None) -> Iterator[list[Row]]:
        """Yield all pictures by their ids, so in the order in which they came."""
        last = 0 if after is None else self._database.read.ids_at([after]).get(after, 0)
        while ids := self._database.read.ids_after(last, size):
            yield self._rows(ids)
            last = ids[-1]

    def state(self) -> str:
        """Return that it is a file."""
        return "SQLite"

    def faults(self) -> list[str]:
        """Return what `index.check` finds."""
        from index.check import check

        return [finding.message for finding in check(self._database).findings]

    def _rows(self, ids: Iterable[int]) -> list[Row]:
        """Return pictures with their vectors, by id."""
        wanted = list(ids)
        with self._database.snapshot():
            pictures = self._database.read.pictures(wanted)
            own, captions = self._database.read.halves(wanted), self._database.read.halves(wanted, captions=True)
        return [
            Row(one.path, one.size, one.mtime_ns, one.hash, own[id_], one.caption, captions.get(id_))
            for id_, one in sorted(pictures.items())
            if id_ in own
        ]
