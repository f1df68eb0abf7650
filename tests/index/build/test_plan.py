"""plan: what is to be done, for every pair of what was found and what is known. No file, no library."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from index.build.plan import Job, Plan, plan
from index.build.scan import Found
from index.database.read import Dates, Skipped

FILE = Found("/p/a.jpg", 10, 20)
SAME = Dates("/p/a.jpg", 7, 10, 20, captioned=True)
BARE = SAME._replace(captioned=False)
LARGER = SAME._replace(size=11)
OLDER = SAME._replace(mtime_ns=19)
BAD = Skipped("/p/a.jpg", 10, 20, "truncated")
BAD_BEFORE = BAD._replace(mtime_ns=19)
NOTHING = Plan([], 0, [], {}, [])


def changed(**fields: object) -> Plan:
    """A plan in which nothing but these fields is to be done."""
    return Plan(**{**vars(NOTHING), **fields})


def kept(path: str) -> bool:
    """Nobody could look below /away."""
    return path.startswith("/away/")


# what is found, known and bad; whether captions are wanted; the plan
ONE_FILE: dict[str, tuple[Sequence[Found], Sequence[Dates], Sequence[Skipped], bool, Plan]] = {
    "nothing at all": ((), (), (), True, NOTHING),
    "a new file": ((FILE,), (), (), True, changed(jobs=[Job(FILE, None)])),
    "a picture as it was": ((FILE,), (SAME,), (), True, changed(unchanged=1)),
    "of another size": ((FILE,), (LARGER,), (), True, changed(jobs=[Job(FILE, LARGER)])),
    "of another date": ((FILE,), (OLDER,), (), True, changed(jobs=[Job(FILE, OLDER)])),
    "without a caption, captions wanted": ((FILE,), (BARE,), (), True, changed(jobs=[Job(FILE, BARE)])),
    "without a caption, none wanted": ((FILE,), (BARE,), (), False, changed(unchanged=1)),
    "with a caption, none wanted": ((FILE,), (SAME,), (), False, changed(unchanged=1)),
    "of another date, no captions wanted": ((FILE,), (OLDER,), (), False, changed(jobs=[Job(FILE, OLDER)])),
    "a bad file as it was": ((FILE,), (), (BAD,), True, changed(skipped=[("/p/a.jpg", "truncated")])),
    "a bad file of another date": ((FILE,), (), (BAD_BEFORE,), True, changed(jobs=[Job(FILE, None)])),
    "a picture that is no more": ((), (SAME,), (), True, changed(vanished={"/p/a.jpg": 7})),
    "a bad file that is no more": ((), (), (BAD,), True, changed(gone=["/p/a.jpg"])),
    "a picture where nobody could look": ((), (SAME._replace(path="/away/a.jpg"),), (), True, NOTHING),
    "a bad file where nobody could look": ((), (), (BAD._replace(path="/away/a.jpg"),), True, NOTHING),
    # both at once cannot be in a library; whatever it is, the picture counts
    "a picture as it was and a bad file": ((FILE,), (SAME,), (BAD,), True, changed(unchanged=1)),
    "a picture without caption and a bad file": ((FILE,), (BARE,), (BAD,), True, changed(jobs=[Job(FILE, BARE)])),
    "a changed picture and a bad file": ((FILE,), (OLDER,), (BAD,), True, changed(skipped=[("/p/a.jpg", "truncated")])),
    "the same picture told twice": ((FILE,), (SAME, SAME), (), True, changed(unchanged=1)),
}


@pytest.mark.parametrize("case", ONE_FILE)
def test_one_file(case: str) -> None:
    found, known, bad, captions, expected = ONE_FILE[case]
    assert plan(found, known, bad, kept, captions=captions) == expected


def test_many_files_keep_their_order() -> None:
    files = [Found(f"/p/{name}.jpg", 1, 1) for name in "cabd"]
    known = [Dates("/p/b.jpg", 1, 1, 1, True), Dates("/p/x.jpg", 2, 1, 1, True), Dates("/away/y.jpg", 3, 1, 1, True)]
    bad = [Skipped("/p/d.jpg", 1, 1, "broken"), Skipped("/p/z.jpg", 1, 1, "broken")]
    made = plan(iter(files), iter(known), iter(bad), kept, captions=True)
    assert [job.file.path for job in made.jobs] == ["/p/c.jpg", "/p/a.jpg"]
    assert (made.unchanged, made.skipped) == (1, [("/p/d.jpg", "broken")])
    assert (made.vanished, made.gone) == ({"/p/x.jpg": 2}, ["/p/z.jpg"])


def test_every_file_is_in_one_place() -> None:
    """Whatever is found and known: opened, unchanged, or skipped; and what is not found is kept, or no more."""
    files = [Found(f"/p/{n}", n % 2, n % 3) for n in range(36)]
    known = [Dates(f"/p/{n}", n, n % 4 % 2, n % 9 % 3, n % 5 > 0) for n in range(0, 72, 3)]
    bad = [Skipped(f"/p/{n}", n % 2, n % 3, "broken") for n in range(1, 72, 3)]
    for captions in (False, True):
        made = plan(files, known, bad, kept, captions=captions)
        assert len(made.jobs) + made.unchanged + len(made.skipped) == len(files)
        assert set(made.vanished) == {dates.path for dates in known} - {file.path for file in files}
        assert set(made.gone) == {mark.path for mark in bad} - {file.path for file in files}
