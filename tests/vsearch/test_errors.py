"""Every error says what to do about it, unless its caller composes the message."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsearch.errors import ConfigError, DataError, ModelError, PictureError, QueryError, WordsError
from vsearch.text.phrase import parse
from vsearch.text.vectors import WordVectors


@pytest.mark.parametrize("kind", [ConfigError, ModelError, WordsError, QueryError, DataError])
def test_an_error_without_a_hint_has_the_remedy_of_its_kind(kind: type[ConfigError]) -> None:
    assert kind("wrong").hint == kind.remedy != ""
    assert kind("wrong", "do this").hint == "do this"


def test_a_picture_error_is_the_reason_alone() -> None:
    assert PictureError("truncated").hint == ""


def test_the_query_that_the_remedy_shows_can_be_read() -> None:
    assert len(parse(QueryError.remedy.partition(": ")[2])) == 5


def test_checksums_are_told_in_short(tmp_path: Path) -> None:
    (tmp_path / "words.bin").write_bytes(b"other")
    with pytest.raises(WordsError, match=r"sha256 [0-9a-f]{12}, not a{12}$") as caught:
        WordVectors.load(tmp_path / "words.bin", "a" * 64)
    assert caught.value.hint
