"""Stores of both kinds, for the tests that hold on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from index.stores import open_store
from index.stores.protocol import Store

MakeStore = Callable[[], Store]


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of each kind may be made."""
    return str(tmp_path / "photos.library")


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    """A store that belongs to nobody yet, open for writing."""
    with closing(open_store(place, create=True)) as opened:
        yield opened


@pytest.fixture
def again(place: str, store: Store) -> Iterator[MakeStore]:
    """Opens the same store again, as another process does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_store(place, create=True)))
