"""Packets in photos: in and out again without another byte changed, and what exiftool reads of them."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from index.metadata.embed import EmbedError, packet_of, with_packet
from index.metadata.xmp import Words, write
from tests.support.pictures import draw

WORDS = Words("a dog & a cat", ("dog", "Überraschung"), "vsearch 1.0")
KINDS = ["jpeg", "jpeg exif", "png", "png alpha", "webp", "webp lossless", "webp alpha", "webp exif"]


def encoded(kind: str) -> bytes:
    """A drawn picture as a file."""
    name, _, how = kind.partition(" ")
    image = draw(3, (61, 40))
    exif = Image.Exif()
    exif[0x010F] = "Lumina"
    options = {"exif": exif} if how == "exif" else {"lossless": True} if how == "lossless" else {}
    if how == "alpha":
        image.putalpha(100)
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_goes_in_and_out_and_no_pixel_changes(kind: str) -> None:
    data = encoded(kind)
    packet = write(None, WORDS).packet
    assert packet is not None and packet_of(data) is None
    made = with_packet(data, packet)
    assert packet_of(made) == packet and with_packet(made, packet) == made
    assert np.array_equal(pixels(made), pixels(data))
    with Image.open(io.BytesIO(made)) as image, Image.open(io.BytesIO(data)) as before:
        assert image.info["xmp"] == packet and image.mode == before.mode
        assert dict(image.getexif()) == dict(before.getexif())
    longer = with_packet(made, packet + b" " * 101)
    assert packet_of(longer) == packet + b" " * 101 and np.array_equal(pixels(longer), pixels(data))
    assert with_packet(longer, None) == data


def test_a_packed_packet_of_a_png_is_read_and_replaced() -> None:
    texts, file = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_itxt("XML:com.adobe.xmp", "<a/>", zip=True)
    draw(1, (20, 20)).save(file, "png", pnginfo=texts)
    data = file.getvalue()
    assert packet_of(data) == b"<a/>"
    assert packet_of(with_packet(data, b"<b/>")) == b"<b/>" and data.count(b"iTXt") == 1


def test_what_takes_no_packet_says_why() -> None:
    jpeg, packet = encoded("jpeg"), write(None, WORDS).packet
    multi = io.BytesIO()
    draw(1, (20, 20)).save(multi, "MPO", save_all=True, append_images=[draw(2, (20, 20))])
    tiff = io.BytesIO()
    draw(1, (20, 20)).save(tiff, "TIFF")
    for data, reason in (
        (multi.getvalue(), "several pictures"),
        (tiff.getvalue(), "only JPEG, PNG and WebP"),
        (b"", "only JPEG, PNG and WebP"),
        (jpeg[:30], "damaged"),
        (encoded("png")[:60], "damaged"),
        (encoded("webp")[:60], "damaged"),
    ):
        with pytest.raises(EmbedError, match=reason):
            with_packet(data, packet)
    with pytest.raises(EmbedError, match="segment"):
        with_packet(jpeg, b" " * 65_600)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_or_flipped_byte_ends_in_another_error(kind: str) -> None:
    data = with_packet(encoded(kind), b"<a/>")
    for at in range(0, min(len(data), 400), 7):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            try:
                with_packet(bad, b"<b/>")
                packet_of(bad)
            except EmbedError:
                continue


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_them_and_finds_nothing_wrong(tmp_path: Path) -> None:
    packet = write(None, WORDS).packet
    assert packet is not None
    files = [tmp_path / "sidecar.xmp"]
    files[0].write_bytes(packet)
    for kind in KINDS:
        files.append(tmp_path / f"{kind.replace(' ', '-')}.{kind.split()[0]}")
        files[-1].write_bytes(with_packet(encoded(kind), packet))
    asked = ["-s3", "-sep", "|", "-XMP-dc:Description", "-XMP-dc:Subject", "-Warning", "-Error"]
    for file in files:
        said = subprocess.run(["exiftool", *asked, str(file)], capture_output=True, check=True, text=True, timeout=60)
        assert said.stdout.splitlines() == ["a dog & a cat", "dog|Überraschung"], file.name
