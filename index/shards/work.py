"""Do a shard: read, decode, describe, write. The same code runs in this process and on every machine of a cluster.

S is the side of the square that the network takes.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.build.describe import NO_VECTOR, Settings, describe
from index.build.read import content_hash, open_file, reason
from index.build.scan import Found
from index.model import Describer
from index.shards.errors import PassingError, ShardError
from index.shards.photo import Loaded, Skipped, too_long
from index.shards.shard import MOST, Shard
from index.shards.source import Read, photos
from index.stores.protocol import Dates, Row, Store
from index.stores.trouble import UnreachableError
from vsearch.ahead import ahead
from vsearch.errors import PictureError
from vsearch.image.pixels import read_pixels

T = TypeVar("T")

PATIENCE = 600.0  # seconds, the sum of all pauses, until what fails again and again is raised
_FIRST, _LONGEST = 1.0, 60.0  # seconds of the first pause and of the longest; each is twice the one before
_AHEAD = 2  # batches read and decoded before the network asks for them


@dataclass
class Outcome:
    """What became of a shard.

    `skipped` are the photos left out, and `damage` is why the rest of the shard could not be read. The shard is
    `whole`, and gets its marker, if nothing of it needs to be tried again.
    """

    shard: str
    place: str
    written: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    damage: str = ""
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether the shard is done for good."""
        return not self.damage and all(one.lasting for one in self.skipped)

    @property
    def photos(self) -> int:
        """How many photos were looked at."""
        return self.written + self.unchanged + len(self.skipped)


@dataclass(frozen=True, eq=False)
class _Ready:
    """A photo for the network: pixels (S, S, 3)."""

    file: Found
    digest: bytes
    pixels: NDArray[np.uint8]


class Worker:
    """Does shard after shard with one model and one store. Not for several threads at once."""

    def __init__(
        self,
        model: Describer,
        store: Store,
        settings: Settings,
        *,
        threads: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Read and decode by `threads`; try what fails and may pass again for `patience` seconds in all."""
        self._model = model
        self._store = store
        self._settings = settings._replace(captions=settings.captions and model.captions)
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._patience = patience

    def do(self, shard: Shard) -> Outcome:
        """Bring the store in step with a shard, whatever was written of it before.

        Raises PassingError or UnreachableError if a server does not answer for as long as patience lasts, VsearchError
        if the work makes no sense at all (no right to read, another model, a full disk).
        """
        return patiently(lambda: self._try(shard), self._patience)

    def warm(self) -> None:
        """Have the model load what it reads at the first picture, so that the first shard is as quick as the others."""
        self._model.describe(
            np.zeros((1, self._model.side, self._model.side, 3), np.uint8), self._settings.captions, None
        )

    def _try(self, shard: Shard) -> Outcome:
        started = time.monotonic()
        outcome = Outcome(shard.name, shard.place)
        known = self._store.known([photo.path for photo in shard.photos])
        rows: list[Row] = []
        with closing(self._prepared(shard, known, outcome)) as prepared:
            for batch in _batches(prepared, self._settings.batch):
                rows += self._described(batch, outcome)
                if len(rows) >= MOST:
                    self._write(rows, outcome)
                    rows = []
        self._write(rows, outcome)
        self._store.delete(one.path for one in outcome.skipped if one.lasting)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _prepared(self, shard: Shard, known: dict[str, Dates], outcome: Outcome) -> Generator[_Ready, None, None]:
        """Yield the photos of a shard, read and decoded by threads, in their order; note those that are none."""

        def wanted(photo: Found) -> bool:
            dates = known.get(photo.path)
            same = dates is not None and (dates.size, dates.mtime_ns) == (photo.size, photo.mtime_ns)
            done = same and dates is not None and (dates.captioned or not self._settings.captions)
            outcome.unchanged += done
            return not done

        def calls() -> Iterator[Read]:
            try:
                yield from photos(shard, wanted)
            except ShardError as error:  # what came before it is good
                outcome.damage = str(error)

        window = _AHEAD * self._settings.batch
        with closing(ahead(lambda read: _decoded(read, self._model.side), calls(), self._threads, window)) as found:
            for item in found:
                if isinstance(item, Skipped):
                    outcome.skipped.append(item)
                else:
                    yield item

    def _described(self, batch: Sequence[_Ready], outcome: Outcome) -> list[Row]:
        """Run the network over a batch; return what is to be written."""
        rows = []
        for item, made in zip(batch, describe(self._model, batch, self._settings), strict=True):
            if made.usable:
                rows.append(Row(*item.file, item.digest, made.vector, made.caption, made.caption_vector))
            else:
                outcome.skipped.append(Skipped(item.file.path, NO_VECTOR))
        return rows

    def _write(self, rows: Sequence[Row], outcome: Outcome) -> None:
        if rows:
            self._store.upsert(rows)
            outcome.written += len(rows)


def patiently(do: Callable[[], T], patience: float = PATIENCE, sleep: Callable[[float], None] = time.sleep) -> T:
    """Return what `do` returns; while it raises PassingError or UnreachableError, call it again after growing pauses.

    Raises the last of these once the pauses have taken `patience` seconds in all; any other error at once.
    """
    pause, waited = _FIRST, 0.0
    while True:
        try:
            return do()
        except (PassingError, UnreachableError):
            if waited >= patience:
                raise
        pause = min(pause, _LONGEST, patience - waited)
        sleep(pause)
        waited += pause
        pause *= 2


def _decoded(read: Read, side: int) -> _Ready | Skipped:
    """Read a photo and squash it to `side` x `side` pixels, or say why there is none."""
    loaded = read()
    if isinstance(loaded, Skipped):
        return loaded
    file = loaded.file if isinstance(loaded, Loaded) else loaded
    try:
        if isinstance(loaded, Loaded):
            return _Ready(file, content_hash(loaded.data), read_pixels(io.BytesIO(loaded.data), side))
        if why := too_long(file):
            return Skipped(file.path, why)
        source, digest = open_file(Path(file.path), file.size)
        return _Ready(file, digest, read_pixels(source, side))
    except OSError as error:
        return Skipped(file.path, reason(error), lasting=False)
    except PictureError as error:
        return Skipped(file.path, str(error))


def _batches(items: Iterable[_Ready], size: int) -> Iterator[list[_Ready]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
