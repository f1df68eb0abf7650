"""The reader of text itself, where RapidOCR is installed. Tests have no network: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from vsearch.errors import PictureError, VsearchError
from vsearch.image import ocr

pytestmark = pytest.mark.skipif(not ocr.installed(), reason="RapidOCR is not installed: the extra `ocr`")


@pytest.fixture(scope="module")
def reader() -> ocr.TextReader:
    return ocr.TextReader()


def test_words_are_read_and_leaves_are_not(reader: ocr.TextReader, tmp_path: Path) -> None:
    sign = Image.new("RGB", (480, 320), "darkred")
    pen = ImageDraw.Draw(sign)
    pen.text((60, 60), "STOP", "white", ImageFont.load_default(90))
    pen.text((60, 200), "ALL WAY 1234", "white", ImageFont.load_default(48))
    sign.save(tmp_path / "sign.png")
    assert reader.read(tmp_path / "sign.png").splitlines() == ["STOP", "ALL WAY 1234"]
    Image.effect_noise((320, 240), 80).convert("RGB").save(tmp_path / "noise.png")
    assert reader.read(tmp_path / "noise.png") == ""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PictureError):
        reader.read(tmp_path / "broken.png")


def test_a_page_of_a_book(reader: ocr.TextReader) -> None:
    skimage = pytest.importorskip("skimage", reason="the page is one of scikit-image's samples")
    text = reader.read(Path(skimage.__file__).parent / "data" / "page.png").lower()
    assert all(word in text for word in ("region-based segmentation", "markers", "background", "histogram"))


def test_networks_that_are_missing_are_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match="has no networks"):
        ocr._networks(tmp_path)
