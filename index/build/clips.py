"""Find the moments of videos that a build has to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from index.build.plan import Clip, Job, Plan, same
from vsearch.errors import PictureError, VsearchError
from vsearch.image.kinds import moment_path, moments
from vsearch.image.special import read_video_head


def expand(plan: Plan, every: float, *, captions: bool) -> Plan:
    """Return a plan in which the videos to look into have become pictures: one every so many seconds.

    The first moment of each comes last: once it is written, the video is whole. What is no video is a job as it is.
    """
    jobs, unchanged, vanished = [*plan.jobs], plan.unchanged, dict(plan.vanished)
    for clip in plan.clips:
        for job in _jobs(clip, every):
            known = job.known
            if known is not None:
                vanished.pop(known.path, None)
                if same(known, clip.file) and (known.captioned or not captions):
                    unchanged += 1
                    continue
            jobs.append(job)
    return replace(plan, jobs=jobs, unchanged=unchanged, vanished=vanished, clips=[])


def _jobs(clip: Clip, every: float) -> Sequence[Job]:
    try:
        length = read_video_head(clip.file.path).length
    except PictureError:
        return [Job(clip.file, None)]  # whoever opens it says why it is none
    paths = [moment_path(clip.file.path, seconds) for seconds in moments(length, every)]
    return [Job(clip.file._replace(path=path), clip.known.get(path)) for path in reversed(paths)]


def check_every(every: float) -> float:
    """Return the seconds between two moments, 0 for no videos. Raises VsearchError if that is no such number."""
    if not math.isfinite(every) or not (every == 0 or 0.1 <= every <= 1e6):
        raise VsearchError(f"a frame every {every:g} seconds is not possible", "name 0.1 or more; 0 leaves videos out")
    return every
