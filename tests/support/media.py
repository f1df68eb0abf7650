"""Small videos and raw photos, made on the spot."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

BYTE, TEXT, SHORT, LONG, RATIONAL, SIGNED = 1, 2, 3, 4, 5, 10
Tag = tuple[int, int, str | Sequence[int]]


def clip(
    path: Path,
    seconds: int = 6,
    *,
    rate: int = 10,
    size: tuple[int, int] = (96, 64),
    codec: str = "mpeg4",
    gop: int = 20,
    turn: int = 0,
    seed: int = 0,
    index_first: bool = False,
    **metadata: str,
) -> Path:
    """A video: red grows with time from 0 to 250, the upper half is green, blue is `seed`; `turn` in degrees."""
    import av

    width, height = size
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as out:
        out.metadata.update(metadata)
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", gop
        stream.bit_rate = 4_000_000
        if turn:
            stream.set_display_rotation(turn)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[: height // 2, :, 1], pixels[..., 2] = 200, seed
        for number in range(seconds * rate):
            pixels[..., 0] = 250 * number // (seconds * rate)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def dng(
    path: Path,
    size: tuple[int, int] = (256, 192),
    *,
    preview: Image.Image | None = None,
    orientation: int = 1,
    seed: int = 0,
) -> Path:
    """A raw photo of one colour with a white corner above on the left, and a preview in JPEG, if one is given."""
    width, height = size
    mosaic = np.full((height, width), 6_000 + 64 * seed, "<u2")
    mosaic[: height // 2, : width // 2] = 65_000
    jpeg = io.BytesIO()
    if preview is not None:
        preview.save(jpeg, "JPEG", quality=95)
    sensor, small = mosaic.tobytes(), jpeg.getvalue()
    at = (1, 0, 0, 0, 0)  # of the preview's directory, what is too long for each directory, the sensor's data, the JPEG
    for _ in range(2):  # the first pass tells how long the directories are
        first, more = _directory(_main(size, at[3], len(sensor), orientation, at[0] if small else 0), at[1])
        second, last = _directory(_small(preview.size, at[4], len(small)), at[2]) if preview else (b"", b"")
        begin = 8 + len(first)
        ends = np.cumsum([begin, len(more), len(second), len(last), len(sensor)]).tolist()
        at = (ends[1], ends[0], ends[2], ends[3], ends[4])
    path.write_bytes(b"II*\0\x08\0\0\0" + first + more + second + last + sensor + small)
    return path


def _main(size: tuple[int, int], at: int, length: int, orientation: int, preview: int) -> list[Tag]:
    width, height = size
    one = [1, 1, 0, 1, 0, 1]
    tags: list[Tag] = [(254, LONG, [0]), (256, LONG, [width]), (257, LONG, [height]), (258, SHORT, [16])]
    tags += [(259, SHORT, [1]), (262, SHORT, [32803]), (271, TEXT, "Maker"), (272, TEXT, "Model X")]
    tags += [(273, LONG, [at]), (274, SHORT, [orientation]), (277, SHORT, [1]), (278, LONG, [height])]
    tags += [(279, LONG, [length]), (306, TEXT, "2024:05:06 07:08:09"), (33421, SHORT, [2, 2])]
    tags += [(33422, BYTE, [0, 1, 1, 2]), (50706, BYTE, [1, 4, 0, 0]), (50707, BYTE, [1, 1, 0, 0])]
    tags += [(50708, TEXT, "Model X"), (50717, LONG, [65535]), (50728, RATIONAL, [1] * 6), (50778, SHORT, [21])]
    tags += [(50721, SIGNED, [*one, 0, 1, *one, 0, 1, *one[:2]])]
    return sorted(tags + ([(330, LONG, [preview])] if preview else []))


def _small(size: tuple[int, int], at: int, length: int) -> list[Tag]:
    tags: list[Tag] = [(254, LONG, [1]), (256, LONG, [size[0]]), (257, LONG, [size[1]]), (258, SHORT, [8, 8, 8])]
    tags += [(259, SHORT, [7]), (262, SHORT, [6]), (273, LONG, [at]), (277, SHORT, [3])]
    return [*tags, (278, LONG, [size[1]]), (279, LONG, [length])]


def _directory(tags: Sequence[Tag], at: int) -> tuple[bytes, bytes]:
    """A directory of TIFF, and the values, to be written at `at`, that are too long to stand in it."""
    rows, more = struct.pack("<H", len(tags)), b""
    for tag, kind, value in tags:
        letter = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SIGNED: "i"}.get(kind, "")
        data = value.encode() + b"\0" if isinstance(value, str) else struct.pack(f"<{len(value)}{letter}", *value)
        count = len(data) if isinstance(value, str) else len(value) // (2 if kind in (RATIONAL, SIGNED) else 1)
        rows += struct.pack("<HHI", tag, kind, count)
        rows += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", at + len(more))
        more += data + bytes(len(data) % 2) if len(data) > 4 else b""
    return rows + bytes(4), more
