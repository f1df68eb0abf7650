"""From folders to a library: every picture embedded once, and only what changed when it runs again.

Threads read and decode (`reader`) while the calling thread runs the network. What they prepare comes back in the order
of the walk and carries its path, so a bad file never moves another picture's row. Every batch is one transaction: a
build that is killed leaves a library that is whole, and the next build goes on from there.
B is the pictures of a batch, S the side the network takes, D the length of a vector.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.build.read import Job, Prepared, Reader
from index.build.scan import Found, Scan, scan
from index.caches.refresh import GRAPH_FROM, refresh
from index.caches.sealed_file import clean
from index.database.database import Database
from index.database.read import Dates, Picture
from index.database.write import NewPicture
from index.model import Describer
from vsearch.ahead import ahead
from vsearch.errors import VsearchError
from vsearch.image.decode import VERSION
from vsearch.progress import Progress

_AHEAD = 3  # batches prepared before the network asks for them
_ROWS = 500  # removed in one transaction


class _Caption(NamedTuple):
    text: str
    vector: NDArray[np.float32] | None


@dataclass
class Report:
    """What a build did. `skipped` and `unreadable` hold (path, reason); `unchanged` counts touched files too."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    captioned: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    encoded: int = 0  # pictures that went through the network
    total: int = 0  # pictures in the library now
    seconds: float = 0.0


def build_index(
    database: Database,
    folders: Iterable[str | os.PathLike[str]],
    model: Describer,
    *,
    captions: bool = True,
    batch: int = 32,
    beam: int | None = None,
    reindex: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
    graph_from: int = GRAPH_FROM,
) -> Report:
    """Bring the library in step with the folders; `progress(done, total)` counts the files that must be opened.

    `beam` is the number of hypotheses kept for a caption, None the model's own.
    `reindex` forgets every vector and embeds all folders that the library knows, and `folders`, with this model.
    Raises LibraryError if the library is of another model or another build writes to it; VsearchError if no folder can
    be read. A single bad file raises nothing: see `Report.skipped`.
    """
    start = time.monotonic()
    with database.building():
        clean(database.path)
        names = [*folders, *(database.read.folders() if reindex else [])]
        walk = scan(dict.fromkeys(names), database.read.mounts())
        if not reindex:
            database.adopt(model.identity, model.dim)
        found = list(walk)
        _check_folders(walk)
        if reindex:
            database.write.clear(model.identity, model.dim)
        database.write.upgrade(model.embed_captions)
        database.write.note("caption_weight", str(float(model.scores.caption_weight)))
        build = _Build(database, model, captions and model.captions, batch, beam, walk, progress)
        build.plan(found)
        build.run(threads or min(8, os.cpu_count() or 1))
        build.finish()
        refresh(database, graph_from=graph_from)
    build.report.total = database.read.count()
    build.report.seconds = time.monotonic() - start
    return build.report


def _check_folders(walk: Scan) -> None:
    reasons = dict(walk.unreadable)
    if not walk.folders:
        raise VsearchError("no folder to index", "name at least one: vsearch build-index FOLDER")
    if all(folder in reasons for folder in walk.folders):
        folder = walk.folders[0]
        raise VsearchError(f"{folder}: {reasons[folder]}", "name a folder of pictures that can be read")


