"""Texts: what pictures say is found, whatever is typed, and never what they no longer say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.check import check
from index.database.database import Database
from index.database.details import Detail
from index.database.texts import Match, expression
from index.database.write import NewPicture
from tests.support.formats import as_format
from vsearch.errors import LibraryError, QueryError


def put(library: Database, path: str, caption: str | None, seed: int = 1) -> None:
    vector = np.array([1.0, seed, 0.0], np.float32)
    library.write.put(NewPicture(path, 1, 1, path.encode("utf-8", "surrogateescape"), vector, caption, vector))


def note(library: Database, path: str, **columns: object) -> None:
    """Write what a sidecar says, as whoever reads one does."""
    picture = library.read.picture(path)
    assert picture is not None
    values = {"id": picture.id, "keywords": "[]", **columns}
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    library.connection.execute(f"INSERT OR REPLACE INTO notes ({names}) VALUES ({marks})", list(values.values()))


def see(library: Database, path: str, text: str) -> None:
    """Write what was read in a picture."""
    [picture] = [one for one in [library.read.picture(path)] if one]
    library.connection.execute("INSERT OR REPLACE INTO ocr VALUES (?, ?)", (picture.hash, text))


def said(library: Database, text: str) -> list[str]:
    """Return the names of the files that say a text, sorted."""
    found = library.read.pictures(library.texts.ids(text).tolist())
    return sorted(os.path.basename(picture.path) for picture in found.values())


@pytest.fixture
def told(library: Database) -> Database:
    library.adopt("model", 3)
    put(library, "/photos/Rome 2019/IMG_0042.jpg", "a man in front of a red stop sign")
    put(library, "/photos/dog-beach.png", "two dogs run", 2)
    put(library, os.fsdecode(b"/photos/inv\xff.jpg"), None, 3)
    note(
        library,
        "/photos/dog-beach.png",
        title="Été à Cannes",
        description="we stop here",
        keywords='["Biarritz", "big sea"]',
    )
    see(library, os.fsdecode(b"/photos/inv\xff.jpg"), "ALL WAY\nSTOP")
    assert library.texts.fill() == 3
    return library


STOPS = ["IMG_0042.jpg", "dog-beach.png", os.fsdecode(b"inv\xff.jpg")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("stop", STOPS), ("STOP", STOPS), ("stop sign", STOPS[:1]), ("sign stop", STOPS[:1]),
        ('"stop sign"', STOPS[:1]), ('"sign stop"', []), ("“stop sign”", STOPS[:1]),
        ("sto", []), ("sto*", STOPS), ('"red sto"*', STOPS[:1]), ("rome", STOPS[:1]), ("2019 img", STOPS[:1]),
        ("0042", STOPS[:1]), ("jpg", []), ("ete", STOPS[1:2]), ("ÉTÉ", STOPS[1:2]), ("biarritz dogs", STOPS[1:2]),
        ("way", STOPS[2:]), ("big-sea", STOPS[1:2]), ("inv", STOPS[2:]), ("dog", STOPS[1:2]), ("cat", []),
        ("stop OR cat", []), ("NOT stop", []), ("caption:stop", []), ("stop)", STOPS), ("^stop", STOPS),
        ("NEAR(stop)", []), ("stop + sign", STOPS[:1]), ("st'op", []), ("stop; --", STOPS), ("\0stop", STOPS),
    ],
)  # fmt: skip
def test_what_is_found(told: Database, text: str, names: list[str]) -> None:
    """Words, in any order and field; phrases; any ending; nothing of the language of FTS5 itself."""
    assert said(told, text) == names


def test_where_it_is_said_and_what_says_little_else_first(told: Database) -> None:
    ids = told.texts.best("stop", 3)
    assert told.texts.best("stop", 1) == ids[:1] and sorted(ids) == told.texts.ids("stop").tolist()
    names = [os.path.basename(told.read.pictures([id_])[id_].path) for id_ in ids]
    assert names[0] == STOPS[2]  # three words in all
    found = told.texts.where("stop", ids)
    assert [found[id_].field for id_ in ids] == [{STOPS[2]: "picture"}.get(name, "caption") for name in names]
    assert found[ids[0]] == Match("picture", "ALL WAY STOP")
    [only] = told.texts.where("biarritz", ids).values()
    assert only == Match("keywords", "Biarritz big sea")
    assert [match.field for match in told.texts.where("2019", ids).values()] == ["name"]


@pytest.mark.parametrize("text", ["", "  ", '""', "!?", "*", "🙂", '"stop', "a " * 51])
def test_a_text_without_words_is_refused(told: Database, text: str) -> None:
    with pytest.raises(QueryError) as refused:
        told.texts.ids(text)
    assert refused.value.hint


@given(text=st.text(max_size=40) | st.from_regex(r"[\w\"*^(){}:+\- ]{1,20}", fullmatch=True))
def test_nothing_that_is_typed_is_an_error_of_sqlite(text: str) -> None:
    import sqlite3

    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE texts USING fts5(caption)")
    try:
        wanted = expression(text)
    except QueryError:
        return
    connection.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (wanted.encode("utf-8", "replace").decode(),))


def whole(library: Database) -> bool:
    """Tell whether every picture has its own words in the index, once the missing ones are written."""
    library.texts.fill()
    return library.texts.missing() == 0 and library.texts.wrong() == 0 and not check(library).findings


def test_words_follow_every_change(told: Database) -> None:
    red = told.read.picture("/photos/Rome 2019/IMG_0042.jpg")
    assert red is not None
    told.write.touch(red.id, "/photos/Oslo/IMG_0043.jpg", 1, 1)
    assert told.texts.missing() == 0  # at once: a build that is interrupted may never fill its row
    assert said(told, "rome") == [] and whole(told) and said(told, "oslo 0043") == ["IMG_0043.jpg"]
    told.write.touch(red.id, "/photos/Oslo/IMG_0043.jpg", 2, 2)
    assert told.texts.missing() == 0  # another date changes no words
    told.details.put([(red.id, Detail(7, 8))])
    note(told, "/photos/Oslo/IMG_0043.jpg", keywords='["fjord"]')
    told.write.set_caption(red.id, "a quay", np.array([0, 1, 0], np.float32))
    assert said(told, "sign") == [] and whole(told) and said(told, "quay fjord") == ["IMG_0043.jpg"]
    fresh = told.read.picture("/photos/Oslo/IMG_0043.jpg")
    assert fresh is not None and told.details.of([fresh.id])[fresh.id].width == 7
    note(told, "/photos/Oslo/IMG_0043.jpg", keywords='["harbour"]')
    assert said(told, "fjord") == [] and whole(told) and said(told, "harbour") == ["IMG_0043.jpg"]
    told.connection.execute("UPDATE notes SET keywords = 'no list' WHERE id = ?", (fresh.id,))
    assert whole(told) and said(told, "list") == ["IMG_0043.jpg"]
    told.connection.execute("DELETE FROM notes")
    assert said(told, "list") == [] and whole(told) and said(told, "quay") == ["IMG_0043.jpg"]
    see(told, "/photos/Oslo/IMG_0043.jpg", "HOTEL")
    assert whole(told) and said(told, "hotel") == ["IMG_0043.jpg"]
    assert told.write.copy(fresh.id, "/photos/copy.jpg", 1, 1) and whole(told)
    assert said(told, "hotel quay") == ["IMG_0043.jpg", "copy.jpg"]
    told.write.remove(["/photos/copy.jpg"])
    assert said(told, "quay") == ["IMG_0043.jpg"] and whole(told)
    put(told, "/photos/Oslo/IMG_0043.jpg", "a new picture")
    assert said(told, "quay") == [] and whole(told) and said(told, "new") == ["IMG_0043.jpg"]
    told.write.clear("other", 3)
    assert said(told, "stop") == [] and told.read.count() == 0


def test_an_older_library_gets_its_words_and_no_file_is_opened(told: Database) -> None:
    """Its files do not even exist."""
    as_format(told, 3)
    with pytest.raises(LibraryError, match="no index of words yet") as refused:
        told.texts.ids("stop")
    assert "build" in refused.value.hint and told.texts.missing() == told.texts.wrong() == 0
    told.write.upgrade(lambda captions: [None] * len(captions))
    assert said(told, "stop") == STOPS[:1] and said(told, "inv") == STOPS[2:] and whole(told)


def test_check_finds_words_that_are_missing_or_another_pictures(told: Database) -> None:
    told.connection.execute("DELETE FROM texts WHERE rowid = 1")
    told.connection.execute("UPDATE texts SET caption = 'a lie' WHERE rowid = 2")
    findings = [finding.message for finding in check(told).findings]
    assert "1 pictures are not in the index of words" in findings
    assert "1 pictures have other words in the index of words" in findings


def test_keywords_of_any_kind_are_kept_as_text(told: Database, tmp_path: Path) -> None:
    """Numbers, nested lists, half a surrogate pair and a zero: a sidecar can hold anything."""
    for keywords in ('[1999, ["deep"]]', json.dumps(["half \ud800 pair", "ze\0ro"]), '{"a": "b"}', '"word"', "["):
        note(told, "/photos/dog-beach.png", keywords=keywords)
        assert whole(told)
    note(told, "/photos/dog-beach.png", keywords='[1999, ["deep"]]')
    assert whole(told) and said(told, "1999 deep") == ["dog-beach.png"]
