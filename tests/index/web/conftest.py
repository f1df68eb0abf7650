"""One library for all tests that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

from starlette.testclient import TestClient

from index.web.service import Service
from tests.support.site import build, client_of, make_service


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of twelve pictures that nobody may change."""
    place = tmp_path_factory.mktemp("site")
    build(place)
    return place


@pytest.fixture(scope="session")
def service(place: Path) -> Iterator[Service]:
    service = make_service(place)
    yield service
    service.close()


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client
