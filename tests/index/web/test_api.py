"""Every route of the API: what it answers, and what it refuses."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from index import Library
from index.database.database import Database
from index.duplicates import THRESHOLD
from index.web.service import Service
from tests.support.pictures import draw
from tests.support.site import build, client_of, make_service
from tests.support.tiny_model import model_folder
from vsearch.model import Model


def search(client: TestClient, **wanted: Any) -> dict[str, Any]:
    found = client.get("/api/search", params={name.rstrip("_"): value for name, value in wanted.items()})
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def paths(answer: dict[str, Any]) -> list[str]:
    return [Path(hit["path"]).name for hit in answer["hits"]]


@pytest.fixture
def library(place: Path) -> Any:
    with Library.open(place / "library", Model(model_folder(), "cpu"), read_only=True) as library:
        yield library


# ---- search


def test_the_hits_are_those_of_the_library(client: TestClient, library: Library) -> None:
    for query in ("dog", "boat -sail", '2*red "hot dog"'):
        found, real = search(client, q=query), library.search(query, k=60)
        assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in real]
        assert np.allclose([hit["cosine"] for hit in found["hits"]], [hit.cosine for hit in real], atol=2e-5)
        assert found["total"] == 12 and found["next"] is None


def test_a_hit_has_its_fields(client: TestClient, place: Path) -> None:
    hit = search(client, q="dog", why=True)["hits"][0]
    assert set(hit) == {
        "id",
        "path",
        "score",
        "cosine",
        "caption",
        "by_hand",
        "width",
        "height",
        "taken",
        "why",
        "parts",
        "vote",
        "v",
        "match",
    }
    with Image.open(hit["path"]) as image:
        assert (hit["width"], hit["height"]) == image.size
    assert len(hit["why"]) == 5 and hit["caption"]
    assert search(client, q="dog")["hits"][0]["why"] == []


def test_pages_follow_each_other(client: TestClient) -> None:
    whole = search(client, q="dog")
    first = search(client, q="dog", k=5)
    second = search(client, q="dog", k=5, after=first["next"])
    third = search(client, q="dog", k=5, after=second["next"])
    assert (first["next"], second["next"], third["next"]) == (5, 10, None)
    assert first["hits"] + second["hits"] + third["hits"] == whole["hits"]
    assert search(client, q="dog", after=100)["hits"] == []


def test_without_a_query_the_newest_come_first(client: TestClient) -> None:
    found = search(client)
    dates = [hit["taken"] for hit in found["hits"]]
    assert dates == sorted(dates, reverse=True) and len(dates) == 12
    assert found["hits"][0]["score"] is None and found["terms"] == [] and found["curve"] is None
    assert [hit["taken"] for hit in search(client, sort="oldest")["hits"]] == sorted(dates)
    assert dates[-1] == "2024-01-01T12:00:00"  # of its EXIF


def test_the_parts_make_the_cosine(client: TestClient, service: Service) -> None:
    """What the page computes when a slider moves: from parts and gram, for words, a picture, and both."""
    for wanted in ({"q": "dog 2*boat -snow"}, {"q": "dog", "like": 3, "like_weight": 0.5}, {"like": 3}):
        found = search(client, **wanted)
        gram, total = np.array(found["gram"]), np.zeros(len(found["terms"]))
        for kind in ("word", "picture"):
            own = np.array([term["weight"] * (term["kind"] == kind) for term in found["terms"]])
            if own.any():
                total = total + own
                total = total / np.sqrt(total @ gram @ total)
        made = [float(np.dot(total, hit["parts"])) for hit in found["hits"]]
        assert np.allclose(made, [hit["cosine"] for hit in found["hits"]], atol=2e-5)


def test_words_and_a_picture_are_as_in_the_library(client: TestClient, library: Library, place: Path) -> None:
    real = library.search("dog", image=place / "photos" / "003.jpg", k=12)
    [row] = [hit for hit in search(client)["hits"] if hit["path"].endswith("003.jpg")]
    found = search(client, q="dog", like=row["id"])
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in real]


def test_unknown_words_are_named(client: TestClient) -> None:
    [unknown] = search(client, q="dog boatt")["unknown"]
    assert unknown["word"] == "boatt"
    assert unknown["guess"] in client.get("/api/words", params={"prefix": unknown["guess"]}).json()["words"]


@pytest.mark.parametrize("query", ['"open', "--dog", "0*dog", "zzz yyy", "dog -dog boat -boat"])
def test_a_query_that_cannot_be_read(client: TestClient, query: str) -> None:
    found = client.get("/api/search", params={"q": query})
    assert found.status_code == 400, found.text
    assert found.json()["detail"] and found.json()["hint"]


def test_filters(client: TestClient, place: Path) -> None:
    assert set(paths(search(client, q="dog", from_="2024-01-01", to="2024-12-31"))) == {
        "000.jpg",
        "003.jpg",
        "006.jpg",
        "009.jpg",
    }
    assert paths(search(client, from_="2024-04-01", to="2024-04-01")) == ["003.jpg"]
    assert set(paths(search(client, camera="Lumina L2"))) == {"003.jpg", "009.jpg"}
    caption = search(client)["hits"][5]["caption"]
    assert {hit["caption"] for hit in search(client, text=caption.upper())["hits"]} == {caption}
    folder = search(client, in_=str(place / "photos"), q="dog")
    assert folder["total"] == 12
    assert search(client, q="dog", ids="3,1")["total"] == 2
    assert search(client, camera="none")["hits"] == []
    assert set(paths(search(client, camera="lumina"))) == set(paths(search(client, camera="Lumina L1"))) | {
        "003.jpg",
        "009.jpg",
    }
    for wrong in ("48,2", "a,b,c", "91,0,1"):
        assert client.get("/api/search", params={"near": wrong}).status_code == 400


def test_pictures_near_a_place(client: TestClient, place: Path) -> None:
    assert search(client, near="48,2,100")["hits"] == [] and 'name="near"' not in client.get("/").text
    with Database.open(place / "library") as library:
        library.connection.execute("UPDATE details SET latitude = 48.1, longitude = 2.1 WHERE id = 4")
        try:
            assert paths(search(client, near="48,2,100")) == ["003.jpg"]
            assert paths(search(client, q="dog", near="48,2,100")) == ["003.jpg"]
            assert search(client, near="48,2,1")["hits"] == []
            page = client.get("/", params={"near": "48,2,100"}).text
            assert 'name="near" value="48,2,100"' in page and page.count("/thumb/") == 1
        finally:
            library.connection.execute("UPDATE details SET latitude = NULL, longitude = NULL")


def test_a_least_score(client: TestClient) -> None:
    cosines = [hit["cosine"] for hit in search(client, q="dog")["hits"]]
    bound = (cosines[3] + cosines[4]) / 2
    found = search(client, q="dog", min_score=bound)
    assert [hit["cosine"] for hit in found["hits"]] == cosines[:4] and found["total"] == 4


def test_the_best_by_date(client: TestClient) -> None:
    dates = [hit["taken"] for hit in search(client, q="dog", sort="newest")["hits"]]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize(
    "wanted", [{"k": 0}, {"k": 501}, {"after": -1}, {"from": "yesterday"}, {"min_score": "nan"}, {"like": 0},
               {"like_weight": "inf"}, {"sort": "size"}, {"ids": "1,x"}, {"q": "x" * 1001}]
)  # fmt: skip
def test_parameters_out_of_range(client: TestClient, wanted: dict[str, Any]) -> None:
    found = client.get("/api/search", params=wanted)
    assert found.status_code == 422
    assert next(iter(wanted)) in found.json()["detail"]


def test_an_unknown_folder_and_an_unknown_picture(client: TestClient) -> None:
    assert client.get("/api/search", params={"in": "/nowhere"}).status_code == 400
    assert client.get("/api/search", params={"like": 999}).status_code == 404


# ---- a picture that is sent


def test_a_picture_is_sent(client: TestClient, library: Library, place: Path) -> None:
    photo = place / "photos" / "004.jpg"
    found = client.post("/api/search", files={"file": ("x.jpg", photo.read_bytes())}, data={"k": "3"}).json()
    assert paths(found)[0] == "004.jpg" and len(found["hits"]) == 3 and found["next"] == 3
    both = client.post("/api/search", files={"file": photo.read_bytes()}, data={"q": "dog"}).json()
    assert [hit["id"] for hit in both["hits"]] == [hit.id for hit in library.search("dog", image=photo, k=60)]


def test_a_picture_that_is_sent_is_never_kept(client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MB of noise: more than what a form is usually spooled to disk from."""
    import tempfile

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a file was made")

    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)).save(out, "PNG")
    assert len(out.getvalue()) > 4_000_000
    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", refused)
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if "-shm" not in path.name}
    assert client.post("/api/search", files={"file": out.getvalue()}).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if "-shm" not in path.name} == before


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0" + os.urandom(500), b"<svg xmlns='x'></svg>"])
def test_what_is_no_picture_is_refused(client: TestClient, data: bytes) -> None:
    found = client.post("/api/search", files={"file": ("x.jpg", data)})
    assert found.status_code == 415, found.text
    assert "cannot be read" in found.json()["detail"]


