"""Plan a build: compare the files found with what the library knows. Nothing is opened and nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from index.build.scan import Found
from index.database.read import Dates, Skipped
from index.paths import file_of
from vsearch.image.kinds import VIDEO, moment_path, suffix


@dataclass(frozen=True)
class Job:
    """A file that must be opened, and what the library knows at its path."""

    file: Found
    known: Dates | None


@dataclass(frozen=True)
class Clip:
    """A video whose moments are to be found, and what the library knows of them, by path."""

    file: Found
    known: dict[str, Dates]


@dataclass(frozen=True)
class Plan:
    """What a build has to do, and what it need not do.

    - `jobs`: the files to open, in the order in which they were found.
    - `unchanged`: the number of pictures that are as the library knows them.
    - `skipped`: (path, reason) of files that were no readable pictures and have not changed since.
    - `vanished`: path -> id of the pictures whose files are no more.
    - `gone`: paths of the files that were no readable pictures and are no more.
    - `clips`: the videos to look into; all that is known of them counts as vanished until then.
    """

    jobs: list[Job]
    unchanged: int
    skipped: list[tuple[str, str]]
    vanished: dict[str, int]
    gone: list[str]
    clips: list[Clip] = field(default_factory=list)


def plan(
    found: Iterable[Found],
    known: Iterable[Dates],
    bad: Iterable[Skipped],
    kept: Callable[[str], bool],
    *,
    captions: bool,
    every_clip: bool = False,
) -> Plan:
    """Return what is to be done so that the library holds what was `found`.

    `known` and `bad` are the pictures and the skipped files that the library has in the same folders. `kept` tells of a
    path that was not found whether it may still exist, because nobody could look. A picture that is as it was is opened
    again only if `captions` are wanted and it has none. A video is looked into where it changed, where a build did not
    come to its end, and with `every_clip`.
    """
    pictures = {dates.path: dates for dates in known}
    refused = {mark.path: mark for mark in bad}
    frames = _by_video(pictures)
    jobs: list[Job] = []
    clips: list[Clip] = []
    skipped: list[tuple[str, str]] = []
    unchanged = 0
    for file in found:
        if suffix(file.path) in VIDEO:
            rows = frames.get(file.path, {})
            marks = [
                mark for path in (file.path, _first(file)) if (mark := refused.pop(path, None)) and same(mark, file)
            ]
            skipped += [(file.path, mark.reason) for mark in marks]
            if every_clip or not _whole(file, rows, marks, captions):
                clips.append(Clip(file, rows))
                continue
            unchanged += len(rows)
            for path in rows:
                del pictures[path]
            continue
        dates = pictures.pop(file.path, None)
        mark = refused.pop(file.path, None)
        if dates and same(dates, file):
            if dates.captioned or not captions:
                unchanged += 1
                continue
        elif mark and same(mark, file):
            skipped.append((file.path, mark.reason))
            continue
        jobs.append(Job(file, dates))
    vanished = {path: dates.id for path, dates in pictures.items() if not kept(path)}
    return Plan(jobs, unchanged, skipped, vanished, [path for path in refused if not kept(path)], clips)


def same(known: Dates | Skipped, file: Found) -> bool:
    """Tell whether a file has the size and the date that the library knows."""
    return (known.size, known.mtime_ns) == (file.size, file.mtime_ns)


def _by_video(pictures: Mapping[str, Dates]) -> dict[str, dict[str, Dates]]:
    """Return the moments among pictures, by video and path."""
    frames: dict[str, dict[str, Dates]] = {}
    for path, dates in pictures.items():
        if (file := file_of(path)) != path:
            frames.setdefault(file, {})[path] = dates
    return frames


def _first(file: Found) -> str:
    return moment_path(file.path, 0)


def _whole(file: Found, rows: Mapping[str, Dates], marks: Sequence[Skipped], captions: bool) -> bool:
    """Tell whether nothing of a video is left to do. A build writes its first moment, or that this is bad, last."""
    known = all(same(dates, file) and (dates.captioned or not captions) for dates in rows.values())
    return known and (bool(marks) or _first(file) in rows)
