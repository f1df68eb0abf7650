"""The process that opens videos, raw photos and JPEG XL for another one, see `apart`: it may crash, hang or run full.

It reads a request a line (JSON), and answers each with a line of JSON and, if that says so, bytes. It imports nothing
of vsearch. Paths are those of files: whatever a request names, nothing is opened through a network.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

_MEMORY = 4 << 30  # bytes of addresses; what needs more is refused
_OPEN = 2.0  # seconds for which a video stays open for the next request: an open file holds its disk
_IDLE = 60.0  # seconds after which a worker that nobody asks ends
_STEPS = 300  # frames decoded from a key frame on to reach a moment: ten seconds of most videos
_PATIENCE = 4.0  # seconds spent on that
_WALK = 8.0  # seconds spent on finding the length of a video that does not tell it
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,ogg"  # no playlists: they open other files

Answer = tuple[dict[str, Any], bytes]


class Refused(Exception):
    """A file that gives no picture, and why."""


class Videos:
    """The video that was asked for last stays open for a moment: frames of one video are asked for in a row."""

    def __init__(self) -> None:
        self._opened: tuple[tuple[str, int, int], Any, Any] | None = None
        self._head: tuple[tuple[str, int, int], dict[str, Any]] | None = None

    def close(self) -> None:
        """Close the video that is open, if one is."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def stream(self, path: str) -> tuple[Any, Any]:
        """Return the container of a file and the stream of its pictures. Raises Refused if it has none."""
        import av

        key = self._key(path)
        if self._opened is None or self._opened[0] != key:
            self.close()
            options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
            container = av.open(path, mode="r", options=options, metadata_errors="replace")
            covers = av.stream.Disposition.attached_pic
            streams = [one for one in container.streams.video if not one.disposition & covers]
            if not streams:
                container.close()
                raise Refused("no pictures in it")
            streams[0].thread_type = "AUTO"
            self._opened = key, container, streams[0]
        return self._opened[1:]

    def _key(self, path: str) -> tuple[str, int, int]:
        status = os.stat(path)
        return path, status.st_size, status.st_mtime_ns

    def head(self, path: str) -> dict[str, Any]:
        """Return what the head of a video says: its length in seconds, its size, when and by what it was taken."""
        key = self._key(path)
        if self._head is None or self._head[0] != key:
            self._head = key, self._read_head(path)
        return self._head[1]

    def _read_head(self, path: str) -> dict[str, Any]:
        container, stream = self.stream(path)
        facts = {**container.metadata, **stream.metadata}
        maker, model = (facts.get(f"com.apple.quicktime.{key}", facts.get(key, "")) for key in ("make", "model"))
        taken = facts.get("com.apple.quicktime.creationdate", facts.get("creation_time", ""))
        length = self._length(container, stream)
        frame = self._seen(path, 0.0)
        size = _width(frame, stream), frame.height
        width, height = size[::-1] if round(frame.rotation) % 180 else size
        return {"length": length, "width": width, "height": height, "taken": taken, "maker": maker, "model": model}

    def _length(self, container: Any, stream: Any) -> float:
        if stream.duration:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return float(container.duration) / 1_000_000
        last, end = 0, time.monotonic() + _WALK
        for packet in container.demux(stream):
            last = max(last, packet.pts or 0)
            if time.monotonic() > end:
                break
        return float((last - (stream.start_time or 0)) * stream.time_base)

    def frame(self, path: str, seconds: float, max_pixels: int) -> Answer:
        """Return the picture that is seen at a moment, turned upright.

        From the key frame before it at most so many frames are decoded; where that does not reach, it is the last one.
        """
        _, stream = self.stream(path)
        if stream.codec_context.width * stream.codec_context.height > max_pixels:
            raise Refused(f"too large ({stream.codec_context.width} x {stream.codec_context.height} pixels)")
        frame = self._seen(path, seconds)
        width = _width(frame, stream)
        if width * frame.height > max_pixels:
            raise Refused(f"too large ({width} x {frame.height} pixels)")
        flat = frame.reformat(width=width, height=frame.height, format="rgb24")
        plane = flat.planes[0]
        data, row = bytes(plane), 3 * flat.width
        if plane.line_size != row:
            data = b"".join(data[top : top + row] for top in range(0, plane.line_size * flat.height, plane.line_size))
        return {"kind": "rgb", "width": flat.width, "height": flat.height, "turn": frame.rotation}, data

    def _seen(self, path: str, seconds: float) -> Any:
        """Return the frame seen at a moment. Some containers seek badly: then once more from further ahead."""
        for back in (0.0, 10.0):
            container, stream = self.stream(path)
            first = float((stream.start_time or 0) * stream.time_base)
            wanted = first + seconds
            if back and seconds < back:
                self.close()  # from the beginning
                container, stream = self.stream(path)
            else:
                container.seek(int((wanted - back) / stream.time_base), stream=stream)
            best, whole = _nearest(container, stream, wanted)
            if best is not None and (whole or best.time >= wanted - 1):
                return best
        raise Refused("no frame there")


