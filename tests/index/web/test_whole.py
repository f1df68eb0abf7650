"""The map, the time line, the library screen: what is computed of all pictures at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from index import Library
from index.web import whole
from index.web.service import Service
from index.web.whole import months, principal
from tests.support.site import build, client_of, make_service
from tests.support.tiny_model import ROOT, model_folder
from vsearch.model import Model
from vsearch.scores import Knots, Scores


def points(client: TestClient, **axes: str) -> tuple[list[int], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    found = client.get("/api/map", params=axes)
    assert found.status_code == 200 and found.headers["content-type"] == "application/octet-stream"
    count = len(found.content) // 16
    ids = np.frombuffer(found.content, "<f8", count)
    return ids.astype(int).tolist(), np.frombuffer(found.content, "<f4", offset=8 * count).reshape(count, 2)


def test_an_axis_is_the_cosine_with_its_words(client: TestClient, place: Path) -> None:
    ids, places = points(client, x="dog -boat", y="snow")
    assert ids == list(range(1, 13))
    model = Model(model_folder(), "cpu")
    with Library.open(place / "library", model, read_only=True) as library:
        _, vectors = library._database.read.vectors(ids)
    for at, words in enumerate(("dog -boat", "snow")):
        assert np.allclose(places[:, at], vectors @ model.embed_text(words), atol=1e-5)


def test_an_axis_without_words_is_a_principal_component(client: TestClient) -> None:
    _, both = points(client)
    centred = both - both.mean(axis=0)
    assert abs(float(centred[:, 0] @ centred[:, 1])) < 1e-4 * float(np.square(centred).sum())  # uncorrelated
    assert centred[:, 0].var() >= centred[:, 1].var()
    _, mixed = points(client, y="dog")
    assert np.allclose(np.abs(mixed[:, 0]), np.abs(both[:, 0]), atol=1e-5)
    assert client.get("/api/map", params={"x": '"'}).status_code == 400


def test_principal_components_of_a_known_cloud() -> None:
    rng = np.random.default_rng(0)
    cloud = (rng.standard_normal((500, 4)) * [5, 1, 3, 0.1]).astype(np.float32)
    found = principal([cloud[:200], cloud[200:]], 2)
    assert np.abs(found[0]).argmax() == 0 and np.abs(found[1]).argmax() == 2
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_map_sees_what_changed(tmp_path: Path) -> None:
    paths = build(tmp_path, 4)
    with client_of(make_service(tmp_path)) as client:
        assert len(points(client)[0]) == 4
        paths[0].unlink()
        build_again(tmp_path)
        assert len(points(client)[0]) == 3


def build_again(place: Path) -> None:
    with Library.open(place / "library", Model(model_folder(), "cpu")) as library:
        library.build([place / "photos"])


def test_months() -> None:
    when = [np.datetime64(day, "ns").astype(np.int64) for day in ("2024-01-15", "2023-11-15", "2024-01-16")]
    number, names = months(np.array(when))
    assert number.tolist() == [2, 0, 2] and names == ["2023-11", "2023-12", "2024-01"]
    assert months(np.array([], np.int64))[1] == []


@pytest.mark.parametrize("knots", [(), ((-1.0, 0.0), (0.2, 0.1), (0.6, 0.8), (1.0, 1.0))])
def test_expected_counts_are_sums_of_scores(tmp_path: Path, knots: Knots) -> None:
    build(tmp_path, 12)
    service = make_service(tmp_path)
    service.model.__dict__["scores"] = Scores(0.2, words=(6.0, -1.0), words_knots=knots)
    with client_of(service) as client:
        rows = {row["month"]: row for row in client.get("/api/time", params={"q": "dog"}).json()["months"]}
        found = client.get("/api/search", params={"q": "dog"}).json()
        expected: list[Any] = [list(knot) for knot in knots]
        assert found["curve"] == (expected or [6.0, -1.0])
        hits = found["hits"]
        for month in ("2024-01", "2024-04"):
            own = [hit["score"] for hit in hits if hit["taken"].startswith(month)]
            assert rows[month]["expected"] == pytest.approx(sum(own), abs=0.02) and rows[month]["total"] == len(own)
        assert sum(row["total"] for row in rows.values()) == 12
        assert rows["2024-02"] == {"month": "2024-02", "expected": 0.0, "total": 0}
        assert client.get("/api/time").json()["months"][0]["expected"] is None
        page = client.get("/time?q=dog").text
        assert "/?q=dog&amp;from=2024-04-01&amp;to=2024-04-30" in page and page.count("<rect") == 2 * len(rows)


def test_scores_that_are_not_calibrated_are_no_counts(client: TestClient) -> None:
    found = client.get("/api/time", params={"q": "dog"})
    assert found.status_code == 501 and "evaluate ranking" in found.json()["hint"]
    assert "not shares of hits" in client.get("/time?q=dog").text and client.get("/time").status_code == 200


def test_the_library_screen(tmp_path: Path) -> None:
    paths = build(tmp_path, 4)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    build_again(tmp_path)
    with client_of(make_service(tmp_path)) as client:
        text = client.get("/library").text
        assert str(tmp_path / "photos") in text and "bad.jpg" in text and "not a picture of a known format" in text
        assert client.post("/api/check").json() == {"pictures": 4, "findings": []}
        paths[0].unlink()
        [finding] = client.post("/api/check").json()["findings"]
        assert "vsearch build-index" in finding["remedy"]
    with client_of(make_service(tmp_path / "none")) as client:
        assert "there is no library" in client.get("/library").text
        assert client.get("/map").status_code == client.get("/time").status_code == 200


BUILD = """
import sys, time
from index import Library
from vsearch.model import Model
from tests.support.site import build
model = Model(sys.argv[2], "cpu")
with Library.open(sys.argv[1] + "/library", model) as library:
    def progress(done, total):
        print(done, total, flush=True)
        if done:
            sys.stdin.readline()
    library.build([sys.argv[1] + "/photos"], batch=2, progress=progress)
"""


def test_it_answers_while_a_build_runs_and_says_how_far_it_is(tmp_path: Path) -> None:
    build(tmp_path, 3)
    with client_of(make_service(tmp_path)) as client:
        assert client.get("/api/info").json()["building"] is False
        from tests.support.site import draw_photos

        draw_photos(tmp_path / "photos", 7)
        for path in (tmp_path / "photos").glob("00[012].jpg"):
            path.touch()
        command = [sys.executable, "-c", BUILD, str(tmp_path), str(model_folder())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
            assert other.stdout is not None and other.stdin is not None
            assert other.stdout.readline() == "0 7\n"
            done = int(other.stdout.readline().split()[0])
            facts = client.get("/api/info").json()
            assert facts["building"] and (facts["done"], facts["todo"]) == (done, 7)
            assert "A build is running" in client.get("/library").text
            assert client.get("/api/search", params={"q": "dog"}).json()["total"] >= 3
            other.communicate("\n" * 20, timeout=60)
        assert client.get("/api/info").json()["building"] is False
        assert client.get("/api/search", params={"q": "dog"}).json()["total"] == 7


def test_newer_and_dead_rows_of_the_array(service: Service) -> None:
    with service.reading() as (database, _):
        ids, parts = whole.vectors(database, 0.0)
        assert ids.tolist() == database.details.catalogue().ids.tolist()
        assert np.allclose(np.concatenate(parts), database.read.vectors(ids.tolist())[1], atol=1e-6)
