"""The loop over shards in this process, into a SQLite library: as an embedded build, and once, whatever happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.build.describe import Settings
from index.database.database import Database, OtherModelError
from index.shards.errors import PassingError
from index.shards.run import Here, ShardReport, State, build_shards
from index.shards.work import Worker, patiently
from index.stores import open_store
from index.stores.protocol import Row, Store
from tests.support.pictures import FakeDescriber, draw_folder
from tests.support.tars import draw_tars, photo, write_tar
from vsearch.errors import LibraryError, VsearchError

Build = Callable[..., ShardReport]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.shards.shard.LEAST", 4)
    monkeypatch.setattr("index.shards.shard.MOST", 6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "shards.library", create=True)) as opened:
        yield opened


@pytest.fixture
def build(store: Store, describer: FakeDescriber, tmp_path: Path) -> Build:
    def run(*sources: Path | str, **settings: object) -> ShardReport:
        given = {"markers": str(tmp_path / "markers"), "batch": 4, **settings}
        return build_shards([os.fspath(s) for s in sources], store, describer, **given)  # type: ignore[arg-type]

    return run


def rows(store: Store) -> dict[str, Row]:
    return {row.path: row for part in store.walk() for row in part}


def test_a_folder_gives_what_an_embedded_build_gives(tmp_path: Path, store: Store, build: Build) -> None:
    draw_folder(tmp_path / "photos", 20)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    report = build(tmp_path / "photos")
    assert (report.written, report.skipped_count, report.total, report.unreadable) == (20, 1, 20, [])
    assert report.skipped == [(str(tmp_path / "photos" / "bad.jpg"), "not a picture of a known format")]

    with Database.open(tmp_path / "embedded.library", create=True) as database:
        build_index(database, [tmp_path / "photos"], FakeDescriber(), batch=7)
    with closing(open_store(tmp_path / "embedded.library")) as embedded:
        assert_same(rows(store), rows(embedded))


def assert_same(found: dict[str, Row], expected: dict[str, Row]) -> None:
    """Every field of every row, vectors bit for bit."""
    assert found.keys() == expected.keys()
    for path, row in found.items():
        for mine, other in zip(row, expected[path], strict=True):
            assert np.array_equal(mine, other) if isinstance(mine, np.ndarray) else mine == other, path  # type: ignore[arg-type]


def test_tars_give_the_vectors_of_the_same_photos_in_a_folder(tmp_path: Path, store: Store, build: Build) -> None:
    names = [f"{n}.png" for n in range(5)]
    for name, path in zip(names, draw_folder(tmp_path / "photos", 5), strict=True):
        path.rename(path.with_name(name))
    write_tar(tmp_path / "0.tar", [(name, (tmp_path / "photos" / name).read_bytes()) for name in names])
    assert build(tmp_path / "photos", tmp_path / "0.tar").written == 10
    found = rows(store)
    for name in names:
        file, member = found[str(tmp_path / "photos" / name)], found[f"{tmp_path}/0.tar#{name}"]
        assert (
            np.array_equal(file.vector, member.vector) and file.hash == member.hash and file.caption == member.caption
        )


def test_a_second_build_does_nothing_and_a_changed_photo_only_itself(
    tmp_path: Path, build: Build, describer: FakeDescriber
) -> None:
    paths = draw_folder(tmp_path / "photos", 20)
    first = build(tmp_path / "photos")
    seen = describer.seen
    again = build(tmp_path / "photos")
    assert (again.done_before, again.done, again.written, describer.seen) == (first.shards, 0, 0, seen)
    shutil.copy(paths[0], paths[7])
    third = build(tmp_path / "photos")
    assert (third.done, third.written, third.total, describer.seen) == (1, 1, 20, seen + 1)
    assert third.unchanged in (3, 4, 5)


def test_a_photo_that_goes_bad_is_taken_out_of_the_store(tmp_path: Path, store: Store, build: Build) -> None:
    paths = draw_folder(tmp_path / "photos", 6)
    build(tmp_path / "photos")
    paths[2].write_bytes(b"no picture")
    assert build(tmp_path / "photos").total == 5
    assert str(paths[2]) not in rows(store)


def test_a_build_that_is_killed_goes_on_and_writes_nothing_twice(
    tmp_path: Path, store: Store, build: Build, describer: FakeDescriber
) -> None:
    draw_tars(tmp_path / "tars", 5, 4)

    class Killed(BaseException):
        pass

    def stop(state: State) -> None:
        if state.done == 2:
            raise Killed

    with pytest.raises(Killed):
        build(tmp_path / "tars", show=stop)
    assert store.count() == 8
    report = build(tmp_path / "tars")
    assert (report.done_before, report.done, report.total, describer.seen) == (2, 3, 20, 20)


def test_a_crash_between_rows_and_marker_is_mended(
    tmp_path: Path, store: Store, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_tars(tmp_path / "tars", 2, 4)
    with monkeypatch.context() as patch:
        patch.setattr("index.shards.markers.Markers.mark", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(tmp_path / "tars")
    assert store.count() == 4
    assert build(tmp_path / "tars").total == 8


def test_a_damaged_tar_is_said_what_was_good_is_kept_and_it_is_tried_again(tmp_path: Path, build: Build) -> None:
    tar = write_tar(tmp_path / "0.tar", [(f"{n}.jpg", photo(n)) for n in range(6)])
    whole = tar.read_bytes()
    tar.write_bytes(whole[:4000])
    for _ in range(2):
        report = build(tmp_path / "0.tar")
        assert report.done == 0 and 0 < report.total < 6
        assert report.unreadable == [(str(tar), "a damaged tar (unexpected end of data)")]
    tar.write_bytes(whole)
    report = build(tmp_path / "0.tar")
    assert (report.done, report.total, report.unreadable) == (1, 6, [])


def test_a_bad_member_fails_nothing(tmp_path: Path, build: Build) -> None:
    write_tar(tmp_path / "0.tar", [("a.jpg", photo(1)), ("b.jpg", photo(2)[:200]), ("c.jpg", photo(3))])
    report = build(tmp_path / "0.tar")
    assert (report.done, report.written, report.skipped) == (1, 2, [(f"{tmp_path}/0.tar#b.jpg", "truncated")])
    (listed,) = Path(report.skipped_in).iterdir()
    assert listed.read_text() == f'{{"path": "{tmp_path}/0.tar#b.jpg", "reason": "truncated"}}\n'


def test_a_shard_or_a_photo_that_vanishes_is_tried_again(tmp_path: Path, build: Build) -> None:
    first, second = draw_tars(tmp_path, 2, 3)
    (lone,) = draw_folder(tmp_path / "photos", 1)

    def vanish(state: State) -> None:
        second.unlink(missing_ok=True)
        lone.unlink(missing_ok=True)

    report = build(first, second, tmp_path / "photos", show=vanish)
    assert report.unreadable == [(str(second), "vanished"), (str(lone), "vanished while it was read")]
    assert (report.done, report.total) == (1, 3)


def test_another_model_is_refused_before_the_first_photo(tmp_path: Path, build: Build, store: Store) -> None:
    draw_tars(tmp_path, 1, 2)
    build(tmp_path)
    other = FakeDescriber("fake-model-2")
    with pytest.raises(OtherModelError):
        build_shards([str(tmp_path)], store, other, markers=str(tmp_path / "markers"))
    assert other.seen == 0


def test_markers_of_a_store_that_is_gone_are_noticed(
    tmp_path: Path, build: Build, store: Store, describer: FakeDescriber
) -> None:
    draw_tars(tmp_path, 1, 2)
    build(tmp_path)
    store.close()
    (tmp_path / "shards.library").unlink()
    markers = str(tmp_path / "markers")
    with closing(open_store(tmp_path / "shards.library", create=True)) as empty:
        with pytest.raises(LibraryError, match="marked as done"):
            build_shards([str(tmp_path)], empty, describer, markers=markers)
        assert build_shards([str(tmp_path)], empty, describer, markers=markers, reindex=True).total == 2


def test_no_source_that_can_be_read_is_an_error_and_one_of_two_a_remark(tmp_path: Path, build: Build) -> None:
    draw_tars(tmp_path / "tars", 1, 2)
    with pytest.raises(VsearchError, match="no such folder"):
        build(tmp_path / "nowhere")
    report = build(tmp_path / "nowhere", tmp_path / "tars")
    assert report.unreadable == [(str(tmp_path / "nowhere"), "no such folder")] and report.total == 2


def test_pauses_grow_and_patience_ends() -> None:
    pauses: list[float] = []
    calls = iter([PassingError("down")] * 30)

    def fail() -> None:
        raise next(calls)

    with pytest.raises(PassingError, match="down"):
        patiently(fail, 600, pauses.append)
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60] and sum(pauses) == 600


def test_what_passes_is_tried_again_and_what_does_not_is_raised_at_once() -> None:
    answers: list[Exception | int] = [PassingError("down"), PassingError("down"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, 600, lambda seconds: None) == 7
    answers[:] = [LibraryError("refused"), 7]
    with pytest.raises(LibraryError):
        patiently(ask, 600, lambda seconds: None)
    assert answers == [7]


def test_rows_are_written_in_parts_of_a_large_shard(
    tmp_path: Path, store: Store, describer: FakeDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tar may hold any number of photos; memory must not grow with it."""
    monkeypatch.setattr("index.shards.work.MOST", 4)
    parts: list[int] = []
    write: Callable[[Sequence[Row]], None] = store.upsert

    def upsert(rows: Sequence[Row]) -> None:
        parts.append(len(rows))
        write(rows)

    monkeypatch.setattr(store, "upsert", upsert)
    draw_tars(tmp_path, 1, 10)
    pool = lambda settings: Here(Worker(describer, store, settings))  # noqa: E731
    build_shards([str(tmp_path)], store, describer, batch=3, markers=str(tmp_path / "m"), pool=pool)
    assert parts == [6, 4]
    assert Settings(True, 3, None).batch == 3
