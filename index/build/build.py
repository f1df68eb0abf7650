"""Build a library of folders: every picture is embedded once, and only what changed when it runs again.

A build finds the files (`scan`), compares them with the library (`plan`), reads and decodes in threads (`read`) while
the calling thread runs the network, and writes (`write`). What the threads prepare comes back in the order of the walk
and carries its path, so a bad file never moves another picture's row. Every batch is one transaction: a build that is
killed leaves a library that is whole, and the next build goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

from index.build.describe import Settings
from index.build.details import note_details
from index.build.plan import Plan, plan
from index.build.read import Decoded, PhotoReader, Prepared
from index.build.report import Report
from index.build.scan import Found, Scan, scan
from index.build.write import Writer
from index.caches.refresh import GRAPH_FROM, refresh
from index.caches.sealed_file import clean
from index.database.database import Database
from index.model import Describer
from vsearch.ahead import ahead
from vsearch.errors import VsearchError
from vsearch.image.decode import VERSION
from vsearch.progress import Progress

_AHEAD = 3  # batches prepared before the network asks for them
_BATCHES = 8  # as many files as these batches have pictures are written at once, though fewer need the network


def build_index(
    database: Database,
    folders: Iterable[str | os.PathLike[str]],
    model: Describer,
    *,
    captions: bool = True,
    batch: int = 32,
    beam: int | None = None,
    reindex: bool = False,
    follow_links: bool | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    graph_from: int = GRAPH_FROM,
) -> Report:
    """Bring the library in step with the folders; `progress(done, total)` counts the files that must be opened,
    and before that the files of an older library whose heads are read.

    `beam` is the number of hypotheses kept for a caption, None the model's own. `reindex` forgets every vector and
    embeds all folders that the library knows, and `folders`, with this model. `follow_links` says whether links to
    folders are followed; None, as the library's last build was told, and at first they are not.
    Raises LibraryError if the library is of another model or another build writes to it; VsearchError if no folder can
    be read. A single bad file raises nothing: see `Report.skipped`.
    """
    start = time.monotonic()
    settings = Settings(captions and model.captions, max(1, batch), beam)
    with database.building():
        clean(database.path)
        walk, found = look(database, folders, model, reindex=reindex, follow_links=follow_links)
        show = progress or (lambda done, total: None)
        prepare(database, model, reindex=reindex)
        note_details(database, progress=show)  # of a library of an older format
        work = make_plan(database, walk, found, captions=settings.captions)
        report = Report(unreadable=walk.unreadable, links=walk.links, unchanged=work.unchanged, skipped=[*work.skipped])
        writer = Writer(database, model, settings, work, report)
        run(database, work, writer, model.side, settings, threads or min(8, os.cpu_count() or 1), show)
        finish(database, walk, writer)
        refresh(database, graph_from=graph_from)
    report.skipped.sort(key=lambda item: os.fsencode(item[0]))
    report.total = database.read.count()
    report.seconds = time.monotonic() - start
    return report


def look(
    database: Database,
    folders: Iterable[str | os.PathLike[str]],
    model: Describer,
    *,
    reindex: bool,
    follow_links: bool | None = None,
) -> tuple[Scan, list[Found]]:
    """Walk over the folders, once it is sure that the library is this model's or may become so.

    Raises LibraryError if it is another's, VsearchError if no folder can be read.
    """
    names = [*folders, *(database.read.folders() if reindex else [])]
    follow = database.read.follows_links if follow_links is None else follow_links
    walk = scan(dict.fromkeys(names), database.read.mounts(), follow_links=follow)
    if not reindex:
        database.adopt(model.identity, model.dim)
    found, reasons = list(walk), dict(walk.unreadable)
    if not walk.folders:
        raise VsearchError("no folder to index", "name at least one: `library.build([folder])`")
    if all(folder in reasons for folder in walk.folders):
        folder = walk.folders[0]
        raise VsearchError(f"{folder}: {reasons[folder]}", "name a folder of pictures that can be read")
    return walk, found


def prepare(database: Database, model: Describer, *, reindex: bool) -> None:
    """Bring the library itself up to date: its model, its format, its weight of captions, its decoder."""
    if reindex:
        database.write.clear(model.identity, model.dim)
    database.write.upgrade(model.embed_captions)
    database.write.mark()
    database.write.note("caption_weight", str(float(model.scores.caption_weight)))
    if database.read.noted("decoder") != VERSION:  # a newer decoder may read what an older one could not
        with database.writing():
            database.write.forget_skipped()
            database.write.note("decoder", VERSION)


def make_plan(database: Database, walk: Scan, found: Iterable[Found], *, captions: bool) -> Plan:
    """Compare the files found with what the library knows below the folders of the walk."""
    known = (dates for folder in walk.folders for dates in database.read.dates_under(folder))
    bad = (mark for folder in walk.folders for mark in database.read.skipped_under(folder))
    return plan(found, known, bad, walk.kept, captions=captions)


def run(
    database: Database, work: Plan, writer: Writer, side: int, settings: Settings, threads: int, progress: Progress
) -> None:
    """Open every file of the plan; the network runs in this thread, everything before it in others."""
    total, done, seen = len(work.jobs), 0, database.read.last_id()
    progress(0, total)
    if not total:
        return
    with Database.open(database.path, read_only=True) as committed:  # threads see no half of a transaction
        reader = PhotoReader(committed.read.by_hash, side, settings.captions)
        prepared = ahead(reader.prepare, work.jobs, threads, _AHEAD * settings.batch)
        with closing(prepared):  # whatever happens, no thread is left that asks a closed file
            for batch in batches(prepared, settings.batch):
                writer.settle(batch, reader)
                done += len(batch)
                first, seen = seen, note_details(database, seen)
                database.texts.fill(first)
                database.write.note("progress", f"{done} {total}")  # for those who read while this goes on
                progress(done, total)


def batches(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Yield the items in lists that hold at most `size` pictures for the network, and not too many others."""
    batch: list[Prepared] = []
    pictures = 0
    for item in prepared:
        batch.append(item)
        pictures += isinstance(item, Decoded)
        if pictures == size or len(batch) >= _BATCHES * size:
            yield batch
            batch, pictures = [], 0
    if batch:
        yield batch


def finish(database: Database, walk: Scan, writer: Writer) -> None:
    """Forget what is no more, and remember where we looked."""
    writer.remove_vanished()
    unseen = {mount for mount in walk.known_mounts if walk.kept(mount) or not walk.covers(mount)}
    database.write.set_folders(walk.folders, walk.mounts | unseen)
    database.write.note("follow_links", str(int(walk.follow_links)))
    note_details(database)
    database.texts.fill()
    database.write.note("progress", "")