def test_a_picture_of_too_many_pixels(client: TestClient) -> None:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    found = client.post("/api/search", files={"file": out.getvalue()})
    assert found.status_code == 413 and "too large" in found.json()["detail"]


def test_a_form_without_a_picture(client: TestClient) -> None:
    assert client.post("/api/search", data={"q": "dog"}).status_code == 422


# ---- one picture


def test_similar(client: TestClient, library: Library) -> None:
    first = search(client)["hits"][0]
    found = client.get(f"/api/similar/{first['id']}", params={"k": 4}).json()["hits"]
    assert [hit["id"] for hit in found] == [hit.id for hit in library.similar(first["path"], k=4)]
    assert client.get("/api/similar/999").status_code == 404


def test_all_about_a_picture(client: TestClient, place: Path) -> None:
    [row] = [hit for hit in search(client)["hits"] if hit["path"].endswith("003.jpg")]
    found = client.get(f"/api/picture/{row['id']}").json()
    assert found["path"] == str(place / "photos" / "003.jpg")
    assert found["exif"] == {"format": "JPEG", "camera": "Lumina L2", "exposure": "1/250 s"}
    assert found["taken"] == "2024-04-01T12:00:00"
    assert len(found["words"]) == 8 and found["trouble"] is None
    with Database.open(place / "library", read_only=True) as database:
        ids, vectors = database.read.vectors_after(0)
    cosines = vectors @ vectors[ids == row["id"]][0]
    near = {int(id_) for id_, cosine in zip(ids, cosines, strict=True) if cosine >= THRESHOLD} - {row["id"]}
    assert {twin["id"] for twin in found["duplicates"]} == near and not any(
        twin["exact"] for twin in found["duplicates"]
    )
    assert [word["cosine"] for word in found["words"]] == sorted((w["cosine"] for w in found["words"]), reverse=True)
    assert client.get("/api/picture/999").status_code == 404


