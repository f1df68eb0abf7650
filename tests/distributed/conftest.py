"""Stores of both kinds, for the tests that hold on each, and a Milvus of the tests' own.

A collection takes Milvus seconds to make, so tests share two: one that belongs to model-1 and is emptied for each test,
and one of odd paths.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from index.stores import open_store
from index.stores.protocol import Store
from tests.support.milvus import MilvusProcess
from tests.support.seaweed import WEED, Seaweed

MakeStore = Callable[[], Store]
_NUMBERS = itertools.count()
MODEL, DIM, WEIGHT = "model-1", 16, 0.4
QUICK: dict[
    str, Any
] = {  # Milvus' own rounds come sooner than in production (ms); rows without a graph are compared exactly
    "queryNode__segcore__interimIndex__enableIndex": "false",
    "proxy__timeTickInterval": 40,
    "queryCoord__checkInterval": 100,
    "queryCoord__distPullInterval": 50,
}
BOTH = ["sqlite", pytest.param("milvus", marks=pytest.mark.distributed)]


def require(*modules: str, programs: Iterable[Path] = ()) -> None:
    """Skip where packages or programs are missing; fail where VSEARCH_DISTRIBUTED says that they must be there."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += [program.name for program in programs if not program.exists()]
    if missing and os.environ.get("VSEARCH_DISTRIBUTED"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """A Milvus on loopback, and MILVUS_TOKEN to get in."""
    require("milvus", "pymilvus")
    process = MilvusProcess(tmp_path_factory.mktemp("milvus"), **QUICK)
    with pytest.MonkeyPatch.context() as patch:
        try:
            process.start()
            patch.setenv("MILVUS_TOKEN", process.set_password(secrets.token_hex(8)))
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An object storage on loopback."""
    require("botocore", programs=[WEED])
    storage = Seaweed(tmp_path_factory.mktemp("seaweed"))
    try:
        yield storage
    finally:
        storage.stop()


def new_url(milvus: MilvusProcess) -> str:
    """The URL of a collection that is not there yet."""
    return f"milvus://{milvus.address}/photos_{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def shared_url(milvus: MilvusProcess) -> str:
    """The URL of a collection of model-1."""
    url = new_url(milvus)
    with closing(open_store(url, create=True)) as store:
        store.adopt(MODEL, DIM, WEIGHT)
    return url


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of each kind may be made."""
    if request.param == "sqlite":
        return str(tmp_path / "photos.library")
    return new_url(request.getfixturevalue("milvus"))


@pytest.fixture(params=BOTH)
def adopted_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of each kind is that belongs to model-1 and is empty."""
    url = str(tmp_path / "photos.library") if request.param == "sqlite" else request.getfixturevalue("shared_url")
    with closing(open_store(url, create=True)) as store:
        store.adopt(MODEL, DIM, WEIGHT)
        store.delete([row.path for block in store.walk() for row in block])
        assert store.count() == 0
    return str(url)


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    """A store that belongs to nobody yet, open for writing."""
    with closing(open_store(place, create=True)) as opened:
        yield opened


@pytest.fixture
def adopted(adopted_place: str) -> Iterator[Store]:
    """An empty store of model-1."""
    with closing(open_store(adopted_place, create=True)) as opened:
        yield opened


@pytest.fixture
def again(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Opens the test's store again, as another process does."""
    name = "adopted_place" if "adopted_place" in request.fixturenames else "place"
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_store(request.getfixturevalue(name), create=True)))
