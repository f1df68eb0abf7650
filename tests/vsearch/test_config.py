"""Settings from tables: words of a vocabulary and ranges of numbers."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import pytest

from vsearch.config import Range, from_dict
from vsearch.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Ranged:
    """Settings with a vocabulary and ranges of every form."""

    word: Literal["red", "green"] = "red"
    share: Annotated[float, Range(0, 1)] = 0.5
    several: Annotated[tuple[int, ...], Range(1, message="is {value}", hint="take 1 or more")] = (1,)
    inside: Annotated[float | None, Range(above=0, below=1, message="cannot be {value}")] = None


@pytest.mark.parametrize(
    ("key", "value", "message", "hint"),
    [
        ("word", "blue", "at.word is 'blue'", "known: red, green"),
        ("word", 3, "at.word must be str, not 3", "correct that setting"),
        ("share", 2, "at.share must lie between 0 and 1, not 2", "correct that setting"),
        ("share", float("nan"), "at.share must lie between 0 and 1, not nan", "correct that setting"),
        ("several", [1, 0], "at.several is 0", "take 1 or more"),
        ("inside", 1.0, "at.inside cannot be 1.0", "correct that setting"),
        ("inside", 0, "at.inside cannot be 0.0", "correct that setting"),
    ],
)
def test_a_value_outside_its_words_or_its_range_is_refused(key: str, value: object, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Ranged, {key: value}, "at")
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_values_inside_their_ranges_pass() -> None:
    found = from_dict(Ranged, {"word": "green", "share": 1, "several": [1, 9], "inside": 0.5})
    assert found == Ranged("green", 1.0, (1, 9), 0.5)
    assert from_dict(Ranged, {"inside": None}) == Ranged()
