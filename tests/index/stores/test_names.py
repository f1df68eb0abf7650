"""URLs of stores, and paths and filters as Milvus takes them; no server is needed."""

from __future__ import annotations

import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from index.stores import open_store
from index.stores.address import parse
from index.stores.expressions import condition, decode, encode, key_of, with_keys
from index.stores.protocol import ALL, Where
from index.stores.trouble import UnreachableError, as_library_error
from vsearch.errors import VsearchError

PATHS = some.binary(min_size=1, max_size=40).filter(lambda blob: 0 not in blob).map(os.fsdecode)


@given(PATHS)
def test_a_path_comes_back_and_needs_no_escape(path: str) -> None:
    text = encode(path)
    assert decode(text) == path
    assert text.isprintable() and not set(text) & set("\"'\\{}")
    text.encode("utf-8")


@given(PATHS, PATHS)
def test_what_is_below_a_folder_begins_with_it(folder: str, name: str) -> None:
    assert encode(f"{folder}/{name}").startswith(encode(folder) + "/")


@given(PATHS, PATHS)
def test_two_paths_have_two_keys(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", key_of(one))


def test_filters_are_expressions() -> None:
    assert condition(ALL) == ""
    assert condition(Where('/a "b"', 1, 2)) == (
        '((path >= "/a %22b%22/" and path < "/a %22b%220")) and mtime_ns >= 1 and mtime_ns < 2'
    )
    tar = condition(Where("s3://photos/1.tar"))
    assert tar == (
        '((path >= "s3://photos/1.tar/" and path < "s3://photos/1.tar0")'
        ' or (path >= "s3://photos/1.tar#" and path < "s3://photos/1.tar$"))'
    )
    assert with_keys(["a", "b"]) == 'key in ["a", "b"]'


def test_a_folder_is_found_by_a_link_to_it(tmp_path: os.PathLike[str]) -> None:
    os.mkdir(real := os.path.join(tmp_path, "real"))
    os.symlink(real, link := os.path.join(tmp_path, "link"))
    assert f'"{encode(real)}/"' in condition(Where(link), [real])


@pytest.mark.parametrize(
    "url, server, collection",
    [
        ("milvus://db:19531/photos", "db:19531", "photos"),
        ("milvus://db/photos", "db:19530", "photos"),
        ("milvus://[::1]:7/_a1", "[::1]:7", "_a1"),
    ],
)
def test_urls(url: str, server: str, collection: str) -> None:
    address = parse(url)
    assert (address.server, address.collection, str(address)) == (server, collection, f"milvus://{server}/{collection}")


@pytest.mark.parametrize(
    "url, message",
    [
        ("http://db/photos", "http://db/photos is no store"),
        ("milvus://db:0/photos", "is no store"),
        ("milvus://db:99999/photos", "is no store"),
        ("milvus://db:x/photos", "is no store"),
        ("milvus:///photos", "is no store"),
        ("milvus://db/photos?a=b", "is no store"),
        ("milvus://db", "names no collection"),
        ("milvus://db/a/b", "names no collection"),
        ("milvus://db/a-b", "names no collection"),
        ("milvus://db/" + "a" * 300, "names no collection"),
    ],
)
def test_what_is_no_url_of_a_store_says_how_to_write_one(url: str, message: str) -> None:
    with pytest.raises(VsearchError, match=re.escape(message)) as raised:
        open_store(url)
    assert "milvus://" in raised.value.hint


@pytest.mark.parametrize("url", ["milvus://root:hunter2@db/photos", "milvus://:hunter2@db", "http://hunter2@db/photos"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(VsearchError, match="a password does not belong") as raised:
        open_store(url)
    assert "hunter2" not in str(raised.value) and "MILVUS_TOKEN" in raised.value.hint


def test_without_pymilvus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "index.stores.milvus", raising=False)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(VsearchError, match="needs pymilvus") as raised:
        open_store("milvus://127.0.0.1:1/photos")
    assert "[milvus]" in raised.value.hint


@pytest.mark.parametrize(
    "said, message, remedy",
    [
        ("disk quota exceeded, please allocate more resources", "has no room left", "goes on from here"),
        ("write /data/x: no space left on device", "has no room left", "goes on from here"),
        ("collection not found[collection=a]", "there is no store at", "another collection"),
        ("UNAUTHENTICATED: auth check failure", "refuses who asks", "MILVUS_TOKEN"),
        ("channel not available", "cannot be reached", "goes on from here"),
        ("something\nnew " + "x" * 500, "cannot be used (something new xxx", "log of Milvus"),
    ],
)
def test_what_milvus_says_becomes_one_line_and_a_remedy(said: str, message: str, remedy: str) -> None:
    error = as_library_error("milvus://db:19530/photos", RuntimeError(said))
    assert message in str(error) and remedy in error.hint
    assert "\n" not in str(error) and len(str(error)) < 300
    assert isinstance(error, UnreachableError) == ("reached" in message)
