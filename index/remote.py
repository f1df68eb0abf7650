"""A library whose pictures lie in a distributed store: what `index.library` offers, as far as such a store can.

    with RemoteLibrary.open("milvus://db:19530/photos", vsearch.load()) as library:
        for hit in library.search("boat engine", k=5, within="s3://photos/00017.tar"):
            print(hit.score, hit.path)

D is the length of a vector, n a number of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from index.database.read import Picture
from index.database.schema import unpack
from index.library import Library, Place
from index.model import Model, Photo
from index.paths import absolute, as_url, is_url
from index.search.explain import nearest_words
from index.search.query import Query, check_count, nanoseconds, unit_vector
from index.search.searcher import Hit, cosines
from index.stores import open_store
from index.stores.protocol import Facts, Row, Store, Where
from vsearch.errors import LibraryError, QueryError

if TYPE_CHECKING:
    from index.check import Checked
    from index.export import Exported
    from index.forget import Forgotten

_ROWS = 1_000  # read from the store at a time


class RemoteLibrary(Library):
    """A library in a store, for reading; `RemoteLibrary.open` returns one. A context manager that closes it.

    Every method that such a store does not offer raises LibraryError and says so. The id of a hit is a number that this
    object gave it.
    """

    def __init__(self, store: Store, model: Model | None) -> None:
        super().__init__(Path(store.url), model, read_only=True)
        self.store = store
        self._ids: dict[str, int] = {}

    @classmethod
    def open(
        cls, path: Place | None = None, model: Model | None = None, *, read_only: bool = True, reindex: bool = False
    ) -> RemoteLibrary:
        """Open the store at a URL. Raises LibraryError if it cannot be reached, or was made by another model."""
        store = open_store(path)
        try:
            if model is not None and store.facts() is not None:
                store.check_identity(model.identity)
        except BaseException:
            store.close()
            raise
        return cls(store, model)

    def __enter__(self) -> RemoteLibrary:
        return self

    def close(self) -> None:
        """End the connection."""
        self.store.close()

    # ---- search

    def search(
        self,
        words: str | Query | None = None,
        *,
        image: Photo | None = None,
        k: int = 10,
        within: Place | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        min_score: float | None = None,
        caption_weight: float | None = None,
        exact: bool | None = None,
        like: Any = (),
        unlike: Any = (),
        taught: bool = True,
        **other: Any,
    ) -> list[Hit]:
        """Return the `k` pictures nearest to words, to pictures, or to both, as `Library.search` does.

        Whatever `taught` says, a store has learned nothing from votes. Dates are those of files. `caption_weight` is 0
        or the one that the store was made with; filters that need what a store does not keep (cameras, places, dates
        in photos) raise LibraryError.
        """
        self._refuse(other)
        plain = image is None and not like and not unlike
        query = words if plain and isinstance(words, Query) else self.query(words, image, like=like, unlike=unlike)
        facts = self._facts
        self.store.check_identity(query.identity)
        wish = self._required_model.scores.weight(query.kind) if caption_weight is None else caption_weight
        if wish not in (0.0, facts.caption_weight):
            message = f"{self.store.url} mixes captions in with weight {facts.caption_weight:g}, not {wish:g}"
            raise QueryError(message, f"search with `caption_weight={facts.caption_weight:g}` or `caption_weight=0`")
        where = Where(_place(within), nanoseconds(since), nanoseconds(until))
        return self._ranked(query, k, where, min_score, words=wish > 0, exact=exact)

    def similar(
        self,
        photo: Photo,
        k: int = 10,
        *,
        within: Place | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        min_score: float | None = None,
        **other: Any,
    ) -> list[Hit]:
        """Return the `k` pictures most like a photo; if the store has it as it is, its stored vector is used."""
        self._refuse(other)
        path = None
        if isinstance(photo, str | os.PathLike):
            path = absolute(as_url(os.path.expanduser(photo) if isinstance(photo, str) else photo))
        mine = None if path is None else self.store.fetch([path]).get(path)
        query = self._stored(mine) or self.query(image=photo)
        where = Where(_place(within), nanoseconds(since), nanoseconds(until))
        found = self._ranked(query, k + 1, where, min_score)
        return [hit for hit in found if mine is None or hit.path != mine.path][:k]

    def explain(self, hits: Iterable[Hit], k: int = 5) -> dict[int, list[str]]:
        """Return the `k` words of the training captions nearest to each hit, by the hit's id."""
        numbers = {hit.path: hit.id for hit in hits}
        rows = [row for row in self.store.fetch(list(numbers)).values() if row.path in numbers]
        words = nearest_words(self._required_model, _unit(rows, self._facts.dim), k)
        return {numbers[row.path]: found for row, found in zip(rows, words, strict=True)}

    def details(self, hits: Iterable[Hit]) -> dict[int, Any]:
        """Return nothing: a store keeps no sizes, cameras and places."""
        return {}

    def notes(self, hits: Iterable[Hit]) -> dict[int, Any]:
        """Return nothing: a store keeps nothing that people wrote."""
        return {}

    def _ranked(
        self, query: Query, k: int, where: Where, min_score: float | None, *, words: bool = False, exact: Any = None
    ) -> list[Hit]:
        """Score candidates from their stored vectors, by the very function of a library's searcher."""
        check_count(k)
        vector = unit_vector(query.vector, self._facts.dim)
        found = self.store.search(vector, k, where, words=words, exact=exact)
        if not found:
            return []
        scores = cosines(np.stack([one.vector for one in found]), vector)  # (n,)
        shares = self._required_model.scores.calibrate_all(scores, query.kind)
        rows = zip(found, shares.tolist(), scores.tolist(), strict=True)
        hits = [Hit(one.path, share, one.caption, self._id(one.path), cosine) for one, share, cosine in rows]
        hits.sort(key=lambda hit: (-hit.cosine, os.fsencode(hit.path)))
        return [hit for hit in hits if min_score is None or hit.score >= min_score][:k]

    def _stored(self, mine: Row | None) -> Query | None:
        """Return the vector that the store has of a picture; None if its file is not as it was."""
        if mine is None:
            return None
        if not is_url(mine.path):
            try:
                file = os.stat(mine.path)
            except OSError:
                return None
            if (file.st_size, file.st_mtime_ns) != (mine.size, mine.mtime_ns):
                return None
        facts = self._facts
        return Query(_unit([mine], facts.dim)[0], "picture", (), facts.identity)

    def _id(self, path: str) -> int:
        return self._ids.setdefault(path, len(self._ids) + 1)

    # ---- look at it

    def check(self) -> Checked:
        """Compare the counts of what the store is made of, and look at a sample of rows; no file is opened."""
        from index.check import Checked, Finding

        remedy = "build what is missing again, into the same store"
        findings = tuple(Finding(fault, remedy) for fault in self.store.faults())
        return Checked(self.store.count(), findings, None, ())

    def export(self, file: Place, *, force: bool = False) -> Exported:
        """Write all vectors with their pictures into a file, as `Library.export` does; ids count from 1."""
        from index.export import Pictures, write

        self.store.sync()
        source = Pictures(self.store.url, self.store.count(), self._facts.dim, self._blocks)
        return write(source, Path(os.path.expanduser(file) if isinstance(file, str) else file), [], force=force)

    def _blocks(self) -> Iterator[tuple[list[Picture], NDArray[np.float32]]]:
        number = 0
        for rows in self.store.walk(_ROWS):
            pictures = [Picture(number + n, *row[:4], row.caption) for n, row in enumerate(rows, 1)]
            yield pictures, _unit(rows, self._facts.dim)
            number += len(rows)

    def folders(self) -> list[str]:
        """Return every folder and URL that was ever built from, sorted."""
        return self.store.sources()

    def excludes(self) -> list[str]:
        """Return nothing: a store keeps no patterns of what builds leave out."""
        return []

    def count(self, within: Place | None = None) -> int:
        """Return the number of pictures, or of those below a folder or in a tar."""
        return self.store.count(Where(_place(within)))

    def taught(self) -> int:
        """Return 0: a store has learned nothing from votes."""
        return 0

    def knows_details(self) -> bool:
        """Return False: a store keeps no sizes, cameras and places."""
        return False

    @property
    def identity(self) -> str | None:
        """The identity of the model that made the store; None before the first build."""
        facts = self.store.facts()
        return None if facts is None else facts.identity

    def state(self) -> str:
        """Return what stands behind the store, and how far its index is."""
        return self.store.state()

    # ---- what is not offered

    def build(self, *_: Any, **__: Any) -> NoReturn:
        """Raise LibraryError: a store is built in shards."""
        self._not_offered("building folders as a library does")

    def forget(self, folders: Iterable[Place]) -> Forgotten:
        """Raise LibraryError: a store forgets nothing by folder."""
        self._not_offered("forgetting folders")

    def duplicates(self, *_: Any, **__: Any) -> NoReturn:
        """Raise LibraryError: near-identical pictures are not looked for in a store."""
        self._not_offered("finding duplicates")

    @property
    def _parts(self) -> NoReturn:
        self._not_offered("that")

    def _writable(self, *, create: bool = False) -> NoReturn:
        self._not_offered("that")

    def _refuse(self, other: dict[str, Any]) -> None:
        """Raise LibraryError for filters and orders that need more than a store keeps."""
        for name, value in other.items():
            if name != "by_file_time" and value not in (None, False, (), "score"):
                self._not_offered(f"`{name}`")

    def _not_offered(self, what: str) -> NoReturn:
        message = f"{self.store.url} does not offer {what}"
        raise LibraryError(message, "a library on one machine does; `index.move.move` brings pictures there")

    @property
    def _facts(self) -> Facts:
        if (facts := self.store.facts()) is None:
            raise LibraryError(f"there is no store at {self.store.url}", "build one there first, or name another")
        return facts


def _place(within: Place | None) -> str | None:
    return None if within is None else absolute(as_url(os.path.expanduser(within)))


def _unit(rows: Iterable[Row], dim: int) -> NDArray[np.float32]:
    """Return the vectors of pictures as every search sees them: unit length, (n, D)."""
    return unpack([row.vector.astype("<f2").tobytes() for row in rows], dim)
