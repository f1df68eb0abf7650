"""Builds of raw photos, JPEG XL and videos: a row for each moment, which comes, moves and goes with its file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from index.build.build import Part, build_index
from index.build.report import Report
from index.check import check
from index.database.database import Database
from index.duplicates import duplicates
from index.paths import link, titled
from tests.support.media import clip, dng
from tests.support.pictures import FakeDescriber, draw, draw_folder
from vsearch.errors import VsearchError
from vsearch.image.kinds import OPTIONAL, Kind

pytestmark = pytest.mark.skipif(
    not all(kind.readable() for kind in OPTIONAL), reason="needs the extras raw, jxl and video"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of six seconds, made once."""
    return clip(tmp_path_factory.mktemp("made") / "clip.mp4", creation_time="2024-05-06T07:08:09Z")


@pytest.fixture
def photos(tmp_path: Path, made: Path) -> Path:
    draw_folder(tmp_path / "photos", 2)
    shutil.copy2(made, tmp_path / "photos" / "clip.mp4")
    return tmp_path / "photos"


def counts(report: Report) -> dict[str, int]:
    fields = ("added", "updated", "moved", "captioned", "unchanged", "removed", "encoded", "total")
    return {name: getattr(report, name) for name in fields if getattr(report, name)}


def rows(library: Database, folder: Path) -> list[str]:
    return [os.path.relpath(dates.path, folder) for dates in library.read.dates_under("/")]


CLIP = ["clip.mp4#t=0", "clip.mp4#t=2", "clip.mp4#t=4"]


def test_videos_are_left_out_unless_asked_for(library: Database, describer: FakeDescriber, photos: Path) -> None:
    report = build_index(library, [photos], describer)
    assert (counts(report), report.left_out) == ({"added": 2, "encoded": 2, "total": 2}, {"video": 1})
    report = build_index(library, [photos], describer, video_every=2)
    assert (counts(report), report.left_out) == ({"added": 3, "unchanged": 2, "encoded": 3, "total": 5}, {})
    assert rows(library, photos) == ["000.png", "001.png", *CLIP]
    report = build_index(library, [photos], describer)  # remembers it
    assert (counts(report), describer.seen) == ({"unchanged": 5, "total": 5}, 5)
    report = build_index(library, [photos], describer, video_every=0)
    assert (counts(report), report.left_out) == ({"unchanged": 2, "removed": 3, "total": 2}, {})
    assert build_index(library, [photos], describer).left_out == {}


def test_moments_have_details_and_differ(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer, video_every=2)
    found = [library.read.picture(str(photos / name)) for name in CLIP]
    assert len({row.hash for row in found if row}) == 3
    details = library.details.of(row.id for row in found if row)
    assert [(one.width, one.height) for one in details.values()] == [(96, 64)] * 3
    taken = sorted(one.taken or 0 for one in details.values())
    assert np.diff(taken).tolist() == [2_000_000_000] * 2
    _, vectors = library.read.vectors(sorted(row.id for row in found if row))
    assert np.linalg.norm(vectors[0] - vectors[2]) > 0.1


def test_a_changed_interval_keeps_what_stays(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer, video_every=2)
    report = build_index(library, [photos], describer, video_every=1)
    assert counts(report) == {"added": 3, "unchanged": 5, "encoded": 3, "total": 8}
    report = build_index(library, [photos], describer, video_every=4)
    assert counts(report) == {"unchanged": 4, "removed": 4, "total": 4}
    for wrong in (-1, 0.01, float("nan"), float("inf")):
        with pytest.raises(VsearchError, match="not possible"):
            build_index(library, [photos], describer, video_every=wrong)


def test_all_moments_change_move_and_go_with_their_file(
    library: Database, describer: FakeDescriber, photos: Path
) -> None:
    build_index(library, [photos], describer, video_every=2)
    (photos / "clip.mp4").rename(photos / "moved.mp4")
    assert counts(build_index(library, [photos], describer)) == {"moved": 3, "unchanged": 2, "total": 5}
    os.utime(photos / "moved.mp4", ns=(7, 7))
    assert counts(build_index(library, [photos], describer)) == {"unchanged": 5, "total": 5}
    assert describer.seen == 5
    clip(photos / "moved.mp4", 3, seed=200)
    report = build_index(library, [photos], describer)
    assert counts(report) == {"updated": 2, "unchanged": 2, "encoded": 2, "removed": 1, "total": 4}
    (photos / "moved.mp4").unlink()
    assert counts(build_index(library, [photos], describer)) == {"unchanged": 2, "removed": 2, "total": 2}


def test_a_build_that_was_killed_goes_on(library: Database, describer: FakeDescriber, photos: Path) -> None:
    """The first moment is written last; what is there before is not embedded again."""

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    (photos / "000.png").unlink()
    (photos / "001.png").unlink()
    with pytest.raises(KeyboardInterrupt):
        build_index(library, [photos], describer, video_every=2, batch=1, progress=stop)
    assert rows(library, photos) == CLIP[1:]
    assert counts(build_index(library, [photos], describer)) == {"added": 1, "unchanged": 2, "encoded": 1, "total": 3}


def test_captions_are_added_to_moments(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer, video_every=2, captions=False)
    assert counts(build_index(library, [photos], describer))["captioned"] == 5
    assert library.read.captioned() == 5


