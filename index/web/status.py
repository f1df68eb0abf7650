"""How the server stands: its library, its model, and how far a build is."""

from __future__ import annotations

from index.database.database import Database
from index.paths import readable
from index.web.answers import CheckAnswer, FindingRow, InfoAnswer
from index.web.problems import Problem
from index.web.service import Service
from vsearch import distribution
from vsearch.errors import VsearchError


def info(service: Service) -> InfoAnswer:
    """Return what is known of library and model; a library that cannot be searched is no error, `trouble` says why."""
    facts = InfoAnswer(
        version=distribution.version(),
        library=readable(str(service.path)),
        pictures=0,
        folders=[],
        model=readable(str(service.model.folder)),
        identity=service.model.identity,
        captions=service.model.captions,
        read_only=service.read_only,
        trouble=None,
        hint=None,
        building=False,
        done=0,
        todo=0,
    )
    try:
        with service.apart() as database:
            facts.pictures = database.read.count()
            facts.folders = [readable(folder) for folder in database.read.folders()]
            facts.building = database.connection.is_building()
            facts.done, facts.todo = progress(database) if facts.building else (0, 0)
            database.check_identity(service.model.identity)
    except VsearchError as error:
        facts.trouble, facts.hint = readable(service.say(str(error))), readable(service.say(error.hint))
    return facts


def check(service: Service) -> CheckAnswer:
    """Verify the library as `vsearch check` does. Raises Problem 403 if nothing may be written."""
    from index.check import check as verify

    if service.read_only:
        raise Problem(403, "this server only reads, and a check deletes damaged caches", "start one that may write")
    with service.apart() as database:
        found = verify(database)
    rows = [(readable(service.say(one.message)), readable(service.say(one.remedy))) for one in found.findings]
    return CheckAnswer(
        pictures=found.pictures, findings=[FindingRow(message=message, remedy=remedy) for message, remedy in rows]
    )


def folders(database: Database) -> list[tuple[str, int]]:
    """Return each folder of the library and the number of pictures below it."""
    return [(readable(folder), len(database.read.ids_under(folder))) for folder in database.read.folders()]


def progress(database: Database) -> tuple[int, int]:
    """Return how many files a build has opened, and how many it must open in all; zeros where it does not say."""
    words = (database.read.noted("progress") or "").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)
