"""The screens as HTML: whole without a script, everything escaped, small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from starlette.testclient import TestClient

from index import Library
from index.database.database import Database
from index.database.notes import Note
from tests.support.pictures import draw
from tests.support.site import build, client_of, make_service
from tests.support.tiny_model import model_folder
from vsearch.model import Model

EVIL = "<script>alert('x')</script> \"&amp; {{ 6 * 7 }}"
VOID = ("meta", "link", "img", "input", "rect", "line", "br")


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.tags if name == tag]
        named = wanted.pop("class_", None)
        if named is not None:
            found = [one for one in found if named in (one.get("class") or "").split()]
        return [one for one in found if all(one.get(name) == value for name, value in wanted.items())]


def page(client: TestClient, address: str) -> Page:
    found = client.get(address)
    assert found.status_code == 200, found.text
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    return Page(found.text)


@pytest.mark.parametrize("address", ["/", "/?q=dog", "/?q=dog+boatt&like=2&from=2024-01-01", "/p/1?q=dog", "/p/1"])
def test_nothing_inline_and_nothing_from_outside(client: TestClient, address: str) -> None:
    found = page(client, address)
    assert all(script.get("src", "").startswith("/static/") for script in found.all("script"))  # type: ignore[union-attr]
    assert not found.all("style")
    assert not [name for _, attributes in found.tags for name in attributes if name == "style" or name.startswith("on")]
    for _, attributes in found.tags:
        for name in ("src", "href", "action"):
            assert not urlsplit(attributes.get(name) or "").netloc


def test_the_form_and_the_list(client: TestClient) -> None:
    found = page(client, "/?q=dog")
    [form] = found.all("form")
    assert (form["role"], form["action"], form["method"]) == ("search", "/", "get")
    [field] = found.all("input", name="q")
    assert field["value"] == "dog" and "autofocus" in field
    assert len(found.all("li", class_="tile")) == 12
    assert "12 of 12 pictures" in found.text
    for image in found.all("img"):
        assert image["src"] and image["src"].startswith("/thumb/") and image["width"] and image["height"]
        assert image["alt"] and image["alt"].endswith("(machine-made)")
    assert len(found.all("a", class_="frame")) == 12


def test_the_whole_state_is_in_the_address(client: TestClient, place: Path) -> None:
    address = f"/?q=2*dog+-boat&like=2&like_weight=0.5&in={place}/photos&from=2024-01-02&to=2026-12-31&sort=oldest"
    found = page(client, address)
    values = {one["name"]: one.get("value") for one in found.all("input") if one.get("name")}
    assert values["q"] == "2*dog -boat" and values["from"] == "2024-01-02" and values["like"] == "2"
    assert values["like_weight"] == "0.5" and values["in"] == f"{place}/photos"
    [chosen] = [one for one in found.all("option") if "selected" in one]
    assert chosen["value"] == "oldest"
    link = found.all("a", class_="frame")[0]["href"] or ""
    given = parse_qs(urlsplit(link).query)
    assert given["q"] == ["2*dog -boat"] and given["to"] == ["2026-12-31"] and given["like_weight"] == ["0.5"]


def test_the_next_hits_without_a_script(tmp_path: Path) -> None:
    build(tmp_path, 64)
    with client_of(make_service(tmp_path)) as client:
        first = page(client, "/?q=dog")
        assert "60 of 64 pictures" in first.text and len(first.all("li", class_="tile")) == 60
        [link] = first.all("a", rel="next")
        second = page(client, link["href"] or "")
        assert len(second.all("li", class_="tile")) == 4 and "hidden" in second.all("p", id="more")[0]
        assert second.all("ol")[0]["start"] == "61"
        text = client.get("/?q=dog").content
        assert len(text) < 60_000


def test_unknown_words_lead_to_known_ones(client: TestClient) -> None:
    found = page(client, "/?q=dog+boatt")
    assert "“boatt” is not in the dictionary" in found.text
    links = [one["href"] or "" for one in found.all("a")]
    assert [link for link in links if parse_qs(urlsplit(link).query).get("q", [""])[0].startswith("dog ")]


def test_a_query_that_cannot_be_read_is_said_on_the_page(client: TestClient) -> None:
    found = page(client, '/?q="open')
    assert "a quote is left open" in found.text and not found.all("li", class_="tile")


def test_everything_is_escaped(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "<u>", EVIL
    draw(1).save(photos / "<img src=x onerror=alert(1)>\n.jpg", exif=exif)
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        library.build([photos])
    with Database.open(tmp_path / "library") as database:
        database.write.set_caption(1, EVIL)
        [id_] = database.details.catalogue().ids.tolist() or [2]
    with client_of(make_service(tmp_path)) as client:
        for address in ("/", f"/p/{id_}?q=dog", f"/?q=dog&text={EVIL[:7]}"):
            found = page(client, address)
            assert not {"u", "img src=x"} & {tag for tag, _ in found.tags}
            assert all(script.get("src") for script in found.all("script"))
            assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
        assert EVIL in page(client, "/").text


def test_where_a_picture_says_the_text_is_in_its_tile(tmp_path: Path) -> None:
    """Field and words around it, escaped; not where the caption shows it anyway."""
    build(tmp_path, 4)
    with Database.open(tmp_path / "library") as database:
        database.write.set_caption(4, "a stop sign")
        first, second, _, third = database.details.catalogue().ids.tolist()
        database.notes.put([(first, Note(keywords=(f"stop {EVIL}",))), (second, Note(title="A stop at night"))])
        with database.writing():
            database.texts.fill()
    with client_of(make_service(tmp_path)) as client:
        for query in ("", "dog"):
            answer = client.get("/api/search", params={"q": query, "text": "stop"}).json()
            told = {hit["id"]: hit["match"] for hit in answer["hits"]}
            assert told == {
                first: {"field": "keywords", "snippet": f"stop {EVIL}"},
                second: {"field": "caption", "snippet": told[second]["snippet"]},
                third: {"field": "caption", "snippet": "a stop sign"},
            }
            found = page(client, f"/?q={query}&text=stop")
            assert len(found.all("p", class_="said")) == 2
            assert f"keywords: stop {EVIL}" in found.text and "A stop at night" in found.text
            assert "caption: a stop sign" not in found.text
            assert all(script.get("src") for script in found.all("script"))
        assert [hit["match"] for hit in client.get("/api/search?q=dog").json()["hits"]] == [None] * 4
        assert not page(client, "/?q=dog").all("p", class_="said")


def test_one_picture(client: TestClient) -> None:
    found = page(client, "/p/1?q=dog+-boat")
    assert {one["data-word"] for one in found.all("button", class_="where")} == {"dog", "boat"}
    numbers = [float(text) for text in re.findall(r"[+-]0\.\d{3}", found.text)]
    assert sum(numbers[:2]) == pytest.approx(numbers[2], abs=2e-3)  # the parts sum to the cosine
    part = client.get("/p/1?q=dog&fragment=1").text
    assert "<html" not in part and '<article class="picture" data-id="1"' in part


def test_errors_are_pages_for_people(client: TestClient) -> None:
    html = {"accept": "text/html"}
    for address, code in (("/p/999", 404), ("/none", 404), ("/p/x", 422), ("/photo/999", 404)):
        found = client.get(address, headers=html)
        assert found.status_code == code and found.headers["content-type"].startswith("text/html"), address
        assert client.get(address).headers["content-type"] == "application/problem+json"


def test_without_a_library_the_command_is_shown(tmp_path: Path) -> None:
    with client_of(make_service(tmp_path)) as client:
        assert "vsearch build-index FOLDER" in page(client, "/").text
        with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
            (tmp_path / "photos").mkdir()
            library.build([tmp_path / "photos"])
        assert page(client, "/").all("input", name="q")


def test_files_of_the_pages(client: TestClient) -> None:
    found = page(client, "/?q=dog")
    sheets = [one["href"] or "" for one in found.all("link", rel="stylesheet")]
    scripts = [one["src"] or "" for one in found.all("script")]
    assert len(sheets) == 4 and len(scripts) == 1
    for address in (*sheets, *scripts):
        answer = client.get(address)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert not [sheet for sheet in sheets if "http" in client.get(sheet).text]
