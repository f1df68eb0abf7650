"""Build sources into a store, shard by shard; whoever does the shards, what is done stays done.

from index.shards.run import build_shards
from index.stores import open_store

store = open_store("milvus://db:19530/photos")
report = build_shards(["s3://photos/shards/"], store, model, batch=32)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from index.build.describe import Settings
from index.model import Describer
from index.shards.markers import Markers, build_name, default_place, place_of
from index.shards.shard import Shard
from index.shards.source import Listing, list_shards
from index.shards.work import Outcome, Worker, patiently
from index.stores.protocol import Store
from vsearch.errors import LibraryError


class Pool(Protocol):
    """Those who do the shards: this process, or the workers of a cluster."""

    @property
    def workers(self) -> int:
        """How many there are at the moment."""

    def run(self, shards: Sequence[Shard]) -> Iterator[Outcome | None]:
        """Yield what became of each shard, in any order; None now and then, when nothing was done for a while.

        Raises VsearchError where going on makes no sense.
        """


class Here:
    """This process as the only worker."""

    workers = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def run(self, shards: Sequence[Shard]) -> Iterator[Outcome | None]:
        """Do one shard after another."""
        return map(self._worker.do, shards)


@dataclass
class State:
    """How far a build is: shards of this run, those done before it, photos and seconds of this run."""

    shards: int
    done_before: int
    workers: int = 0
    done: int = 0
    photos: int = 0
    seconds: float = 0.0


Show: TypeAlias = Callable[[State], None]


@dataclass
class ShardReport:
    """What a build in shards did. `unreadable` holds (place, reason) of what should be tried again; `skipped` is the
    first of `skipped_count` photos that were left out, and where the list of all lies stands in `skipped_in`."""

    shards: int = 0
    done_before: int = 0
    done: int = 0
    written: int = 0
    unchanged: int = 0
    skipped_count: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    skipped_in: str = ""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    total: int = 0
    seconds: float = 0.0


_SHOWN = 20  # skipped photos that a report names


def build_shards(
    sources: Iterable[str],
    store: Store,
    model: Describer,
    *,
    captions: bool = True,
    batch: int = 32,
    beam: int | None = None,
    reindex: bool = False,
    follow_links: bool = False,
    markers: str | None = None,
    pool: Callable[[Settings], Pool] | None = None,
    show: Show | None = None,
) -> ShardReport:
    """Embed and describe every photo of the sources that is in no shard done before, and write it into the store.

    `markers` is the folder or S3 prefix where it is kept what is done, see `default_place`; `reindex` forgets that for
    this build. `pool` makes those who do the shards of the settings, by default this process.
    Raises LibraryError if the store is another model's or cannot be reached, VsearchError if no source can be read.
    """
    start = time.monotonic()
    settings = Settings(captions and model.captions, max(1, batch), beam)
    store.adopt(model.identity, model.dim, model.scores.caption_weight)
    listing = list_shards(sources, follow_links=follow_links)
    place = markers or default_place(listing.names)
    name = build_name(store.url, model.identity, captions=settings.captions, beam=beam)
    kept = Markers(place_of(place), name)
    todo = _begin(kept, listing, store, model, settings, reindex=reindex)
    for source in listing.names:
        store.add_source(source)
    report = ShardReport(len(listing.shards), len(listing.shards) - len(todo), links=listing.links)
    report.unreadable += listing.unreadable
    report.skipped_in = f"{place.rstrip('/')}/_skipped/{name}"
    if todo:
        doers = pool(settings) if pool is not None else Here(Worker(model, store, settings))
        _run(doers, todo, kept, report, show or (lambda state: None))
    if report.written:
        store.finish()
    store.sync()
    report.total = store.count()
    report.seconds = time.monotonic() - start
    return report


def _begin(
    kept: Markers, listing: Listing, store: Store, model: Describer, settings: Settings, *, reindex: bool
) -> list[Shard]:
    """Return the shards without a marker, once it is sure that markers can be written and are the store's.

    Raises LibraryError if shards are marked as done and the store knows no source: they were written to another.
    """
    kept.begin({"store": store.url, "model": model.identity, "captions": settings.captions, "sources": listing.names})
    if reindex:
        kept.forget()
    done = kept.done()
    todo = [shard for shard in listing.shards if shard.name not in done]
    if len(todo) < len(listing.shards) and not store.sources():
        message = f"shards are marked as done, but {store.url} was never built"
        raise LibraryError(message, "do them again: `reindex=True`")
    return todo


def _run(pool: Pool, todo: Sequence[Shard], kept: Markers, report: ShardReport, show: Show) -> None:
    """Have all shards done; mark each, and count it."""
    start = time.monotonic()
    state = State(len(todo), report.done_before, pool.workers)
    show(state)
    for outcome in pool.run(todo):
        if outcome is not None:
            patiently(lambda outcome=outcome: _keep(kept, outcome))  # type: ignore[misc]
            _count(report, outcome)
            state.done += 1
            state.photos += outcome.photos
        state.seconds, state.workers = time.monotonic() - start, pool.workers
        show(state)


def _keep(kept: Markers, outcome: Outcome) -> None:
    """Keep what was skipped, then, if nothing is to be tried again, that the shard is done."""
    if outcome.skipped:
        kept.note_skipped(outcome.shard, outcome.skipped)
    if outcome.whole:
        counts = {"written": outcome.written, "unchanged": outcome.unchanged, "skipped": len(outcome.skipped)}
        kept.mark(outcome.shard, counts)


def _count(report: ShardReport, outcome: Outcome) -> None:
    report.done += outcome.whole
    report.written += outcome.written
    report.unchanged += outcome.unchanged
    report.skipped_count += len(outcome.skipped)
    report.skipped += [(one.path, one.reason) for one in outcome.skipped[: _SHOWN - len(report.skipped)]]
    if outcome.damage:
        report.unreadable.append((outcome.place, outcome.damage))
    elif not outcome.whole:
        some = next(one for one in outcome.skipped if not one.lasting)
        report.unreadable.append((some.path, some.reason))