def test_where_and_attention(client: TestClient) -> None:
    found = client.get("/api/where/1", params={"q": "dog"}).json()
    assert found["side"] == 2 and len(found["cells"]) == 4
    assert sum(found["cells"]) == pytest.approx(found["sum"], abs=1e-5)
    seen = client.get("/api/attention/1").json()
    assert seen["caption"] == " ".join(word["word"] for word in seen["words"]) and seen["side"] == 2
    for word in seen["words"]:
        assert len(word["cells"]) == 4 and sum(word["cells"]) == pytest.approx(1, abs=1e-3) and word["sentinel"] is None
    assert client.get("/api/where/1", params={"q": ""}).status_code == 400
    assert client.get("/api/where/999", params={"q": "dog"}).status_code == 404


def test_a_decoder_with_a_sentinel_and_one_without_attention(tmp_path: Path) -> None:
    for kind, cells in (("adaptive", 4), ("lstm", 0)):
        build(tmp_path / kind, 1, kind=kind)
        with client_of(make_service(tmp_path / kind, kind=kind)) as client:
            [word, *_] = client.get("/api/attention/1").json()["words"]
            assert len(word["cells"]) == cells
            assert (word["sentinel"] is None) == (kind == "lstm")
            if cells:
                assert sum(word["cells"]) + word["sentinel"] == pytest.approx(1, abs=1e-3)


def test_words(client: TestClient) -> None:
    assert client.get("/api/words", params={"prefix": "bo"}).json()["words"] == ["boat"]
    assert len(client.get("/api/words", params={"prefix": "b", "k": 3}).json()["words"]) == 3
    assert client.get("/api/words", params={"prefix": "qqq"}).json()["words"] == []
    assert client.get("/api/words").status_code == 422


def test_info(client: TestClient, place: Path) -> None:
    found = client.get("/api/info").json()
    assert (found["pictures"], found["folders"]) == (12, [str(place / "photos")])
    assert found["trouble"] is None and found["building"] is False and found["captions"] is True


