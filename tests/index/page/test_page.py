"""The page: everything escaped, everything inside, whatever the pictures are called and whether they are there."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from index.page import page as page_module
from index.page.grid import rules, shape
from index.page.page import THUMBNAIL, write_page
from index.search.searcher import Hit
from tests.support.pictures import draw, draw_folder
from vsearch.errors import VsearchError

EVIL = "<script>alert('x')</script> \"&amp; </title></style>"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well formed

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def thumbnail(source: str | None) -> Image.Image:
    assert source is not None
    head, data = source.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def hits(tmp_path: Path) -> list[Hit]:
    paths = draw_folder(tmp_path / "photos", 3)
    captions = ["a dog runs through the grass", "two boats", None]
    return [Hit(str(path), 0.5 - 0.1 * number, captions[number], number + 1, 0.5) for number, path in enumerate(paths)]


def test_what_is_on_it(tmp_path: Path, hits: list[Hit]) -> None:
    write_page(tmp_path / "page.html", "boat engine", hits, total=12345, why={2: ["sail", "harbour"]})
    page = Page(tmp_path / "page.html")
    text = "|".join(page.text)
    assert page.open == []
    assert "boat engine" in text and "3 pictures of 12,345" in text
    for expected in ("a dog runs through the grass", "two boats", "0.500", "0.400", "0.300", "002.png", "harbour"):
        assert expected in text
    assert [word for word in page.text if word in ("0.500", "0.400", "0.300")] == ["0.500", "0.400", "0.300"]
    sizes = [thumbnail(image["src"]).size for image in page.all("img")]
    assert sizes == [(64, 48)] * 3  # never enlarged
    assert [image["alt"] for image in page.all("img")] == ["a dog runs through the grass", "two boats", "002.png"]
    assert [link["href"] for link in page.all("a")] == [f"file://{hit.path}" for hit in hits]


def test_shares_are_percentages(tmp_path: Path, hits: list[Hit]) -> None:
    write_page(tmp_path / "page.html", "boat engine", hits, shares=True)
    text = "|".join(Page(tmp_path / "page.html").text)
    assert all(expected in text for expected in ("50%", "40%", "30%", "how many of such hits fit"))
    assert "0.500" not in text


def test_nothing_from_outside_and_no_script(tmp_path: Path, hits: list[Hit]) -> None:
    write_page(tmp_path / "page.html", "boat", hits)
    page = Page(tmp_path / "page.html")
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))
    source = (tmp_path / "page.html").read_text("utf-8")
    assert "http:" not in source and "https:" not in source and "url(" not in source and "@import" not in source
    policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    [style] = re.findall("<style>(.*?)</style>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    own = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == [own]
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]
    assert "prefers-color-scheme: dark" in source


def test_everything_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / 'x"><script>alert(1)<' / "script>.png"
    path.parent.mkdir()
    draw(1).save(path)
    hit = Hit(str(path), 0.5, EVIL, 1, 0.5)
    gone = Hit("/gone/<b>.png", 0.4, EVIL, 2, 0.4)
    write_page(tmp_path / "page.html", EVIL, [hit, gone], why={1: ["<i>"]})
    page = Page(tmp_path / "page.html")
    assert page.open == []
    assert not {"script", "i"} & {tag for tag, _ in page.tags}
    assert "".join(page.text).count(EVIL) == 4  # title, heading, two captions
    assert page.all("img")[0]["alt"] == EVIL


def test_what_looks_like_a_template_is_text(tmp_path: Path, hits: list[Hit]) -> None:
    words = "{{ 6 * 7 }} {% for x in y %} {# no #} {{ title }}"
    hit = Hit(hits[0].path, 0.5, words, 1, 0.5)
    write_page(tmp_path / "page.html", words, [hit], why={1: [words]})
    assert "".join(Page(tmp_path / "page.html").text).count(words) == 4  # title, heading, caption, reason


def test_tiles_and_style_are_those_of_the_server(tmp_path: Path, hits: list[Hit]) -> None:
    """The grid's style sheet is in the page as it is served, and a tile has the same elements and classes."""
    write_page(tmp_path / "page.html", "q", hits)
    source = (tmp_path / "page.html").read_text("utf-8")
    here = Path(page_module.__file__)
    for name in ("palette.css", "grid.css"):
        assert here.with_name(name).read_text("utf-8") in source
    page = Page(tmp_path / "page.html")
    assert [tile["class"] for tile in page.all("li")] == ["tile r133"] * 3
    assert [tag for tag, _ in page.tags if tag in ("ol", "li", "a", "img", "b")] == ["ol", *["li", "a", "img", "b"] * 3]
    assert ".r133 { --ratio: 1.33; }" in source


def test_the_shapes_of_pictures() -> None:
    assert [shape(*size) for size in ((300, 200), (200, 300), (3000, 100), (10, 1000), (0, 0))] == [
        "r150", "r67", "r400", "r40", "r133",
    ]  # fmt: skip
    assert rules(["r150", "r67", "r150"]) == ".r150 { --ratio: 1.5; }\n.r67 { --ratio: 0.67; }\n"
    assert len(rules().splitlines()) == 361


