"""`vsearch mcp`, asked by the client of the protocol's own package: a real process, its stdin and stdout."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("mcp", reason="the extra [mcp] is not installed")
import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from index import Library
from tests.support.pictures import draw
from tests.support.site import build
from tests.support.tiny_model import model_folder
from vsearch.model import Model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("assistant")
    build(place, 8)
    draw(9).save(place / "secret.png")  # a picture, but none of the library
    return place


def command(place: Path) -> list[str]:
    return [
        str(ROOT / "cli.py"),
        "mcp",
        "--library",
        str(place / "library"),
        "--model",
        str(model_folder()),
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="module")
def told(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything asked in one session: starting a process takes a second."""
    answers: dict[str, Any] = {}
    photo = str(place / "photos" / "003.jpg")
    said = tmp_path_factory.mktemp("said") / "stderr"
    errors = said.open("w")
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "search": ("search", {"query": "dog -boat", "k": 4, "thumbnails": True}),
        "within": (
            "search",
            {"query": "dog", "folder": str(place / "photos"), "since": "2024-01-01", "until": "2024-12-31"},
        ),
        "unknown": ("search", {"query": "dog boatt"}),
        "similar": ("similar", {"photo": photo, "k": 3}),
        "describe": ("describe", {"photo": photo, "thumbnail": True}),
        "number": ("describe", {"photo": 1}),
        "info": ("info", {}),
        "quote": ("search", {"query": '"open'}),
        "empty": ("search", {"query": ""}),
        "many": ("search", {"query": "dog", "k": 51}),
        "elsewhere": ("search", {"query": "dog", "folder": "/etc"}),
        "secret": ("describe", {"photo": str(place / "secret.png"), "thumbnail": True}),
        "secret similar": ("similar", {"photo": str(place / "secret.png")}),
        "none": ("describe", {"photo": "/no/such.png"}),
        "device": ("describe", {"photo": "/dev/zero", "thumbnail": True}),
        "climbing": ("describe", {"photo": f"{place}/photos/../secret.png"}),
        "nul": ("describe", {"photo": "a\0b"}),
        "no number": ("similar", {"photo": 10**30}),
    }

    async def ask() -> None:
        server = StdioServerParameters(command=sys.executable, args=command(place), env=dict(os.environ))
        async with stdio_client(server, errlog=errors) as streams, ClientSession(*streams) as session:
            answers["hello"] = await session.initialize()
            answers["tools"] = (await session.list_tools()).tools
            for name, (tool, values) in questions.items():
                answers[name] = await session.call_tool(tool, values)

    anyio.run(ask)
    errors.close()
    answers["stderr"] = said.read_text()
    return answers


def test_tools_only_read_and_say_what_they_give(told: dict[str, Any]) -> None:
    assert [tool.name for tool in told["tools"]] == ["search", "similar", "describe", "info"]
    for tool in told["tools"]:
        assert tool.annotations.read_only_hint and tool.description and tool.output_schema["properties"]
    assert "machine-made" in told["hello"].instructions
    assert told["stderr"] == ""


def test_search_is_that_of_the_library(told: dict[str, Any], place: Path) -> None:
    found = told["search"]
    with Library.open(place / "library", Model(model_folder(), "cpu"), read_only=True) as library:
        hits = library.search("dog -boat", k=4)
    rows = found.structured_content["hits"]
    assert [(row["id"], row["path"], row["caption"]) for row in rows] == [(h.id, h.path, h.caption) for h in hits]
    text, *images = found.content
    assert all(row["path"] in text.text for row in rows) and len(text.text.splitlines()) == 4
    assert len(images) == 4
    for image in images:
        with Image.open(io.BytesIO(base64.b64decode(image.data))) as picture:
            assert max(picture.size) <= 320 and not picture.getexif()


def test_filters_and_unknown_words(told: dict[str, Any]) -> None:
    rows = told["within"].structured_content["hits"]
    assert {Path(row["path"]).name for row in rows} == {"000.jpg", "003.jpg", "006.jpg"}
    assert all(row["taken"].startswith("2024-") for row in rows)
    assert told["unknown"].structured_content["unknown"] == ["boatt"]
    assert "not in the dictionary: boatt" in told["unknown"].content[0].text


def test_one_picture_and_those_like_it(told: dict[str, Any], place: Path) -> None:
    found = told["describe"].structured_content
    assert found["path"] == str(place / "photos" / "003.jpg") and found["caption"] in told["describe"].content[0].text
    assert (found["width"], found["height"], found["camera"]) == (150, 60, "Lumina L2") and len(found["words"]) == 8
    assert [block.type for block in told["describe"].content] == ["text", "image"]
    assert told["number"].structured_content["id"] == 1
    assert len(told["similar"].structured_content["hits"]) == 3
    assert found["path"] not in told["similar"].content[0].text


def test_info(told: dict[str, Any], place: Path) -> None:
    found = told["info"].structured_content
    assert found["pictures"] == 8 and found["folders"] == [str(place / "photos")] and found["captions"] is True


@pytest.mark.parametrize("name", ["secret", "secret similar", "none", "device", "climbing", "nul", "no number"])
def test_no_other_file_is_read(told: dict[str, Any], name: str) -> None:
    """A picture that is none of the library is refused in the same words as a file that is not there."""
    [only] = told[name].content
    assert told[name].is_error
    assert only.text == "this is no picture of the library; name one by its path or id, as search gives them"


@pytest.mark.parametrize(
    ("name", "said"),
    [("quote", "a quote is left open; "), ("empty", "query: String should have at least 1 character"),
     ("many", "k: Input should be less than or equal to 50"), ("elsewhere", "this is no folder of the library; ")],
)  # fmt: skip
def test_errors_are_one_line(told: dict[str, Any], name: str, said: str) -> None:
    [only] = told[name].content
    assert told[name].is_error and only.text.startswith(said) and "\n" not in only.text


def test_a_file_that_changed_is_not_shown(tmp_path: Path) -> None:
    from index.assistant.desk import Desk

    paths = build(tmp_path, 2)
    desk = Desk(tmp_path / "library", Model(model_folder(), "cpu"))
    (tmp_path / "other.jpg").write_bytes(paths[1].read_bytes() + b"x")
    paths[0].unlink()
    paths[0].symlink_to(tmp_path / "other.jpg")
    found, row = desk.describe(str(paths[0]))
    assert found.trouble == "the file has changed since it was indexed"
    assert desk.thumbnails([row]) == []
    assert len(desk.thumbnails([desk.describe(str(paths[1]))[1]])) == 1


def test_without_a_library_a_tool_says_what_to_do(tmp_path: Path) -> None:
    from index.assistant.desk import Desk
    from vsearch.errors import LibraryError

    with pytest.raises(LibraryError):
        Desk(tmp_path / "none", Model(model_folder(), "cpu")).info()


def test_nothing_but_the_protocol_is_on_stdout_and_the_end_of_stdin_ends_it(place: Path) -> None:
    done = subprocess.run([sys.executable, *command(place)], input=b"no json\n", capture_output=True, timeout=60)
    assert done.returncode == 0
    assert all(line.startswith(b'{"jsonrpc"') for line in done.stdout.splitlines())


def test_without_the_extra_it_says_how_to_install_it(place: Path) -> None:
    block = "import sys; sys.modules['mcp'] = None; sys.argv = ['vsearch', 'mcp']; import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: the server needs mcp; install the extra: pip install 'vsearch-photos[mcp]'\n"
