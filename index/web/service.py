"""What stands behind the pages: one library, one model, and who may use them when.

Requests run in many threads. The library is asked by one at a time (a search takes milliseconds), the network too;
what takes long (near-identical pictures, `check`) opens the file a second time.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from index.database.database import Database, NoLibraryError
from index.database.details import Catalogue
from index.search.searcher import Searcher
from index.web.problems import Problem
from index.web.thumbnails import Thumbnails
from index.web.words import Words
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from vsearch.model import Model
    from vsearch.text.nouns import EmbeddedNouns

T = TypeVar("T")
_FRESH = (
    2.0  # seconds for which sizes and dates serve although the library has changed: a build changes it all the time
)
_SMALL = 20_000  # pictures of which sizes and dates are read anew at once
_KEPT = 128  # answers of the network, and rankings


class Service:
    """A library at a path, which may not be there yet, and the model that searches it."""

    def __init__(
        self,
        path: Path,
        model: Model,
        thumbnails: Thumbnails,
        *,
        read_only: bool = False,
        say: Callable[[str], str] = str,
    ) -> None:
        """Serve the library at `path`; `say` puts what errors say into the terms of those who read it."""
        self.path, self.model, self.thumbnails, self.read_only, self.say = path, model, thumbnails, read_only, say
        self.network = threading.Lock()
        self.words = Words(model.space) if model.config.words else None
        self.rankings = Recent(_KEPT)
        self.seen = Recent(_KEPT)  # what the network said of pictures
        self._lock = threading.RLock()
        self._opened: tuple[Database, Searcher, tuple[int, int]] | None = None
        self._nouns: Future[EmbeddedNouns] | None = None
        self._catalogue: tuple[float, tuple[int, int], Catalogue] | None = None

    @contextmanager
    def reading(self) -> Iterator[tuple[Database, Searcher]]:
        """Hold the library for reading; what is read inside is of one moment.

        Raises LibraryError if there is none, or another model made it. A file that took its place is opened in turn.
        """
        with self._lock:
            database, searcher = self._current()
            with database.snapshot():
                database.check_identity(self.model.identity)
                yield database, searcher

    @contextmanager
    def apart(self) -> Iterator[Database]:
        """Open the library once more, for work that takes long."""
        with Database.open(self.path, read_only=True) as database:
            yield database

    @contextmanager
    def writing(self) -> Iterator[Database]:
        """Open the library for writing. Raises Problem 403 if nothing may be written."""
        if self.read_only:
            raise Problem(403, "this server only reads", "start it without `read_only=True`")
        with Database.open(self.path) as database:
            database.check_identity(self.model.identity)
            database.write.upgrade(self.model.embed_captions)
            yield database

    def close(self) -> None:
        """Close the library; the next request opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened[0].close()
            self._opened = self._catalogue = None
            self.rankings.clear()

    def catalogue(self) -> Catalogue:
        """Return the dates of all pictures; of many, at most some seconds old while a build goes on."""
        with self._lock:
            database, _ = self._current()
            version, now = database.version(), time.monotonic()
            kept = self._catalogue
            small = kept is None or len(kept[2].ids) < _SMALL
            if kept is None or (kept[1] != version and (small or now - kept[0] > _FRESH)):
                self._catalogue = kept = (now, version, database.details.catalogue())
            return kept[2]

    def nouns(self, *, wait: bool) -> EmbeddedNouns | None:
        """Return the nouns of ImageNet with vectors; None if the model has no words, or if it would take a while.

        Placing them takes seconds, once: a thread does it while pages are shown without them.
        """
        if self.words is None:
            return None
        with self._lock:
            if self._nouns is None:
                self._nouns = ThreadPoolExecutor(1, thread_name_prefix="nouns").submit(self.model.nouns, "imagenet")
        try:
            return self._nouns.result() if wait or self._nouns.done() else None
        except VsearchError:
            return None  # no list, or no word of it is known

    def _current(self) -> tuple[Database, Searcher]:
        try:
            status = os.stat(self.path)
        except OSError:
            self.close()
            raise NoLibraryError(self.path) from None
        place = (status.st_dev, status.st_ino)
        if self._opened is None or self._opened[2] != place:
            self.close()
            database = Database.open(self.path, read_only=True)
            self._opened = database, Searcher(database, self.model.scores), place
        return self._opened[:2]

    def asked(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return what the network says, asked one at a time; what it has said lately is kept by `key`."""
        with self.network:
            return self.seen.get(key, ask)


class Recent:
    """The last answers, by key; the one that was not asked for longest goes first. Not for several threads at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the answer of this key, made if it is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self._count:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found: T = self._kept[key]
        return found

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
