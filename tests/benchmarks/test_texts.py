"""benchmarks.texts: a small library is measured whole, and the drawn page has the words that it says."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks.texts import measure, page


def test_every_kind_of_query_is_measured() -> None:
    found = measure(300, 3)
    kinds = {
        "rare word",
        "common word",
        "two words",
        "phrase",
        "prefix",
        "vector and rare word",
        "vector and common word",
    }
    assert kinds <= set(found) and {"fill", "fill again", "bytes", "of"} <= set(found)


def test_the_page_has_twelve_megapixels_and_its_words(tmp_path: Path) -> None:
    words = page(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width * image.height == 12_000_000 and len(words) == 720
