"""XMP packets inside JPEG, PNG and WebP files: found, put in, replaced and taken out; no other byte is changed.

Pixels stay as they are, since nothing is decoded. XMP specification part 3 says where a packet is: a JPEG's in an APP1
segment, a PNG's in an iTXt chunk, a WebP's in a chunk "XMP " of the extended format (VP8X).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_KEYWORD = b"XML:com.adobe.xmp"
_SEGMENT = 65_533 - len(_XMP_HEAD)  # bytes of a packet that a segment holds
_ALPHA, _XMP_FLAG = 0x10, 0x04


class EmbedError(Exception):
    """A file that takes no packet; its text says why."""


def packet_of(data: bytes) -> bytes | None:
    """Return the packet of a file, None if it has none. Raises EmbedError as `with_packet`."""
    return _kind(data)[0](data)


def with_packet(data: bytes, packet: bytes | None) -> bytes:
    """Return a file with this packet in place of its own, or with None without one.

    Raises EmbedError if the file is of another kind or damaged, or the packet too large for it.
    """
    return _kind(data)[1](data, packet)


def _kind(data: bytes) -> tuple[Callable[[bytes], bytes | None], Callable[[bytes, bytes | None], bytes]]:
    """Return what reads the packet of such a file, and what puts one in."""
    if data.startswith(_JPEG):
        return _jpeg_packet, _with_jpeg_packet
    if data.startswith(_PNG):
        return _png_packet, _with_png_packet
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_packet, _with_webp_packet
    raise EmbedError("only JPEG, PNG and WebP files take words: write them next to it")


# ---- JPEG


def _segments(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield marker, start, end and content of the segments before the picture itself."""
    at = 2
    while data[at : at + 1] == b"\xff":
        while data[at + 1 : at + 2] == b"\xff":  # bytes that fill up
            at += 1
        if at + 4 > len(data):
            break
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xD9, 0xDA):
            return
        if size < 2 or at + 2 + size > len(data):
            break
        yield marker, at, at + 2 + size, data[at + 4 : at + 2 + size]
        at += 2 + size
    raise EmbedError("the file is damaged")


def _jpeg_packet(data: bytes) -> bytes | None:
    found = (content for marker, _, _, content in _segments(data) if marker == 0xE1 and content.startswith(_XMP_HEAD))
    content = next(found, None)
    return None if content is None else content[len(_XMP_HEAD) :]


def _with_jpeg_packet(data: bytes, packet: bytes | None) -> bytes:
    start = end = 2
    for marker, begin, stop, content in _segments(data):
        if marker == 0xE2 and content.startswith(b"MPF\0"):
            raise EmbedError("a JPEG of several pictures: write the words next to it")
        if marker == 0xE1 and content.startswith(_XMP_HEAD):
            start, end = begin, stop
        elif start == end == begin and (marker == 0xE0 or (marker == 0xE1 and content.startswith(b"Exif\0"))):
            start = end = stop  # after what must come first
    if packet is None:
        return data[:start] + data[end:]
    if len(packet) > _SEGMENT:
        raise EmbedError("its metadata fill a JPEG's segment: write the words next to it")
    head = struct.pack(">BBH", 0xFF, 0xE1, 2 + len(_XMP_HEAD) + len(packet))
    return data[:start] + head + _XMP_HEAD + packet + data[end:]


# ---- PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bytes]]:
    """Yield kind, start, end and content of each chunk."""
    at = len(_PNG)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        kind = data[at + 4 : at + 8]
        yield kind, at, at + 12 + size, data[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IEND":
            return
    raise EmbedError("the file is damaged")


def _png_packet(data: bytes) -> bytes | None:
    for kind, _, _, content in _png_chunks(data):
        if kind == b"iTXt" and content.startswith(_KEYWORD + b"\0"):
            packed, rest = content[len(_KEYWORD) + 1 : len(_KEYWORD) + 2] == b"\1", content[len(_KEYWORD) + 3 :]
            text = rest.split(b"\0", 2)[-1]  # after language and translated keyword
            return _unpacked(text) if packed else text
    return None


def _unpacked(text: bytes) -> bytes:
    try:
        found = zlib.decompressobj()
        text = found.decompress(text, 16 << 20)
    except zlib.error:
        raise EmbedError("the file is damaged") from None
    if found.unconsumed_tail:
        raise EmbedError("its metadata are too large")
    return text


def _with_png_packet(data: bytes, packet: bytes | None) -> bytes:
    chunks = list(_png_chunks(data))
    start = end = chunks[0][2]  # after IHDR
    for kind, begin, stop, content in chunks:
        if kind == b"iTXt" and content.startswith(_KEYWORD + b"\0"):
            start, end = begin, stop
    if packet is None:
        return data[:start] + data[end:]
    body = b"iTXt" + _KEYWORD + b"\0\0\0\0\0" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:start] + chunk + data[end:]


# ---- WebP


def _webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and content of each chunk."""
    size = int.from_bytes(data[4:8], "little")
    chunks, at, end = [], 12, 8 + size
    while at + 8 <= end <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            break
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if at < end or not chunks or end > len(data):
        raise EmbedError("the file is damaged")
    return chunks


def _webp_packet(data: bytes) -> bytes | None:
    return next((content for kind, content in _webp_chunks(data) if kind == b"XMP "), None)


def _with_webp_packet(data: bytes, packet: bytes | None) -> bytes:
    chunks = [chunk for chunk in _webp_chunks(data) if chunk[0] != b"XMP "]
    kind, head = chunks[0]
    if packet is None and kind == b"VP8X":
        flags = head[0] & ~_XMP_FLAG
        chunks[0] = (kind, bytes([flags]) + head[1:])
        if len(chunks) == 2 and not flags & ~_ALPHA:  # the plain form, in which it was before
            chunks = chunks[1:]
    elif packet is not None:
        if kind == b"VP8X":
            chunks[0] = (kind, bytes([head[0] | _XMP_FLAG]) + head[1:])
        else:
            chunks.insert(0, (b"VP8X", _extended(kind, head)))
        chunks.append((b"XMP ", packet))
    body = b"".join(kind + struct.pack("<I", len(one)) + one + bytes(len(one) % 2) for kind, one in chunks)
    end = 8 + int.from_bytes(data[4:8], "little")
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body + data[end:]


def _extended(kind: bytes, bits: bytes) -> bytes:
    """Return the head of the extended format for a picture in the plain one, of kind "VP8 " or "VP8L"."""
    if kind == b"VP8L" and len(bits) >= 5 and bits[0] == 0x2F:
        packed = int.from_bytes(bits[1:5], "little")
        width, height, alpha = packed & 0x3FFF, packed >> 14 & 0x3FFF, packed >> 28 & 1  # each less one
    elif kind == b"VP8 " and len(bits) >= 10 and bits[3:6] == b"\x9d\x01\x2a":
        sides = struct.unpack("<HH", bits[6:10])
        width, height, alpha = (sides[0] & 0x3FFF) - 1, (sides[1] & 0x3FFF) - 1, 0
    else:
        raise EmbedError("the file is damaged")
    flags = _XMP_FLAG | (_ALPHA if alpha else 0)
    return bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