def _width(frame: Any, stream: Any) -> int:
    """Return how wide a frame is where its pixels are square."""
    shape = float(stream.sample_aspect_ratio or 1)
    return round(float(frame.width) * min(max(shape, 0.25), 4.0))


def _nearest(container: Any, stream: Any, wanted: float) -> tuple[Any, bool]:
    """Return the last frame up to a moment (seconds), None if there is none, and whether the video goes on there."""
    import av

    best, end = None, time.monotonic() + _PATIENCE
    with contextlib.suppress(av.error.EOFError):
        for number, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt or frame.time is None:
                continue
            if best is not None and frame.time > wanted:
                return best, True
            best = frame
            if frame.time >= wanted or number >= _STEPS or time.monotonic() > end:
                return best, True
    return best, False


def raw(path: str, at_least: int | None, max_pixels: int) -> Answer:
    """Return the preview that the camera wrote, if that is large enough, else the sensor's picture at half its size."""
    import rawpy

    with rawpy.imread(path) as file:
        width, height = file.sizes.width, file.sizes.height
        if width * height > max_pixels:
            raise Refused(f"too large ({width} x {height} pixels)")
        half = min(width, height) // 2
        facts = {"flip": file.sizes.flip, "side": half if at_least is None else min(half, at_least)}
        with contextlib.suppress(rawpy.LibRawError):
            preview = file.extract_thumb()
            if preview.format == rawpy.ThumbFormat.JPEG and _side(preview.data) >= facts["side"]:
                return {**facts, "kind": "jpeg", "wide": width >= height}, preview.data
        small = at_least is not None and half < at_least
        pixels = file.postprocess(half_size=not small, use_camera_wb=True, output_bps=8)
        return {"kind": "rgb", "width": pixels.shape[1], "height": pixels.shape[0], "turn": 0}, pixels.tobytes()


