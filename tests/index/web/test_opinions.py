"""Votes re-rank at once by Rocchio's formula, and are kept; captions by hand outlive the next build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from index import Library
from index.web.votes import BETA, GAMMA, feedback
from tests.support.site import build, client_of, make_service
from tests.support.tiny_model import model_folder
from vsearch.model import Model


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A client of a library that the test may change."""
    build(tmp_path, 8)
    with client_of(make_service(tmp_path)) as client:
        yield client


def hits(client: TestClient, q: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/search", params={"q": q, **more}).json()["hits"]
    return found


def vote(client: TestClient, id_: int, q: str, good: bool) -> int:
    return client.post("/api/vote", json={"id": id_, "q": q, "good": good}).status_code


def test_the_formula_by_hand() -> None:
    good = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    bad = np.array([[0.0, -1.0]], np.float32)
    found = feedback(good, bad)  # 0.75 * (0.5, 0.5) - 0.15 * (0, -1)
    assert found is not None and np.allclose(found, [0.375, 0.525])
    assert (BETA, GAMMA) == (0.75, 0.15)
    assert feedback(good[:0], bad[:0]) is None
    only = feedback(good[:0], bad)
    assert only is not None and np.allclose(only, [0, 0.15])


def test_a_vote_re_ranks_at_once(own: TestClient, tmp_path: Path) -> None:
    """The new cosines are those of the query's unit vector plus what the formula adds."""
    before = hits(own, "dog")
    last, first = before[-1], before[0]
    assert vote(own, last["id"], "dog", True) == 204 and vote(own, first["id"], "dog", False) == 204
    after = hits(own, "dog")
    assert {hit["id"]: hit["vote"] for hit in after if hit["vote"] is not None} == {
        last["id"]: True,
        first["id"]: False,
    }
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu"), read_only=True) as library:
        ids, vectors = library._searcher.vectors([hit["id"] for hit in before], "words")
        query = library.query("dog").vector
        rows = dict(zip(ids.tolist(), vectors, strict=True))
        moved = query / np.linalg.norm(query) + 0.75 * rows[last["id"]] - 0.15 * rows[first["id"]]
        expected = {id_: float(vector @ moved / np.linalg.norm(moved)) for id_, vector in rows.items()}
    assert {hit["id"]: hit["cosine"] for hit in after} == pytest.approx(expected, abs=1e-4)
    ranks = {hit["id"]: hit["cosine"] for hit in after}
    assert ranks[last["id"]] - ranks[first["id"]] > last["cosine"] - first["cosine"]


def test_what_was_learned_counts_as_on_the_command_line(tmp_path: Path) -> None:
    """Searches by words are moved as `Library.search` moves them, with a picture, too; those by a picture are not."""
    photo = build(tmp_path, 24)[5]
    queries = ("dog", "the 2*dog", "dog boat")
    with (
        client_of(make_service(tmp_path)) as client,
        Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library,
    ):
        ranked = [hit.path for hit in library.search("dog", k=24)]
        plain = {query: hits(client, query) for query in queries}
        like = hits(client, "", like=3)
        library.vote("dog", ranked[:12], good=False)
        library.vote("dog", ranked[12:])
        assert library.teach().kept
        told = client.get("/api/search", params={"q": "dog"}).json()
        assert [term["kind"] for term in told["terms"]] == ["word", "taught", "votes"]
        library.vote("dog", ranked, None)  # what was learned stays, and counts without these votes
        for query in queries:
            found, real = hits(client, query), library.search(query, k=24)
            assert [hit["id"] for hit in found] == [hit.id for hit in real] != [hit["id"] for hit in plain[query]]
            assert np.allclose([hit["cosine"] for hit in found], [hit.cosine for hit in real], atol=2e-5)
        told = client.get("/api/search", params={"q": "dog", "k": 24}).json()
        c, gram = np.array([1.0, 0.0]), np.array(told["gram"])
        for more in ([0.0, 0.0], [0.0, 1.0]):  # what the page computes when a slider moves
            c = c + more
            c = c / np.sqrt(c @ gram @ c)
        assert np.allclose(
            [c @ hit["parts"] for hit in told["hits"]], [hit["cosine"] for hit in told["hits"]], atol=2e-5
        )
        sent = client.post("/api/search", files={"file": photo.read_bytes()}, data={"q": "dog"}).json()["hits"]
        assert [hit["id"] for hit in sent] == [hit.id for hit in library.search("dog", image=photo, k=24)]
        assert hits(client, "", like=3) == like
        page = client.get("/p/3?q=dog").text
        assert "learned" in page and page.count('class="where"') == 1
        assert library.unteach()
        assert {query: hits(client, query) for query in queries} == plain


def test_a_vote_is_one_on_the_words_whatever_their_weights(own: TestClient) -> None:
    [one, *_] = hits(own, "dog -boat")
    vote(own, one["id"], "dog -boat", True)
    voted = [hit for hit in hits(own, "-0.5*boat 2*dog") if hit["vote"]]
    assert [hit["id"] for hit in voted] == [one["id"]]
    assert not [hit for hit in hits(own, "dog boat") if hit["vote"]]


def test_a_vote_is_taken_back_or_turned(own: TestClient) -> None:
    before = hits(own, "dog")
    vote(own, before[3]["id"], "dog", True)
    vote(own, before[3]["id"], "dog", False)
    assert [hit["vote"] for hit in hits(own, "dog") if hit["vote"] is not None] == [False]
    assert own.delete("/api/vote", params={"id": before[3]["id"], "q": "dog"}).status_code == 204
    assert hits(own, "dog") == before


def test_votes_are_exported(own: TestClient) -> None:
    before = hits(own, "dog")
    vote(own, before[0]["id"], "dog", True)
    vote(own, before[1]["id"], "dog", False)
    rows = [json.loads(line) for line in own.get("/api/votes").text.splitlines()]
    assert [(row["query"], row["path"], row["good"]) for row in rows] == [
        ("dog", before[0]["path"], True), ("dog", before[1]["path"], False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body, code", [({"id": 999, "q": "dog", "good": True}, 404), ({"id": 1, "q": "", "good": True}, 400),
                   ({"id": 1, "q": '"', "good": True}, 400), ({"id": 1, "q": "dog"}, 422),
                   ({"id": 0, "q": "dog", "good": 1}, 422)]
)  # fmt: skip
def test_votes_that_are_refused(own: TestClient, body: dict[str, Any], code: int) -> None:
    assert own.post("/api/vote", json=body).status_code == code


def test_a_caption_by_hand(own: TestClient, tmp_path: Path) -> None:
    [row, *_] = hits(own, "dog")
    found = own.patch(f"/api/picture/{row['id']}", json={"caption": " a boat\n on the\x00 sea "}).json()
    assert found["caption"] == "a boat on the sea" and found["by_hand"] and found["id"] != row["id"]
    assert (found["width"], found["height"]) == (row["width"], row["height"])
    shown = own.get("/").text
    assert 'alt="a boat on the sea"' in shown and "a boat on the sea (machine-made)" not in shown
    assert own.get(f"/api/picture/{row['id']}").status_code == 404  # an id never stands for another caption
    assert [hit["id"] for hit in hits(own, "", text="boat on the sea")] == [found["id"]]
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        library.build(reindex=True)
    [again] = hits(own, "", text="boat on the sea")
    assert again["path"] == row["path"]


@pytest.mark.parametrize("caption", ["", "  \n", "x" * 501])
def test_captions_that_are_refused(own: TestClient, caption: str) -> None:
    assert own.patch("/api/picture/1", json={"caption": caption}).status_code == 400
    assert own.patch("/api/picture/999", json={"caption": "a dog"}).status_code == 404


def test_read_only_keeps_nothing(tmp_path: Path) -> None:
    build(tmp_path, 3)
    with client_of(make_service(tmp_path, read_only=True)) as client:
        before = (tmp_path / "library").read_bytes()
        assert vote(client, 1, "dog", True) == 403
        assert client.delete("/api/vote", params={"id": 1, "q": "dog"}).status_code == 403
        assert client.patch("/api/picture/1", json={"caption": "a dog"}).status_code == 403
        assert client.post("/api/check").status_code == 403
        assert (tmp_path / "library").read_bytes() == before
        assert "Edit the caption" not in client.get("/p/1").text and 'data-votes="no"' in client.get("/").text
        assert 'id="check"' not in client.get("/library").text