def test_a_page_is_bounded(tmp_path: Path, hits: list[Hit], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are sharp, the next smaller, and of too many the page says so."""
    monkeypatch.setattr(page_module, "SHARP", 1)
    monkeypatch.setattr(page_module, "MOST", 2)
    draw(1, (1000, 500)).save(hits[0].path)
    draw(2, (1000, 500)).save(hits[1].path)
    write_page(tmp_path / "page.html", "q", hits, total=50)
    page = Page(tmp_path / "page.html")
    assert [thumbnail(image["src"]).size for image in page.all("img")] == [(480, 240), (240, 120)]
    assert "1 more were found than a page holds" in "".join(page.text)


def test_odd_names_lead_to_their_files(tmp_path: Path) -> None:
    names = ["new\nline.png", os.fsdecode(b"inv\xff.png"), "📷 #1?.png", "100%.png"]
    hits = []
    for number, name in enumerate(names):
        draw(number).save(tmp_path / "x", "PNG")
        (tmp_path / "x").rename(tmp_path / name)
        hits.append(Hit(str(tmp_path / name), 0.5, None, number, 0.5))
    write_page(tmp_path / os.fsdecode(b"page\xff.html"), "q", hits)
    page = Page(tmp_path / os.fsdecode(b"page\xff.html"))
    links = [link["href"] or "" for link in page.all("a")]
    assert [os.fsdecode(unquote_to_bytes(link.removeprefix("file://"))) for link in links] == [hit.path for hit in hits]
    shown = [text for text in page.text if text.endswith(".png")]
    assert shown == ["new line.png", "inv\ufffd.png", "📷 #1?.png", "100%.png"]


def test_a_query_that_is_no_text(tmp_path: Path, hits: list[Hit]) -> None:
    write_page(tmp_path / "page.html", os.fsdecode(b"caf\xe9"), hits)
    assert "caf?" in (tmp_path / "page.html").read_text("utf-8")


def test_pictures_that_are_gone_keep_their_place(tmp_path: Path, hits: list[Hit]) -> None:
    Path(hits[0].path).unlink()
    Path(hits[1].path).write_bytes(b"")
    write_page(tmp_path / "page.html", "q", hits)
    page = Page(tmp_path / "page.html")
    assert len(page.all("li")) == 3 and len(page.all("img")) == 1
    text = "".join(page.text)
    assert "cannot be shown: no such file" in text and "cannot be shown: the file is empty" in text


def test_large_pictures_become_thumbnails(tmp_path: Path) -> None:
    draw(1, (3000, 1000)).save(tmp_path / "a.jpg")
    write_page(tmp_path / "page.html", "q", [Hit(str(tmp_path / "a.jpg"), 0.5, None, 1, 0.5)])
    source = Page(tmp_path / "page.html").all("img")[0]["src"]
    assert thumbnail(source).size == (THUMBNAIL, THUMBNAIL // 3)
    assert len(source or "") < 60_000


def test_search_by_picture(tmp_path: Path, hits: list[Hit]) -> None:
    write_page(tmp_path / "page.html", "", hits, images=[hits[1].path])
    page = Page(tmp_path / "page.html")
    assert page.all("img")[0]["alt"] == "the picture searched by"
    assert thumbnail(page.all("img")[0]["src"]).size == (64, 48)
    assert "Pictures like this one" in "".join(page.text)


def test_no_hits(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "q", [], total=0)
    assert "No picture fits." in (tmp_path / "page.html").read_text("utf-8")


def test_scores_of_zero_and_below(tmp_path: Path, hits: list[Hit]) -> None:
    low = [Hit(hit.path, score, None, hit.id, score) for hit, score in zip(hits, (0.0, -0.1, -0.2), strict=True)]
    write_page(tmp_path / "page.html", "q", low)
    text = "|".join(Page(tmp_path / "page.html").text)
    assert all(shown in text for shown in ("0.000", "-0.100", "-0.200"))


def test_a_page_that_cannot_be_written(tmp_path: Path, hits: list[Hit]) -> None:
    with pytest.raises(VsearchError, match="no such file or directory") as caught:
        write_page(tmp_path / "none" / "page.html", "q", hits)
    assert caught.value.hint
    (tmp_path / "page.html").mkdir()
    with pytest.raises(VsearchError):
        write_page(tmp_path / "page.html", "q", hits)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_a_link_is_followed_and_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    write_page(tmp_path / "target.html", "old", [])
    (tmp_path / "link.html").symlink_to("target.html")
    write_page(tmp_path / "link.html", "dog", [])
    assert (tmp_path / "link.html").is_symlink()
    assert "dog" in (tmp_path / "target.html").read_text()
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_page(tmp_path / "pipe", "boat", [])
    reader.join(timeout=20)
    assert (tmp_path / "pipe").is_fifo() and "boat" in read[0]


def test_links_in_a_circle_are_no_crash(tmp_path: Path) -> None:
    (tmp_path / "a.html").symlink_to("b.html")
    (tmp_path / "b.html").symlink_to("a.html")
    try:
        write_page(tmp_path / "a.html", "dog", [])
    except VsearchError:
        assert (tmp_path / "a.html").is_symlink()
    else:
        assert "dog" in (tmp_path / "a.html").read_text()