def _side(jpeg: bytes) -> int:
    """Return the shorter side of a JPEG, 0 if it is none."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return min(image.size)
    except Exception:  # Pillow raises nearly every kind of error on damaged files
        return 0


def raw_head(path: str) -> dict[str, Any]:
    """Return what a raw photo says about itself: its size, upright."""
    import rawpy

    with rawpy.imread(path) as file:
        size = file.sizes.width, file.sizes.height
        width, height = size[::-1] if file.sizes.flip in (5, 6) else size
        return {"width": width, "height": height}


def jpeg_xl(path: str, max_pixels: int) -> Answer:
    """Return the first picture of a JPEG XL, upright as the format has it, white behind glass."""
    import imagecodecs
    import numpy as np

    with open(path, "rb") as file:
        data = file.read()
    width, height = jpeg_xl_size(data)
    if width * height > max_pixels:
        raise Refused(f"too large ({width} x {height} pixels)")
    pixels = imagecodecs.jpegxl_decode(data, index=0, numthreads=2)
    if pixels.dtype != np.uint8:
        whole = 65_535.0 if pixels.dtype == np.uint16 else 1.0
        pixels = np.rint(pixels.astype(np.float32).clip(0, whole) * (255.0 / whole)).astype(np.uint8)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] in (2, 4):
        glass = pixels[..., -1:].astype(np.uint16)
        pixels = ((pixels[..., :-1] * glass + 255 * (255 - glass) + 127) // 255).astype(np.uint8)
    pixels = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    return {"kind": "rgb", "width": pixels.shape[1], "height": pixels.shape[0], "turn": 0}, pixels.tobytes()


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG XL, upright, as its first bytes have them (ISO 18181-1: SizeHeader)."""
    if data[:2] != b"\xff\x0a":
        at = next((start for kind, start in _boxes(data) if kind in (b"jxlc", b"jxlp")), None)
        if at is None:
            raise Refused("truncated")
        at += 4 if data[at - 4 : at] == b"jxlp" else 0  # the number of the part
    else:
        at = 0
    bits = int.from_bytes(data[at + 2 : at + 14], "little")
    taken = 0

    def read(count: int) -> int:
        nonlocal taken
        value = bits >> taken & (1 << count) - 1
        taken += count
        return value

    def side(small: bool) -> int:
        return (read(5) + 1) * 8 if small else read((9, 13, 18, 30)[read(2)]) + 1

    small = bool(read(1))
    height = side(small)
    ratio = read(3)
    shares = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
    width = side(small) if not ratio else height * shares[ratio - 1][0] // shares[ratio - 1][1]
    turned = not read(1) and read(1) and read(3) >= 4  # ImageMetadata: not all default, extra fields
    return (height, width) if turned else (width, height)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box of a file, and where its content begins."""
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        yield kind, at + head
        if size < head:
            return
        at += size


def jpeg_xl_exif(path: str) -> Answer:
    """Return the size of a JPEG XL, upright, and its EXIF data, or the JPEG that it was made of, with its own."""
    import imagecodecs

    with open(path, "rb") as file:
        data = file.read()
    width, height = jpeg_xl_size(data)
    facts = {"kind": "exif", "width": width, "height": height}
    for kind, at in _boxes(data) if data[:2] != b"\xff\x0a" else ():
        if kind == b"Exif":
            size = int.from_bytes(data[at - 8 : at - 4], "big")
            return facts, data[at + 4 : at - 8 + size if size > 1 else len(data)][: 1 << 20]
    with contextlib.suppress(Exception):
        return {**facts, "kind": "jpeg"}, imagecodecs.jpegxl_decode_jpeg(data)
    return facts, b""


def answer(videos: Videos, asked: dict[str, Any]) -> Answer:
    """Return what a request asks for; whatever is wrong with the file becomes an answer, too."""
    path, most = asked["path"], asked.get("max_pixels", 0)
    todo: dict[str, Callable[[], Answer]] = {
        "video": lambda: videos.frame(path, asked["seconds"], most),
        "video head": lambda: (videos.head(path), b""),
        "raw": lambda: raw(path, asked["at_least"], most),
        "raw head": lambda: (raw_head(path), b""),
        "jpeg xl": lambda: jpeg_xl(path, most),
        "jpeg xl head": lambda: jpeg_xl_exif(path),
    }
    try:
        return todo[asked["do"]]()
    except Refused as error:
        return {"error": str(error)}, b""
    except FileNotFoundError:
        return {"error": "no such file"}, b""
    except PermissionError:
        return {"error": "no permission to read it"}, b""
    except MemoryError:
        return {"error": "too large for the memory"}, b""
    except ImportError as error:
        return {"error": f"cannot be read ({error})"}, b""
    except Exception as error:  # these packages raise nearly every kind of error on damaged files
        return {"error": f"damaged ({type(error).__name__})"}, b""


def main() -> None:
    """Answer requests until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out, videos, kept = os.fdopen(os.dup(1), "wb"), Videos(), b""
    os.dup2(2, 1)  # whatever a library prints is no answer
    while True:
        if b"\n" not in kept:
            if not select.select([0], [], [], _OPEN)[0]:
                videos.close()
                if not select.select([0], [], [], _IDLE)[0]:
                    return
            more = os.read(0, 1 << 16)
            if not more:
                return
            kept += more
            continue
        line, _, kept = kept.partition(b"\n")
        facts, data = answer(videos, json.loads(line))
        with contextlib.suppress(BrokenPipeError):
            out.write(json.dumps({**facts, "bytes": len(data)}).encode("ascii") + b"\n" + data)
            out.flush()


if __name__ == "__main__":
    main()
