"""Write what a build read and what the network made of it: one transaction a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from index.build.describe import NO_VECTOR, Described, Settings, describe
from index.build.plan import Plan
from index.build.read import Decoded, PhotoReader, Prepared, Trouble, Twin
from index.build.report import Report
from index.database.database import Database
from index.database.read import Dates
from index.database.write import NewPicture
from index.model import Describer
from index.paths import file_of
from vsearch.image.kinds import parse_moment

_ROWS = 500  # removed in one transaction


class Writer:
    """The changes that one build makes, counted in its report."""

    def __init__(self, database: Database, model: Describer, settings: Settings, plan: Plan, report: Report) -> None:
        self._database = database
        self._model = model
        self._settings = settings
        self._vanished = dict(plan.vanished)
        self._gone = plan.gone
        self._report = report
        self._started = False
        self._frames: dict[str, int] = {}  # moments of the video that is being written, and those that were bad
        self._bad_frames: dict[str, list[Trouble]] = {}

    def settle(self, batch: Sequence[Prepared], reader: PhotoReader) -> None:
        """Run the network on what was decoded, then write the whole batch in one transaction."""
        described = iter(self._describe([item for item in batch if isinstance(item, Decoded)]))
        with self._database.writing():
            self._start_run()
            for item in batch:
                if isinstance(item, Decoded):
                    self._write(item, next(described))
                elif isinstance(item, Twin):
                    self._write_twin(item, reader)
                else:
                    self._write_trouble(item)
                self._end_of_video(item)

    def remove_vanished(self, excluded: Callable[[str], bool] = lambda _: False) -> None:
        """Forget the pictures and skipped files that are no more; those that were moved are still there.

        `excluded` tells of a path whether its file is only left out now.
        """
        for file, bad in self._bad_frames.items():  # of videos whose first moment was there before
            self._write_bad_frames(file, bad, self._frames[file])
        paths = [*self._vanished, *self._gone]
        for start in range(0, len(paths), _ROWS):
            with self._database.writing():
                self._start_run()
                self._database.write.remove(paths[start : start + _ROWS])
        self._report.removed = len(self._vanished)
        self._report.excluded = sum(excluded(path) for path in self._vanished)

    def _end_of_video(self, item: Prepared) -> None:
        """Once the last moment of a video was written, the first, say in one line what was not readable of it."""
        file, seconds = parse_moment(item.job.file.path)
        if seconds is None:
            return
        self._frames[file] = self._frames.get(file, 0) + 1
        if seconds == 0:
            bad, seen = self._bad_frames.pop(file, []), self._frames.pop(file)
            if bad:
                self._write_bad_frames(file, bad, seen)

    def _write_bad_frames(self, file: str, bad: Sequence[Trouble], seen: int) -> None:
        """Skip a video of which nothing can be read; else note whether its first moment is among what cannot."""
        first = next((item for item in bad if parse_moment(item.job.file.path)[1] == 0), None)
        nothing = len(bad) == seen and not any(item.job.known for item in bad)
        reason = bad[-1].reason if nothing else f"{len(bad)} of {seen} frames are bad: {bad[0].reason}"
        if first is not None and first.lasting:
            where = first.job.file._replace(path=file) if nothing else first.job.file
            self._database.write.skip(*where, reason)
        self._report.skipped.append((file, reason))

    def _start_run(self) -> None:
        """Give this run its token, in the transaction that first changes something."""
        if not self._started:
            self._database.write.start_run()
            self._started = True

    def _describe(self, items: Sequence[Decoded]) -> list[Described]:
        """Run the network once over all items."""
        self._report.encoded += len(items)
        return describe(self._model, items, self._settings, self._database.opinions.captions)

    def _write(self, item: Decoded, made: Described) -> None:
        file, known = item.job.file, item.job.known
        if not made.usable:
            self._write_trouble(Trouble(item.job, NO_VECTOR, lasting=True))
        elif item.same and known is not None:
            self._database.write.touch(known.id, *file)
            if made.caption is not None:
                self._database.write.set_caption(known.id, made.caption, made.caption_vector)
            self._report.captioned += 1
        else:
            new = NewPicture(*file, item.digest, made.vector, made.caption, made.caption_vector)
            self._database.write.put(new)
            self._count(known)

    def _write_twin(self, item: Twin, reader: PhotoReader) -> None:
        """Touch, move or copy the picture whose content a file has."""
        file, known, twin = item.job.file, item.job.known, item.picture
        if known is not None and known.id == twin.id:
            self._database.write.touch(twin.id, *file)
            self._report.unchanged += 1
        elif self._vanished.get(twin.path) == twin.id:
            del self._vanished[twin.path]
            self._database.write.touch(twin.id, *file)
            self._report.moved += 1
        elif self._database.write.copy(twin.id, *file):
            self._count(known)
        else:
            self._write_alone(item, reader)

    def _write_alone(self, item: Twin, reader: PhotoReader) -> None:
        """Read a file again whose twin went away a moment ago, and write it as a picture of its own."""
        alone = reader.prepare(item.job, twins=False)
        if isinstance(alone, Decoded):
            (made,) = self._describe([alone])
            self._write(alone, made)
        elif isinstance(alone, Trouble):
            self._write_trouble(alone)

    def _write_trouble(self, item: Trouble) -> None:
        if file_of(item.job.file.path) != item.job.file.path:
            self._bad_frames.setdefault(file_of(item.job.file.path), []).append(item)
            return
        if item.lasting:
            self._database.write.skip(*item.job.file, item.reason)
        self._report.skipped.append((item.job.file.path, item.reason))

    def _count(self, known: Dates | None) -> None:
        if known is None:
            self._report.added += 1
        else:
            self._report.updated += 1