def test_a_broken_video_is_one_line(library: Database, describer: FakeDescriber, photos: Path, made: Path) -> None:
    data = made.read_bytes()
    (photos / "text.mp4").write_text("no video")
    (photos / "head.mp4").write_bytes(data[:200])
    cut = clip(photos / "cut.mp4", gop=5, size=(320, 240), index_first=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    first = build_index(library, [photos], describer, video_every=1)
    told = {Path(path).name: reason for path, reason in first.skipped}
    assert set(told) == {"cut.mp4", "head.mp4", "text.mp4"}
    assert "of 6 frames are bad" in told["cut.mp4"]
    again = build_index(library, [photos], describer)
    assert counts(again) == {"unchanged": first.total, "total": first.total}
    assert {Path(path).name for path, _ in again.skipped} == {"head.mp4", "text.mp4"}
    (photos / "text.mp4").unlink()
    assert [Path(path).name for path, _ in build_index(library, [photos], describer).skipped] == ["head.mp4"]


def test_what_no_package_reads_any_more_stays(
    library: Database, describer: FakeDescriber, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = pytest.importorskip("imagecodecs")
    dng(photos / "a.dng")
    (photos / "b.jxl").write_bytes(codec.jpegxl_encode(np.asarray(draw(5)), lossless=True))
    first = build_index(library, [photos], describer, video_every=2)
    assert (first.added, first.skipped) == (7, [])
    with monkeypatch.context() as patch:
        patch.setattr(Kind, "readable", lambda kind: False)
        report = build_index(library, [photos], describer)
        assert counts(report) == {"unchanged": 2, "total": 7}
        assert report.left_out == {"raw photo": 1, "JPEG XL picture": 1, "video": 1}
        assert check(library).findings == ()
    (photos / "a.dng").unlink()
    assert counts(build_index(library, [photos], describer)) == {"unchanged": 6, "removed": 1, "total": 6}


def test_a_damaged_raw_photo_is_skipped(library: Database, describer: FakeDescriber, photos: Path) -> None:
    (photos / "bad.nef").write_bytes(b"no raw photo")
    report = build_index(library, [photos], describer)
    assert (report.added, [Path(path).name for path, _ in report.skipped]) == (2, ["bad.nef"])


def test_check_and_duplicates_know_files(library: Database, describer: FakeDescriber, photos: Path) -> None:
    shutil.copy2(photos / "clip.mp4", photos / "copy.mp4")
    build_index(library, [photos], describer, video_every=2)
    assert check(library).findings == ()
    (group,) = duplicates(library, 0.5)
    assert [Path(row.path).name for row in group.pictures] == ["clip.mp4#t=0", "copy.mp4#t=0"]
    assert group.exact and group.freed == (photos / "clip.mp4").stat().st_size
    (photos / "copy.mp4").unlink()
    (finding,) = check(library).findings
    assert finding.message.startswith("3 pictures are no longer on disk")


def test_a_part_is_built_without_a_look_at_the_rest(library: Database, describer: FakeDescriber, photos: Path) -> None:
    build_index(library, [photos], describer, video_every=2)
    (photos / "000.png").unlink()
    (photos / "sub").mkdir()
    draw(7).save(photos / "sub" / "new.png")
    (photos / "clip.mp4").rename(photos / "moved.mp4")
    paths = [str(photos / name) for name in ("sub", "clip.mp4", "moved.mp4")]
    report = build_index(library, [photos], describer, part=Part(paths))
    assert counts(report) == {"added": 1, "moved": 3, "encoded": 1, "total": 6}
    assert "000.png" in rows(library, photos)
    report = build_index(library, [photos], describer, part=Part([str(photos / "000.png")]))
    assert counts(report) == {"removed": 1, "total": 5}
    held = build_index(library, [photos], describer, part=Part(None, lambda file: True))
    assert counts(held) == {"unchanged": 5, "total": 5}
    clip(photos / "moved.mp4", 3)
    draw(8).save(photos / "sub" / "new.png")
    assert counts(build_index(library, [photos], describer, part=Part(None, lambda file: True)))["total"] == 5
    assert counts(build_index(library, [photos], describer))["updated"] == 3


def test_moments_for_people_and_browsers() -> None:
    assert titled("/a b/clip.mp4#t=75") == "/a b/clip.mp4 at 1:15"
    assert link("/a b/clip.mp4#t=75") == "file:///a%20b/clip.mp4#t=75"
    assert link("/a#b.jpg") == "file:///a%23b.jpg"


def test_the_page_shows_moments(library: Database, describer: FakeDescriber, photos: Path, tmp_path: Path) -> None:
    """A thumbnail of each, the picture in place of the video, and neither once the video is gone."""
    pytest.importorskip("fastapi", reason="needs the extra web")
    from index.web.photos import as_jpeg, checked, media_type
    from index.web.problems import Problem
    from index.web.thumbnails import Thumbnails

    build_index(library, [photos], describer, video_every=2)
    ids = library.read.ids_at([str(photos / name) for name in CLIP])
    shown = [checked(library, id_) for id_ in ids.values()]
    thumbnails = Thumbnails(tmp_path / "thumbnails")
    assert len({thumbnails.get(one, 240) for one in shown}) == 3
    assert [media_type(one.path) for one in shown] == [None] * 3
    assert as_jpeg(shown[0].path)[:2] == b"\xff\xd8"
    (photos / "clip.mp4").unlink()
    with pytest.raises(Problem, match="gone"):
        checked(library, shown[0].id)
