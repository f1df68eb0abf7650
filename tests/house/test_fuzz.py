"""Files with bytes at random, always the same ones: only errors of our own, with a remedy or a reason."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vsearch
from index.metadata.tree import XmlError
from index.metadata.xmp import read
from tests.support.pictures import draw
from tests.support.tiny_model import model_folder
from vsearch.errors import PictureError, VsearchError
from vsearch.image.header import read_header
from vsearch.image.pixels import read_pixels

FORMATS = dict.fromkeys(("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"), 2_400) | {"AVIF": 400, "HEIF": 400}
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3">'
    b'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">sea</rdf:li></rdf:Alt></dc:title>'
    b"<dc:subject><rdf:Bag><rdf:li>dog</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    2**80,
    "",
    "\udcff",
    "../etc",
    [],
    {},
    [[[]]],
    {"a": {}},
    "x" * 99,
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A copy with some bytes changed, removed, doubled or cut off."""
    copy = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, size = chance.randrange(max(1, len(copy))), chance.choice((1, 1, 2, 4, 64))
        match chance.randrange(5):
            case 0:
                copy[at : at + size] = chance.randbytes(size)
            case 1:
                copy[at : at + size] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))]) * size
            case 2:
                del copy[at : at + size]
            case 3:
                copy[at:at] = copy[at : at + size]
            case _ if chance.random() < 0.3:
                del copy[at:]
    return bytes(copy)


@pytest.mark.parametrize("kind", FORMATS)
def test_pictures(kind: str, tmp_path: Path) -> None:
    """Pixels, or PictureError; the head of the file, too, with EXIF and a packet of XMP where the format has them."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    image, data, chance = draw(1), io.BytesIO(), random.Random(kind)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x0132: "2024:05:01 12:00:00"})
    named = {"exif": exif, "xmp": PACKET} if kind in ("JPEG", "WEBP", "AVIF", "HEIF") else {}
    image.save(data, kind, **named)
    path = tmp_path / f"photo.{kind.lower()}"
    for _ in range(FORMATS[kind]):
        bad = mutated(data.getvalue(), chance)
        try:
            assert read_pixels(io.BytesIO(bad), 32).shape == (32, 32, 3)
        except PictureError as error:
            assert str(error)
        path.write_bytes(bad)
        try:
            head = read_header(path)
            assert head.width > 0 and head.height > 0
        except PictureError as error:
            assert str(error)


def test_packets() -> None:
    chance = random.Random("packets")
    for _ in range(4_000):
        try:
            read(mutated(PACKET, chance))
        except XmlError as error:
            assert str(error)


def places(value: Any, put: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """Every place in a JSON value, as what replaces the value there."""
    yield put
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(pairs)[:20]:
        yield from places(one, lambda fresh, key=key: value.__setitem__(key, fresh))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["config.json", "phrase.json", "vocab.json"])
def test_settings_of_a_model(name: str, tmp_path: Path) -> None:
    """A value of another kind at any place, and bytes at random: loaded and asked, or refused."""
    folder = Path(shutil.copytree(model_folder(), tmp_path / "model"))
    data, chance = (folder / name).read_bytes(), random.Random(name)
    for _ in range(100):
        whole = [json.loads(data)]
        put = chance.choice(list(places(whole[0], lambda fresh, whole=whole: whole.__setitem__(0, fresh))))  # type: ignore[misc]
        put(chance.choice(JUNK))
        bad = json.dumps(whole[0]).encode() if chance.random() < 0.7 else mutated(data, chance)
        (folder / name).write_bytes(bad)
        try:
            vsearch.load(folder, "cpu").embed_text("dog")
        except VsearchError as error:
            assert str(error)
