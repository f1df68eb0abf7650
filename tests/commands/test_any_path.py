"""Any name that a file can have comes out of every output format as it is on disk."""

from __future__ import annotations

import html.parser
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import vsearch
from index import Library
from tests.support.commands import call
from tests.support.pictures import draw
from tests.support.tiny_model import model_folder

ODD = [
    b"new\nline", b"inv\xff\xfe", b"half \xed\xa0\xbd", b"-x", b"--json", b"clip.mp4#t=3", b"100%", b"%2e%2e",
    b"?q=1&a", b"'quote\"", b"<script>", b"{{ 1 }}", "\u202egnp".encode(), "cafe\u0301".encode(), "caf\u00e9".encode(),
    b"\x1b[31m", b"\r", b"\x7f", b" ", b"~", b"\\u0041", b"a\\", b"*", "\U0001f4f7".encode(), b"http:", b"#",
]  # fmt: skip
PART = (st.binary(min_size=1, max_size=30) | st.sampled_from(ODD)).map(
    lambda name: name.replace(b"/", b"_").replace(b"\0", b"0")
)
FOLDER = PART.filter(lambda name: not name.startswith(b"."))
NAME = FOLDER.map(lambda name: name + b".png")


class Links(html.parser.HTMLParser):
    """Collects where the links of a page lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value or "" for name, value in attrs if name == "href"]


def lead_to(page: Path) -> list[bytes]:
    """The files that a browser opens from a page."""
    links = Links()
    links.feed(page.read_text("utf-8"))
    parts = [urlsplit(link) for link in links.found if link.startswith("file:")]
    assert all(not part.netloc and not part.query and not part.fragment for part in parts)
    return [unquote_to_bytes(part.path) for part in parts]


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAME, FOLDER, min_size=1, max_size=8))
@example({name + b".png": name for name in ODD})
def test_any_name_comes_back(names: dict[bytes, bytes]) -> None:
    with tempfile.TemporaryDirectory() as home:
        top = Path(home).resolve()
        paths = [os.path.join(os.fsencode(top), b"photos", folder, name) for name, folder in names.items()]
        for path in paths:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            draw(1).save(os.fsdecode(path), "PNG")
        with Library.open(top / "pics", vsearch.load(model_folder(), "cpu")) as library:
            assert library.build([top / "photos"], captions=False).total == len(paths)
            assert len(library.export(top / "v.npy").files) == 2 and library.export(top / "v.jsonl").count == len(paths)
        place = ("--library", str(top / "pics"), "--model", str(model_folder()), "--device", "cpu")
        search = ("search", "dog", "-k", "100", *place)
        listed = [row["path"] for row in json.loads(call(*search, "--json").stdout_bytes)]
        told = [os.fsencode(path) for path in listed]
        assert sorted(told) == sorted(paths)
        assert call(*search, "-0").stdout_bytes == b"".join(path + b"\0" for path in told)
        assert call(*search, "--paths").stdout_bytes == b"".join(path + b"\n" for path in told)
        assert call(*search).stdout_bytes.count(b"\n") == len(told)  # people get a line each, whatever is in a name
        assert call(*search, "--html", str(top / "page.html")).exit_code == 0
        assert lead_to(top / "page.html") == told
        [group] = json.loads(call("duplicates", "--json", *place[:2]).stdout_bytes) if len(paths) > 1 else [None]
        assert group is None or sorted(os.fsencode(row["path"]) for row in group["pictures"]) == sorted(paths)
        check_exports(top, paths)
        near = call("similar", *place, "--json", "--", listed[0])  # also as an argument
        assert [row["path"] for row in json.loads(near.stdout_bytes)] == listed[1:][:10]


def check_exports(top: Path, paths: list[bytes]) -> None:
    rows = [json.loads(line) for line in (top / "v.rows.jsonl").read_bytes().splitlines()]
    assert sorted(os.fsencode(row["path"]) for row in rows) == sorted(paths)
    assert len(np.load(top / "v.npy")) == len(rows)
    whole = [json.loads(line) for line in (top / "v.jsonl").read_bytes().splitlines()]
    assert [row["path"] for row in whole] == [row["path"] for row in rows]
