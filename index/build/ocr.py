"""Read the text in pictures after a build, at low priority: whatever else the machine has to do goes first.

A content is read once, however many files have it and whatever model made the library, and what was read is committed
every few pictures: who is interrupted goes on from there. No lock is held meanwhile, so that builds can run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from contextlib import closing

from index.build.report import Report
from index.database.database import Database
from index.database.texts import Unread
from index.paths import file_of
from vsearch.ahead import ahead
from vsearch.errors import PictureError
from vsearch.image import ocr
from vsearch.progress import Progress

_COMMIT = 8  # pictures
_LOWEST = 19  # the priority of a thread that gives way to all others


def read_texts(database: Database, report: Report, wanted: bool | None, progress: Progress | None = None) -> None:
    """Read the text of every content that was not read yet, and count that in the report of a build.

    `wanted` None: if the library's last build did. Where RapidOCR is not installed, nothing is read: `Report.unread`.
    """
    if wanted is not None:
        database.write.note("ocr", str(int(wanted)))
    if database.read.noted("ocr") != "1":
        return
    start, jobs = time.monotonic(), database.texts.unread()
    if not ocr.installed():
        report.unread = len(jobs)
        return
    readers = threading.local()

    def read(job: Unread) -> str | None:
        return _read(readers, job)

    done = []
    threads = max(1, min(2, (os.cpu_count() or 1) // 2))  # each takes some 500 MB for a page
    with closing(ahead(read, jobs, threads, 2 * threads)) as texts:
        for number, (job, text) in enumerate(zip(jobs, texts, strict=True), 1):
            if text is not None:
                done.append((job.hash, text))
            if len(done) >= _COMMIT or number == len(jobs):
                database.texts.note_read(done)
                report.read += len(done)
                done = []
            if progress is not None:
                progress(number, len(jobs))
    report.reading = time.monotonic() - start


def _read(readers: threading.local, job: Unread) -> str | None:
    """Return the text of a picture, None if its file is not as the library knows it: then a later build reads it."""
    if not hasattr(readers, "mine"):
        if sys.platform == "linux":  # where a thread has a priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        readers.mine = ocr.TextReader()
    try:
        file = os.stat(file_of(job.path))
        if (file.st_size, file.st_mtime_ns) != (job.size, job.mtime_ns):
            return None
        text: str = readers.mine.read(job.path)
        return text
    except OSError:
        return None
    except PictureError:
        return ""
