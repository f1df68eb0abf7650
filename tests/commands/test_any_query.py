"""Whatever is typed as a query ends in hits or in one line that says what is wrong, never in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.commands import call
from tests.support.site import build
from tests.support.tiny_model import model_folder

TYPED = st.text(max_size=40) | st.lists(
    st.sampled_from(["dog", "-", "*", '"', "2", "1e999", "-1*", "the", "\u2013", "\uff44", "boat", ".", "nan*", "0*"])
).map("".join)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    build(folder, 4)
    return folder


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(TYPED, st.sampled_from(["words", "text"]))
@example("dog \udcff", "words")
@example('"', "text")
def test_any_query(place: Path, query: str, how: str) -> None:
    options = ("--library", str(place / "library"), "--model", str(model_folder()), "--device", "cpu", "--json")
    typed = [f"--text={query}"] if how == "text" else ["--", query]
    done = call("search", *options, *typed)
    assert done.exit_code in (0, 1, 2)
    if done.exit_code:
        assert "error: " in done.stderr.lower() and "Traceback" not in done.output
    else:
        assert done.stdout_bytes.startswith(b"[")
