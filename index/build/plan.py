"""Plan a build: compare the files found with what the library knows. Nothing is opened and nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from index.build.scan import Found
from index.database.read import Dates, Skipped


@dataclass(frozen=True)
class Job:
    """A file that must be opened, and what the library knows at its path."""

    file: Found
    known: Dates | None


@dataclass(frozen=True)
class Plan:
    """What a build has to do, and what it need not do.

    - `jobs`: the files to open, in the order in which they were found.
    - `unchanged`: the number of pictures that are as the library knows them.
    - `skipped`: (path, reason) of files that were no readable pictures and have not changed since.
    - `vanished`: path -> id of the pictures whose files are no more.
    - `gone`: paths of the files that were no readable pictures and are no more.
    """

    jobs: list[Job]
    unchanged: int
    skipped: list[tuple[str, str]]
    vanished: dict[str, int]
    gone: list[str]


def plan(
    found: Iterable[Found],
    known: Iterable[Dates],
    bad: Iterable[Skipped],
    kept: Callable[[str], bool],
    *,
    captions: bool,
) -> Plan:
    """Return what is to be done so that the library holds what was `found`.

    `known` and `bad` are the pictures and the skipped files that the library has in the same folders. `kept` tells of a
    path that was not found whether it may still exist, because nobody could look. A picture that is as it was is opened
    again only if `captions` are wanted and it has none.
    """
    pictures = {dates.path: dates for dates in known}
    refused = {mark.path: mark for mark in bad}
    jobs: list[Job] = []
    skipped: list[tuple[str, str]] = []
    unchanged = 0
    for file in found:
        dates = pictures.pop(file.path, None)
        mark = refused.pop(file.path, None)
        if dates and (dates.size, dates.mtime_ns) == (file.size, file.mtime_ns):
            if dates.captioned or not captions:
                unchanged += 1
                continue
        elif mark and (mark.size, mark.mtime_ns) == (file.size, file.mtime_ns):
            skipped.append((file.path, mark.reason))
            continue
        jobs.append(Job(file, dates))
    vanished = {path: dates.id for path, dates in pictures.items() if not kept(path)}
    return Plan(jobs, unchanged, skipped, vanished, [path for path in refused if not kept(path)])
