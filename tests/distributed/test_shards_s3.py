"""Photos and markers in a real object storage: SeaweedFS."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.shards import s3
from index.shards.errors import PassingError
from index.shards.markers import Markers, S3Place
from index.shards.run import ShardReport, build_shards
from index.stores import open_store
from tests.support.commands import call
from tests.support.pictures import FakeDescriber
from tests.support.seaweed import Seaweed
from tests.support.tars import photo, write_tar
from tests.support.tiny_model import model_folder
from vsearch.errors import VsearchError

pytestmark = pytest.mark.distributed


@pytest.fixture
def guest(seaweed: Seaweed) -> Iterator[pytest.MonkeyPatch]:
    """The environment of one who may list and read the bucket `photos`."""
    with pytest.MonkeyPatch.context() as patch:
        yield _as(patch, seaweed, seaweed.guest)
    s3._client.cache_clear()


@pytest.fixture
def owner(seaweed: Seaweed) -> Iterator[pytest.MonkeyPatch]:
    """The environment of one who may do everything, with the bucket `photos`."""
    with pytest.MonkeyPatch.context() as patch:
        yield _as(patch, seaweed, seaweed.owner)
    s3._client.cache_clear()


def _as(patch: pytest.MonkeyPatch, seaweed: Seaweed, who: dict[str, str]) -> pytest.MonkeyPatch:
    for name, value in seaweed.environment(who).items():
        patch.setenv(name, value)
    s3._client.cache_clear()
    return patch


@pytest.fixture(scope="module")
def bucket(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> str:
    """`photos` with tars/ (4 of 25 photos each, a .json next to every one) and single/ (30 photos, one of them bad)."""
    with pytest.MonkeyPatch.context() as patch:
        _as(patch, seaweed, seaweed.owner)
        s3._client().create_bucket(Bucket="photos")
        folder = tmp_path_factory.mktemp("tars")
        for n in range(4):
            names = [f"{n:05}{k:04}" for k in range(25)]
            photos = [(f"{name}.jpg", photo(n * 25 + k)) for k, name in enumerate(names)]
            tar = write_tar(folder / f"{n:05}.tar", [*photos, *((f"{name}.json", b"{}") for name in names)])
            s3.put(f"s3://photos/tars/{tar.name}", tar.read_bytes())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: s3.put(f"s3://photos/single/a b/{k:03}.jpg", photo(k) if k else b"bad"), range(30)))
    s3._client.cache_clear()
    return "s3://photos/"


@pytest.fixture
def build(tmp_path: Path, describer: FakeDescriber, bucket: str) -> Any:
    """Builds into a library of the test's own."""

    def run(*sources: str, **settings: Any) -> ShardReport:
        with closing(open_store(tmp_path / "photos.library", create=True)) as store:
            return build_shards([bucket + source for source in sources], store, describer, **settings)

    return run


def test_tars_and_single_objects_are_built_once(
    owner: object, build: Any, tmp_path: Path, describer: FakeDescriber
) -> None:
    report = build("tars/", "single")
    assert (report.shards, report.done, report.written, report.total) == (5, 5, 129, 129)
    assert report.skipped == [("s3://photos/single/a b/000.jpg", "not a picture of a known format")]
    again = build("tars/", "single")
    assert (again.done_before, again.done, again.total, describer.seen) == (5, 0, 129, 129)
    with closing(open_store(tmp_path / "photos.library")) as store:
        found = store.fetch(["s3://photos/tars/00000.tar#000000001.jpg", "s3://photos/single/a b/001.jpg"])
    one, other = found.values()
    assert np.array_equal(one.vector, other.vector) and one.hash == other.hash
    markers = {item.url.removeprefix("s3://photos/tars/").split("/")[0] for item in s3.listed("s3://photos/tars/_")}
    assert markers == {"_done", "_skipped"}


def test_the_stream_of_a_tar_gives_what_the_file_holds(owner: object, bucket: str, tmp_path: Path) -> None:
    with s3.opened(f"{bucket}tars/00001.tar") as body:
        assert body.read(512) + body.read() == s3.read(f"{bucket}tars/00001.tar")


