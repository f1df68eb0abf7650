"""Captions as XMP files next to the pictures, as `vsearch tag` writes them; see `index.metadata`."""

from __future__ import annotations

from collections.abc import Iterable

from index.metadata.files import sidecar_of
from index.metadata.tag import Wish, tag
from index.paths import readable
from index.web.answers import SidecarAnswer, SkippedRow
from index.web.photos import checked
from index.web.problems import Problem
from index.web.service import Service


def write(service: Service, ids: Iterable[int]) -> SidecarAnswer:
    """Write the captions of these pictures next to them; return what was written, and why anything was not.

    Raises Problem 403 if nothing may be written.
    """
    answer = SidecarAnswer(written=[], skipped=[])
    with service.writing() as database:
        for id_ in dict.fromkeys(ids):
            try:
                found = checked(database, id_)
                if not found.caption:
                    raise Problem(400, "the picture has no caption")
            except Problem as error:
                answer.skipped.append(SkippedRow(id=id_, reason=str(error)))
                continue
            report = tag(database, service.model, [found.path], Wish())
            if report.skipped:
                answer.skipped.append(SkippedRow(id=id_, reason=report.skipped[0][1]))
            else:
                answer.written.append(readable(sidecar_of(found.path) or found.path))
    return answer