def test_openapi_is_whole(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    assert {"/api/search", "/api/similar/{id}", "/api/picture/{id}", "/api/where/{id}", "/thumb/{id}"} <= set(
        found["paths"]
    )
    for path in found["paths"].values():
        for operation in path.values():
            assert operation["description"]
    for page in ("/docs", "/redoc"):  # they load scripts from the network
        assert client.get(page).status_code == 404


# ---- files


def test_a_thumbnail(client: TestClient, place: Path) -> None:
    [row] = [hit for hit in search(client)["hits"] if hit["path"].endswith("003.jpg")]
    found = client.get(f"/thumb/{row['id']}", params={"s": 240, "v": row["v"]})
    assert found.headers["content-type"] == "image/jpeg" and "immutable" in found.headers["cache-control"]
    with Image.open(io.BytesIO(found.content)) as image:
        assert image.size == (150, 60) and not image.getexif() and "comment" not in image.info
    again = client.get(f"/thumb/{row['id']}", params={"s": 240}, headers={"if-none-match": found.headers["etag"]})
    assert again.status_code == 304 and "immutable" not in again.headers["cache-control"]
    wrong = client.get(f"/thumb/{row['id']}", params={"s": 240, "v": "00"})
    assert wrong.status_code == 200 and "immutable" not in wrong.headers["cache-control"]


def test_a_photo_is_the_file(client: TestClient) -> None:
    row = search(client)["hits"][0]
    found = client.get(f"/photo/{row['id']}")
    assert found.content == Path(row["path"]).read_bytes() and found.headers["content-type"] == "image/jpeg"
    part = client.get(f"/photo/{row['id']}", headers={"range": "bytes=2-5"})
    assert part.status_code == 206 and part.content == Path(row["path"]).read_bytes()[2:6]


def test_files_of_every_kind(tmp_path: Path) -> None:
    """What browsers do not show comes as a JPEG; a name never decides what a file is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = draw(1, (90, 60))
    kinds = {"a.png": "image/png", "b.webp": "image/webp", "c.gif": "image/gif", "d.avif": "image/avif",
             "e.tif": "image/jpeg", "f.bmp": "image/jpeg", "g.heic": "image/jpeg"}  # fmt: skip
    import pillow_heif

    pillow_heif.register_heif_opener()
    for name in kinds:
        picture.save(photos / name)
    draw(2).save(photos / "x.png")
    (photos / "x.png").rename(photos / "new\nline.jpg")
    draw(3).save(photos / "y.png")
    (photos / "y.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    Image.new("RGB", (30_000, 40), "red").save(photos / "panorama.jpg")
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        assert library.build([photos]).added == 10
    with client_of(make_service(tmp_path)) as client:
        rows = {Path(hit["path"]).name: hit for hit in search(client)["hits"]}
        assert {"new line.jpg", "caf\ufffd.png"} <= set(rows)
        for name, kind in {**kinds, "new line.jpg": "image/png", "caf\ufffd.png": "image/png"}.items():
            found = client.get(f"/photo/{rows[name]['id']}")
            assert (found.status_code, found.headers["content-type"]) == (200, kind), name
            assert client.get(f"/thumb/{rows[name]['id']}").status_code == 200
        wide = rows["panorama.jpg"]
        assert (wide["width"], wide["height"]) == (30_000, 40)
        with Image.open(io.BytesIO(client.get(f"/thumb/{wide['id']}", params={"s": 1920}).content)) as image:
            assert image.size == (1920, 3)
        assert client.get("/").status_code == 200


def test_a_file_that_changed_is_gone(tmp_path: Path) -> None:
    files = build(tmp_path, 6)
    with client_of(make_service(tmp_path)) as client:
        ids = {Path(hit["path"]).name: hit["id"] for hit in search(client)["hits"]}
        assert client.get(f"/thumb/{ids['000.jpg']}").status_code == 200  # kept from now on
        files[0].unlink()
        files[1].write_bytes(files[2].read_bytes())
        os.utime(files[3], ns=(1, 1))
        files[4].unlink()
        os.mkfifo(files[4])
        for number in (0, 1, 3, 4):
            for route in ("thumb", "photo", "api/attention"):
                found = client.get(f"/{route}/{ids[files[number].name]}")
                assert found.status_code == 410, (route, number)
                assert "build-index" in found.json()["hint"]
            about = client.get(f"/api/picture/{ids[files[number].name]}")
            assert about.status_code == 200 and about.json()["trouble"]
        assert client.get(f"/photo/{ids['005.jpg']}").status_code == 200
        with Database.open(tmp_path / "library") as database:
            database.write.set_folders([str(tmp_path / "elsewhere")], [])
            database.write.forget_folders([str(tmp_path / "photos")], [])
        assert client.get(f"/photo/{ids['005.jpg']}").status_code == 410  # below no folder of the library


# ---- libraries


def test_a_library_that_is_not_there_yet(tmp_path: Path) -> None:
    with client_of(make_service(tmp_path)) as client:
        found = client.get("/api/search", params={"q": "dog"})
        assert found.status_code == 404 and "vsearch build-index" in found.json()["hint"]
        assert "vsearch build-index" in client.get("/api/info").json()["hint"]
        build(tmp_path, 3)
        assert search(client, q="dog")["total"] == 3  # without a restart
        (tmp_path / "library").unlink()
        assert client.get("/api/search").status_code == 404


def test_a_library_of_another_model(tmp_path: Path) -> None:
    build(tmp_path, 2)
    with client_of(make_service(tmp_path, kind="lstm")) as client:
        pass
    service = make_service(tmp_path)
    service.model = Model(model_folder(seed=1), "cpu")
    with client_of(service) as client:
        found = client.get("/api/search", params={"q": "dog"})
        assert found.status_code == 409 and "reindex" in found.json()["hint"]
        assert "another model" in client.get("/api/info").json()["trouble"]


def test_a_library_that_is_damaged(tmp_path: Path) -> None:
    build(tmp_path, 2)
    with client_of(make_service(tmp_path)) as client:
        search(client)
        for path in tmp_path.glob("library*"):
            path.unlink()
        (tmp_path / "library").write_bytes(b"no library" * 1000)
        found = client.get("/api/search")
        assert found.status_code == 503 and "damaged" in found.json()["detail"]


def test_another_file_takes_the_place_of_the_library(tmp_path: Path) -> None:
    build(tmp_path / "one", 3)
    build(tmp_path / "two", 5)
    with client_of(make_service(tmp_path / "one")) as client:
        assert search(client, q="dog")["total"] == 3
        for path in (tmp_path / "one").glob("library*"):
            path.unlink()
        shutil.copy(tmp_path / "two" / "library", tmp_path / "one" / "library")
        assert search(client, q="dog")["total"] == 5


def test_what_a_build_adds_is_found(tmp_path: Path) -> None:
    build(tmp_path, 3)
    with client_of(make_service(tmp_path)) as client:
        assert search(client, q="dog")["total"] == 3
        build(tmp_path, 5)
        assert search(client, q="dog")["total"] == 5


# ---- whatever is asked


NASTY = ["", "0", "-1", "1", "3", "1e9", "9" * 30,
         "nan", "inf", "\x00", "🐕", "%", "'", '"', '"a"', "--x", "-", "*",
         "2*",          "1e400*dog", "dog " * 100, "{{ 7*7 }}",
         "../../etc/passwd", "/", "/etc", "0001-01-01", "9999-12-31", "1677-01-01",
         "2024-02-30", "true", "null", "[]", "1,2", "\u202e", "a" * 900, "match", "newest", "month"]  # fmt: skip


def test_whatever_is_asked_there_is_an_answer(client: TestClient) -> None:
    """Every parameter of every route, with values that have broken others: never a failure of the server."""
    asked = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        if "get" not in operations:
            continue
        parameters = operations["get"].get("parameters", [])
        needed = {"q": "dog", "prefix": "do"}
        for parameter in parameters:
            for value in NASTY:
                place, query = path, {name: needed[name] for name in needed if name in str(parameters)}
                if parameter["in"] == "path":
                    place = path.replace("{id}", quote(value, safe=""))
                else:
                    query[parameter["name"]] = value
                place = place.replace("{id}", "2")
                found = client.get(place, params=query)
                assert found.status_code < 500 or found.status_code == 501, (place, query, found.text)
                if found.status_code >= 400 and place.startswith("/api"):
                    assert found.headers["content-type"] == "application/problem+json"
                asked += 1
    assert asked > 500


@pytest.mark.parametrize("address", ["/", "/time", "/map", "/p/1"])
def test_whatever_a_page_is_asked_there_is_an_answer(client: TestClient, address: str) -> None:
    for name in ("q", "like", "from", "to", "text", "in", "left", "min_score", "ids"):
        for value in NASTY:
            found = client.get(address, params={name: value}, headers={"accept": "text/html"})
            assert found.status_code < 500, (address, name, value)
            assert found.headers["content-type"].startswith("text/html")
