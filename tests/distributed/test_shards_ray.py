"""A build on a cluster, with S3 and Milvus: a machine dies, then the build itself; every photo is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.shards import s3
from index.stores import open_store
from index.stores.protocol import Row, Store
from tests.distributed.conftest import new_url, require
from tests.support.milvus import MilvusProcess
from tests.support.ray_cluster import LOOPBACK, ROOT, RayCluster
from tests.support.seaweed import Seaweed
from tests.support.tars import photo, write_tar
from tests.support.tiny_model import int8_folder

pytestmark = pytest.mark.distributed
TARS, PHOTOS = 40, 50
SOURCE = "s3://two-thousand/shards/"
PATIENCE = 180.0  # seconds; far more than it takes, for machines that are busy


@pytest.fixture
def storage(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of one who may do everything in S3."""
    for name, value in seaweed.environment(seaweed.owner).items():
        monkeypatch.setenv(name, value)
    s3._client.cache_clear()
    yield
    s3._client.cache_clear()


@pytest.fixture
def cluster(storage: None, milvus: MilvusProcess) -> Iterator[RayCluster]:
    """Two raylets that know the way to S3 and Milvus."""
    require("ray")
    started = RayCluster(dict(os.environ))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def photos(storage: None, tmp_path: Path) -> Path:
    """2,000 photos as tars in S3, and the same in a folder for each tar."""
    s3._client().create_bucket(Bucket="two-thousand")
    folder = tmp_path / "photos"
    for n in range(TARS):
        members = [(f"{k:02}.jpg", photo(n * PHOTOS + k)) for k in range(PHOTOS)]
        tar = write_tar(tmp_path / "one.tar", members)
        s3.put(f"{SOURCE}{n:05}.tar", tar.read_bytes())
        (folder / f"{n:05}.tar").mkdir(parents=True)
        for name, data in members:
            (folder / f"{n:05}.tar" / name).write_bytes(data)
    return folder


def test_2000_photos_none_twice_none_missing_though_a_raylet_and_the_driver_are_killed(
    cluster: RayCluster, milvus: MilvusProcess, photos: Path, tmp_path: Path
) -> None:
    url = new_url(milvus)
    driver = start(url, cluster)
    wait_for(lambda: markers() >= TARS // 3, driver)
    cluster.kill_raylet()
    wait_for(lambda: markers() >= 2 * TARS // 3, driver)
    assert driver.poll() is None
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=10)
    done = markers()
    assert TARS // 3 <= done < TARS

    resumed = start(url, cluster)
    out, err = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, err
    assert f"{TARS} shards, {done} done before; {TARS - done} to do on " in err
    assert out.startswith(f"{(TARS - done) * PHOTOS:,} written in ") and out.endswith(f"2,000 pictures in {url}\n")
    assert markers() == TARS
    with closing(open_store(url)) as store:
        found = list(rows(store))
    assert len(found) == len({row.path for row in found}) == TARS * PHOTOS
    assert_as_embedded({row.path: row for row in found}, photos, tmp_path)


def start(store: str, cluster: RayCluster) -> subprocess.Popen[str]:
    """`vsearch build-index SOURCE --store STORE --ray ADDRESS`, in a process."""
    command = [sys.executable, str(ROOT / "cli.py"), "build-index", SOURCE, "--store", store, "--ray", cluster.address]
    command += ["--model", str(int8_folder()), "--batch", str(PHOTOS)]
    environment = {**os.environ, **LOOPBACK}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def wait_for(event: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not event():
        if driver.poll() is not None or time.monotonic() > end:
            driver.kill()
            pytest.fail(f"it did not come to that: {driver.communicate()}")
        time.sleep(0.02)


def markers() -> int:
    """How many shards are done."""
    return sum(not item.url.endswith(".json") for item in s3.listed(f"{SOURCE}_done/"))


def rows(store: Store) -> Iterator[Row]:
    for part in store.walk():
        yield from part


def assert_as_embedded(found: dict[str, Row], photos: Path, tmp_path: Path) -> None:
    """Vectors, captions and hashes are those of `build-index FOLDER`, by one thread, as Ray's workers have: two sum in
    another order."""
    library = tmp_path / "embedded.library"
    command = [sys.executable, str(ROOT / "cli.py"), "build-index", str(photos), "--library", str(library)]
    command += ["--model", str(int8_folder()), "--batch", str(PHOTOS)]
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **single})
    with closing(open_store(library)) as embedded:
        for row in rows(embedded):
            tar, name = row.path.split("/")[-2:]
            mine = found[f"{SOURCE}{tar}#{name}"]
            assert np.array_equal(mine.vector, row.vector), row.path
            assert (mine.hash, mine.size, mine.caption) == (row.hash, row.size, row.caption)
