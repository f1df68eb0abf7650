"""Build a library of folders: every picture is embedded once, and only what changed when it runs again.

A build finds the files (`scan`), compares them with the library (`plan`), reads and decodes in threads (`read`) while
the calling thread runs the network, and writes (`write`). What the threads prepare comes back in the order of the walk
and carries its path, so a bad file never moves another picture's row. Every batch is one transaction: a build that is
killed leaves a library that is whole, and the next build goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from index.build.clips import check_every, expand
from index.build.describe import Settings
from index.build.details import note_details
from index.build.leave_out import changed
from index.build.notes import note_sidecars, note_sidecars_at
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
from vsearch.image.kinds import VIDEOS
from vsearch.progress import Progress

_AHEAD = 3  # batches prepared before the network asks for them
_BATCHES = 8  # as many files as these batches have pictures are written at once, though fewer need the network


@dataclass(frozen=True)
class Part:
    """What a build is restricted to: these absolute paths, files and whole folders, of folders that are known.

    What `hold` says of a file that would have to be opened: leave it for later. It stays as it is known.
    """

    paths: Collection[str] | None = None
    hold: Callable[[Found], bool] | None = None


WHOLE = Part()


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
    video_every: float | None = None,
    exclude: Iterable[str] = (),
    no_exclude: Iterable[str] = (),
    progress: Progress | None = None,
    threads: int | None = None,
    graph_from: int = GRAPH_FROM,
    part: Part = WHOLE,
) -> Report:
    """Bring the library in step with the folders; `progress(done, total)` counts the files that must be opened,
    and before that the files of an older library whose heads are read.

    `beam` is the number of hypotheses kept for a caption, None the model's own. `reindex` forgets every vector and
    embeds all folders that the library knows, and `folders`, with this model. `follow_links` says whether links to
    folders are followed, `video_every` how many seconds lie between two frames that are taken of a video, 0 for no
    videos; None, as the library's last build was told, and at first there are neither links nor videos. `exclude` holds
    patterns of what is left out, now and by later builds of the library, until `no_exclude` takes them back.
    Raises LibraryError if the library is of another model or another build writes to it; VsearchError if no folder can
    be read, for what is no pattern, and for a pattern to be taken back that the library does not have. A single bad
    file raises nothing: see `Report.skipped`.
    """
    start = time.monotonic()
    settings = Settings(captions and model.captions, max(1, batch), beam)
    with database.building():
        clean(database.path)
        every = database.read.video_every if video_every is None else check_every(video_every)
        names = [*folders, *(database.read.folders() if reindex else [])]
        follow = database.read.follows_links if follow_links is None else follow_links
        excludes = changed(database.read.excludes(), exclude, no_exclude)
        walk = scan(
            dict.fromkeys(names),
            database.read.mounts(),
            follow_links=follow,
            videos=bool(every),
            only=part.paths,
            excludes=excludes,
        )
        found = look(database, walk, model, adopt=not reindex, part=part)
        show = progress or (lambda done, total: None)
        prepare(database, model, reindex=reindex, every=every)
        if excludes != database.read.excludes():
            database.write.set_excludes(excludes)
        if part.paths is None:
            note_details(database, progress=show)  # of a library of an older format
        work = make_plan(database, walk, found, part, captions=settings.captions, every=every)
        report = Report(unreadable=walk.unreadable, links=walk.links, unchanged=work.unchanged, skipped=[*work.skipped])
        report.left_out = left_out(walk, every)
        writer = Writer(database, model, settings, work, report)
        run(database, work, writer, model.side, settings, threads or min(8, os.cpu_count() or 1), show)
        finish(database, walk, writer, part)
        whole = part.paths is None
        report.skipped += note_sidecars(database, walk) if whole else note_sidecars_at(database, part.paths or ())
        refresh(database, graph_from=graph_from)
    report.skipped.sort(key=lambda item: os.fsencode(item[0]))
    report.total = database.read.count()
    report.seconds = time.monotonic() - start
    return report


def look(database: Database, walk: Scan, model: Describer, *, adopt: bool, part: Part = WHOLE) -> list[Found]:
    """Walk over the folders, once it is sure that the library is this model's or may become so.

    Raises LibraryError if it is another's, VsearchError if no folder can be read.
    """
    if adopt:
        database.adopt(model.identity, model.dim)
    found, reasons = list(walk), dict(walk.unreadable)
    if part.paths is not None:
        return found
    if not walk.folders:
        raise VsearchError("no folder to index", "name at least one: `library.build([folder])`")
    if all(folder in reasons for folder in walk.folders):
        folder = walk.folders[0]
        raise VsearchError(f"{folder}: {reasons[folder]}", "name a folder of pictures that can be read")
    return found


def prepare(database: Database, model: Describer, *, reindex: bool, every: float | None = None) -> None:
    """Bring the library itself up to date: its model, its format, its weight of captions, its decoder."""
    if every is not None:
        database.write.note("video_every", f"{every:g}")
    if reindex:
        database.write.clear(model.identity, model.dim)
    database.write.upgrade(model.embed_captions)
    database.write.mark()
    database.write.note("caption_weight", str(float(model.scores.caption_weight)))
    if database.read.noted("decoder") != VERSION:  # a newer decoder may read what an older one could not
        with database.writing():
            database.write.forget_skipped()
            database.write.note("decoder", VERSION)


def make_plan(
    database: Database,
    walk: Scan,
    found: Iterable[Found],
    part: Part = WHOLE,
    *,
    captions: bool,
    every: float | None = None,
) -> Plan:
    """Compare the files found with what the library knows below the folders of the walk, or at the paths of a part.

    `every` is the number of seconds between two frames of a video, 0 or None for none.
    """
    places = walk.folders if part.paths is None else part.paths
    known = (dates for place in places for dates in database.read.dates_under(place))
    bad = (mark for place in places for mark in database.read.skipped_under(place))
    another = bool(every) and every != database.read.video_every_done
    work = plan(found, known, bad, walk.kept, captions=captions, every_clip=another)
    if part.hold is not None:
        clips = [clip for clip in work.clips if not part.hold(clip.file)]
        for path in [path for clip in work.clips if clip not in clips for path in clip.known]:
            work.vanished.pop(path, None)
        work = replace(work, jobs=[job for job in work.jobs if not part.hold(job.file)], clips=clips)
    return expand(work, every, captions=captions) if every else work


def left_out(walk: Scan, every: float | None) -> dict[str, int]:
    """Count the files that were left out, by what they are; videos that nobody wants are not worth a word."""
    nouns = [kind.noun for kind in walk.left_out.values() if kind is not VIDEOS or every != 0]
    return {noun: nouns.count(noun) for noun in dict.fromkeys(nouns)}


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


def finish(database: Database, walk: Scan, writer: Writer, part: Part = WHOLE) -> None:
    """Forget what is no more, and remember where we looked."""
    writer.remove_vanished(walk.is_excluded)
    if part.paths is None:
        unseen = {mount for mount in walk.known_mounts if walk.kept(mount) or not walk.covers(mount)}
        database.write.set_folders(walk.folders, walk.mounts | unseen)
        database.write.note("follow_links", str(int(walk.follow_links)))
        database.write.note("video_every_done", database.read.noted("video_every") or "")
    elif not walk.mounts <= walk.known_mounts:
        database.write.set_folders([], walk.mounts | walk.known_mounts)
    note_details(database)
    database.texts.fill()
    database.write.note("progress", "")
