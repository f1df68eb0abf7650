"""Move a library's pictures into another store, and back: nothing is embedded again.

Rows are written by path, so a move that was cut off is run again: what is there as it should be is only compared. A
store keeps captions only mixed into pictures; on the way back their own vectors are made again from their words, by the
model that made them the first time. n is a number of pictures.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index.model import Model
from index.stores.protocol import Row, Store
from vsearch.errors import LibraryError
from vsearch.progress import Progress

SAMPLE = 1_000  # vectors compared at the end
_ROWS = 1_000  # in one step


@dataclass(frozen=True)
class Moved:
    """What a move did: `written` now, `there` already; `sampled` vectors were compared at the end, all equal."""

    written: int
    there: int
    sampled: int
    total: int
    seconds: float


def move(source: Store, target: Store, model: Model, progress: Progress | None = None) -> Moved:
    """Copy every picture of a store into another, which then holds all of them; `progress(done, total)` counts them.

    What the target holds at other paths stays. `model` is the one that made the vectors.
    Raises LibraryError if the source holds no picture, if source or target are of another model, and if the check at
    the end finds a difference.
    """
    start = time.monotonic()
    facts = source.facts()
    total = 0 if facts is None else source.count()
    if facts is None or not total:
        raise LibraryError(f"{source.url} holds no picture", "name a library or store that was built")
    source.check_identity(model.identity)
    target.adopt(*facts)
    fresh = not target.count()
    for place in source.sources():
        target.add_source(place)
    written, seen, sample = 0, 0, list[Row]()
    for rows in source.walk(_ROWS):
        full = _with_captions(rows, model)
        there = {} if fresh else target.fetch([row.path for row in full])
        missing = [row for row in full if not _same(row, there.get(row.path))]
        if missing:
            target.upsert(missing)
        written += len(missing)
        _keep(sample, full, seen)
        seen += len(full)
        if progress is not None:
            progress(seen, total)
    target.finish()
    _compare(source, target, sample)
    return Moved(written, seen - written, len(sample), target.count(), time.monotonic() - start)


def _same(row: Row, there: Row | None) -> bool:
    """Tell whether a row arrived as it is; the vector of its caption follows from the caption."""
    if there is None or there[:4] != row[:4] or there.caption != row.caption:
        return False
    return np.array_equal(there.vector, row.vector)


def _with_captions(rows: Sequence[Row], model: Model) -> list[Row]:
    """Return rows whose captions have their own vectors again, where they lost them."""
    lost = [at for at, row in enumerate(rows) if row.caption and row.caption_vector is None]
    full = list(rows)
    if not lost:
        return full
    for at, vector in zip(lost, model.embed_captions([rows[at].caption or "" for at in lost]), strict=True):
        full[at] = rows[at]._replace(caption_vector=vector)
    return full


def _keep(sample: list[Row], rows: Sequence[Row], seen: int) -> None:
    """Keep SAMPLE rows of all that pass, each with the same chance; `seen` passed before (Vitter 1985, algorithm R)."""
    chance = random.Random(seen)
    for number, row in enumerate(rows, seen):
        if len(sample) < SAMPLE:
            sample.append(row)
        elif (at := chance.randrange(number + 1)) < SAMPLE:
            sample[at] = row


def _compare(source: Store, target: Store, sample: Sequence[Row]) -> None:
    """Raise LibraryError unless the target holds as many pictures, and those of the sample bit for bit."""
    remedy = "run the move again: it goes on from here"
    if target.count() < source.count():
        message = f"{target.url} holds {target.count():,} pictures, {source.url} {source.count():,}"
        raise LibraryError(message, remedy)
    found = target.fetch([row.path for row in sample])
    if wrong := [row.path for row in sample if not _same(row, found.get(row.path))]:
        raise LibraryError(f"{wrong[0]} did not arrive in {target.url} as it was", remedy)
