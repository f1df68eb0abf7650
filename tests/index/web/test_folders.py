"""Folders as a tree: what lies right below each, how many pictures, and whatever they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from index import Library
from tests.support.pictures import draw
from tests.support.site import client_of, make_service
from tests.support.tiny_model import model_folder
from vsearch.model import Model

NAMES = ("a", "a.b", "b/deep/deeper", "b", "new\nline", os.fsdecode(b"inv\xff"), "%_x'", ".")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("folders")
    for number, name in enumerate(NAMES):
        (place / "photos" / name).mkdir(parents=True, exist_ok=True)
        draw(number).save(place / "photos" / name / f"{number}.png")
    (place / "empty").mkdir()
    with Library.open(place / "library", Model(model_folder(), "cpu")) as library:
        library.build([place / "photos", place / "photos" / "b", place / "empty"], captions=False)
    return place


@pytest.fixture
def client(place: Path) -> Iterator[TestClient]:
    service = make_service(place)
    with client_of(service) as client:
        yield client
    service.close()


def rows(client: TestClient, **wanted: Any) -> list[tuple[str, int, bool]]:
    found = client.get("/api/folders?" + urlencode({name.rstrip("_"): value for name, value in wanted.items()}))
    assert found.status_code == 200, found.text
    return [(row["name"], row["pictures"], row["more"]) for row in found.json()["folders"]]


def test_the_topmost_folders(client: TestClient, place: Path) -> None:
    assert rows(client) == [(f"{place}/empty", 0, False), (f"{place}/photos", 8, True)]


def test_what_is_in_a_folder(client: TestClient, place: Path) -> None:
    found = [("%_x'", 1, False), ("a", 1, False), ("a.b", 1, False), ("b", 2, True)]
    assert rows(client, in_=f"{place}/photos") == [*found, ("inv\ufffd", 1, False), ("new line", 1, False)]
    assert rows(client, in_=f"{place}/photos/b") == [("deep", 1, True)]
    assert rows(client, in_=f"{place}/photos/a") == []
    assert rows(client, in_=f"{place}/photos", k=2, after=1) == found[1:3]


def test_pages_of_folders(client: TestClient, place: Path) -> None:
    ask: dict[str, str | int] = {"in": f"{place}/photos", "k": 4}
    first = client.get("/api/folders", params=ask).json()
    second = client.get("/api/folders", params={**ask, "after": first["next"]}).json()
    assert (first["next"], len(first["folders"]), len(second["folders"]), second["next"]) == (4, 4, 2, None)


def test_every_folder_can_be_searched_by_the_path_that_is_shown(client: TestClient, place: Path) -> None:
    """Names that are no text, too."""
    found = client.get("/api/folders", params={"in": f"{place}/photos"}).json()["folders"]
    for row in found:
        assert client.get("/api/search", params={"in": row["path"]}).json()["total"] == row["pictures"]
    assert len(found) == 6


def test_a_folder_that_is_not_there(client: TestClient) -> None:
    found = client.get("/api/folders", params={"in": "/nowhere"})
    assert found.status_code == 400 and "no folder of the library" in found.json()["detail"]