class _Build:
    """One run of build_index."""

    def __init__(
        self,
        database: Database,
        model: Describer,
        captions: bool,
        batch: int,
        beam: int | None,
        walk: Scan,
        progress: Progress | None,
    ) -> None:
        self.report = Report(unreadable=walk.unreadable)
        self._database = database
        self._model = model
        self._captions = captions
        self._batch = max(1, batch)
        self._beam = beam
        self._walk = walk
        self._progress = progress or (lambda done, total: None)
        self._jobs: list[Job] = []
        self._vanished: dict[str, int] = {}  # path -> id: not found, and not below anything unreadable
        self._gone: list[str] = []  # skipped files that are no more
        self._started = False

    # ---- what is to be done

    def plan(self, found: list[Found]) -> None:
        """Compare the files found with the library: what must be opened, and what is no more."""
        if self._database.read.noted("decoder") != VERSION:  # a newer decoder may read what an older one could not
            with self._database.writing():
                self._database.write.forget_skipped()
                self._database.write.note("decoder", VERSION)
        known: dict[str, Dates] = {}
        bad: dict[str, tuple[int, int, str]] = {}
        for folder in self._walk.folders:
            known.update((dates.path, dates) for dates in self._database.read.dates_under(folder))
            bad.update(
                (path, (size, mtime, reason)) for path, size, mtime, reason in self._database.read.skipped_under(folder)
            )
        for file in found:
            dates = known.pop(file.path, None)
            mark = bad.pop(file.path, None)
            if dates and (dates.size, dates.mtime_ns) == (file.size, file.mtime_ns):
                if dates.captioned or not self._captions:
                    self.report.unchanged += 1
                    continue
            elif mark and mark[:2] == (file.size, file.mtime_ns):
                self.report.skipped.append((file.path, mark[2]))
                continue
            self._jobs.append(Job(file, dates))
        self._vanished = {path: dates.id for path, dates in known.items() if not self._walk.kept(path)}
        self._gone = [path for path in bad if not self._walk.kept(path)]

    # ---- doing it

    def run(self, threads: int) -> None:
        """Open every file of the plan; the network runs in this thread, everything before it in others."""
        total = len(self._jobs)
        self._progress(0, total)
        if not total:
            return
        waiting: list[Prepared] = []
        pictures = done = 0
        with Reader(self._database, self._model.side, self._captions) as reader:
            for prepared in ahead(reader.prepare, self._jobs, threads, _AHEAD * self._batch):
                waiting.append(prepared)
                pictures += prepared.pixels is not None
                if pictures == self._batch or len(waiting) >= 8 * self._batch:
                    self._settle(waiting)
                    done += len(waiting)
                    waiting, pictures = [], 0
                    self._progress(done, total)
            self._settle(waiting)
        self._progress(total, total)

    def finish(self) -> None:
        """Forget what is no more, and remember where we looked."""
        paths = [*self._vanished, *self._gone]
        for start in range(0, len(paths), _ROWS):
            with self._database.writing():
                self._start()
                self._database.write.remove(paths[start : start + _ROWS])
        self.report.removed = len(self._vanished)
        unseen = {mount for mount in self._walk.known_mounts if self._walk.kept(mount) or not self._covers(mount)}
        self._database.write.set_folders(self._walk.folders, self._walk.mounts | unseen)
        self.report.skipped.sort(key=lambda item: os.fsencode(item[0]))

    def _covers(self, path: str) -> bool:
        return any(path == top or path.startswith(top.rstrip(os.sep) + os.sep) for top in self._walk.folders)

    def _settle(self, waiting: list[Prepared]) -> None:
        """Run the network on what has pixels, then write everything that waits in one transaction."""
        described = self._describe([item for item in waiting if item.pixels is not None])
        with self._database.writing():
            if waiting:
                self._start()
            for item in waiting:
                if item.pixels is not None:
                    self._write(item, *next(described))
                elif item.twin is not None:
                    self._write_twin(item, item.twin)
                else:
                    self._write_trouble(item)

    def _describe(self, items: list[Prepared]) -> Iterator[tuple[NDArray[np.float32], _Caption | None]]:
        """The vector (D,) and the caption of each item, in order."""
        if not items:
            return iter(())
        pixels = np.stack([item.pixels for item in items if item.pixels is not None])  # (B, S, S, 3)
        vectors, captions = self._model.describe(pixels, self._captions, self._beam)
        vectors = np.asarray(vectors, np.float32)
        if vectors.shape != (len(items), self._model.dim):
            raise ValueError(f"the model made vectors {vectors.shape} of {len(items)} pictures")
        if captions is not None and len(captions) != len(items):
            raise ValueError(f"the model made {len(captions)} captions of {len(items)} pictures")
        self.report.encoded += len(items)
        if captions is None:
            return iter([(vector, None) for vector in vectors])
        placed = [_Caption(*pair) for pair in zip(captions, self._model.embed_captions(captions), strict=True)]
        return iter(list(zip(vectors, placed, strict=True)))

    def _write(self, item: Prepared, vector: NDArray[np.float32], caption: _Caption | None) -> None:
        file, known = item.job.file, item.job.known
        if not np.isfinite(vector).all() or not vector.any():
            self._write_trouble(Prepared(item.job, trouble="the model makes no vector of it", lasting=True))
        elif item.same and known is not None:
            self._database.write.touch(known.id, file.path, file.size, file.mtime_ns)
            if caption is not None:
                self._database.write.set_caption(known.id, *caption)
            self.report.captioned += 1
        else:
            self._database.write.put(NewPicture(*file, item.digest, vector, *(caption or (None, None))))
            self._count(known)

    def _write_twin(self, item: Prepared, twin: Picture) -> None:
        """A file whose content the library has already: touched, moved or copied."""
        file, known = item.job.file, item.job.known
        if known is not None and known.id == twin.id:
            self._database.write.touch(twin.id, *file)
            self.report.unchanged += 1
        elif self._vanished.get(twin.path) == twin.id:
            del self._vanished[twin.path]
            self._database.write.touch(twin.id, *file)
            self.report.moved += 1
        elif self._database.write.copy(twin.id, *file):
            self._count(known)
        else:  # its twin went away a moment ago
            with Reader(self._database, self._model.side, self._captions) as reader:
                alone = reader.prepare(item.job, alone=True)
            if alone.pixels is None:
                self._write_trouble(alone)
            else:
                self._write(alone, *next(self._describe([alone])))

    def _write_trouble(self, item: Prepared) -> None:
        file, reason = item.job.file, item.trouble or "cannot be read"
        if item.lasting:
            self._database.write.skip(*file, reason)
        self.report.skipped.append((file.path, reason))

    def _count(self, known: Dates | None) -> None:
        if known is None:
            self.report.added += 1
        else:
            self.report.updated += 1

    def _start(self) -> None:
        """Give this run its token, in the transaction that first changes something."""
        if not self._started:
            self._database.write.start_run()
            self._started = True