def test_of_many_who_mark_a_shard_one_does(owner: object, bucket: str) -> None:
    markers = Markers(S3Place(f"{bucket}markers"), "0123")
    markers.begin({"store": "x"})
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda n: markers.mark("a", {"written": n}), range(16))) == [False] * 15 + [True]
    assert markers.done() == {"a"}
    markers.forget()
    assert markers.done() == set() and markers.mark("a", {})


def test_who_may_only_read_keeps_markers_elsewhere(guest: object, build: Any, tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match="may not write to the bucket photos") as raised:
        build("tars/")
    assert "markers=place" in raised.value.hint
    assert build("tars/", markers=str(tmp_path / "markers")).total == 100


def test_a_bucket_without_rights_or_that_is_not_there_is_one_line(
    guest: pytest.MonkeyPatch, owner: pytest.MonkeyPatch, seaweed: Seaweed, bucket: str
) -> None:
    _as(owner, seaweed, seaweed.owner)
    s3._client().create_bucket(Bucket="private")
    with pytest.raises(VsearchError, match="there is no bucket nowhere"):
        list(s3.listed("s3://nowhere/x/"))
    _as(owner, seaweed, seaweed.guest)
    with pytest.raises(VsearchError, match="these credentials may not list the bucket private"):
        list(s3.listed("s3://private/"))
    guest.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3._client.cache_clear()
    with pytest.raises(VsearchError, match=r"may not list .*SignatureDoesNotMatch") as raised:
        list(s3.listed(bucket))
    assert "AWS_SECRET_ACCESS_KEY" in raised.value.hint


def test_no_credentials_and_no_storage_are_one_line(owner: pytest.MonkeyPatch, tmp_path: Path) -> None:
    owner.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    owner.setenv("AWS_MAX_ATTEMPTS", "1")
    s3._client.cache_clear()
    with pytest.raises(PassingError, match="S3 does not answer"):
        list(s3.listed("s3://photos/"))
    owner.delenv("AWS_ACCESS_KEY_ID")
    owner.delenv("AWS_SECRET_ACCESS_KEY")
    owner.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3._client.cache_clear()
    with pytest.raises(VsearchError, match="there are no credentials for S3"):
        list(s3.listed("s3://photos/"))


def test_a_damaged_tar_in_s3_and_one_that_vanishes(owner: object, build: Any, bucket: str) -> None:
    good = write_bytes_of_tar()
    s3.put(f"{bucket}damaged/0.tar", good[:700])
    s3.put(f"{bucket}damaged/1.tar", good)
    s3.put(f"{bucket}damaged/2.tar", good)
    report = build("damaged/", show=lambda state: s3.delete([f"{bucket}damaged/2.tar"]))
    assert [place for place, _ in report.unreadable] == [f"{bucket}damaged/0.tar", f"{bucket}damaged/2.tar"]
    assert report.unreadable[1][1] == "vanished" and (report.done, report.total) == (1, 2)
    s3.put(f"{bucket}damaged/0.tar", good)
    assert (build("damaged/").total, build("damaged/").done) == (4, 0)


def write_bytes_of_tar() -> bytes:
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for k in range(2):
            info, data = tarfile.TarInfo(f"{k}.jpg"), photo(k)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_the_command_builds_from_s3_and_searches(owner: object, bucket: str, tmp_path: Path) -> None:
    store, model = str(tmp_path / "cli.library"), model_folder()
    built = call(
        "build-index", f"{bucket}tars/00000.tar", "--store", store, "--model", model, "--markers", tmp_path / "m"
    )
    assert built.exit_code == 0, built.output
    assert built.stdout.startswith("25 written in ") and built.stdout.endswith(f"25 pictures in {store}\n")
    assert "1 shard, 0 done before; 1 to do on 1 worker\n" in built.stderr
    again = call(
        "build-index", f"{bucket}tars/00000.tar", "--store", store, "--model", model, "--markers", tmp_path / "m"
    )
    assert again.stdout.startswith("nothing to do in ")
    found = call("search", "dog", "--library", store, "--model", model, "--paths", "-k", "3")
    assert len(found.stdout.splitlines()) == 3 and "s3://photos/tars/00000.tar#" in found.stdout
