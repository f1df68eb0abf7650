"""Write a page of results in one file: thumbnails inside, no script, nothing fetched; light or dark, wide or narrow."""

from __future__ import annotations

import base64
import errno
import io
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from PIL import Image

from index.paths import neighbours, readable
from index.search.searcher import Hit
from vsearch.errors import PictureError, VsearchError
from vsearch.files import replacing
from vsearch.image.decode import decode
from vsearch.outputs import check_output

_GENERATOR, _HEAD = b'<meta name="generator" content="vsearch">', 1000  # a mark in so many first bytes of each page
_READER_SECONDS = 2.0
THUMBNAIL = 480  # pixels on the longer side: sharp on dense screens, about 30 KB


@dataclass(frozen=True)
class Figure:
    """A hit as the template shows it. Its thumbnail is a data URI; `trouble` says why there is none."""

    name: str
    path: str
    link: str
    thumbnail: str
    trouble: str
    caption: str | None
    why: Sequence[str]
    score: str
    width: str  # of the bar, in percent of the best hit's


def write_page(
    file: Path,
    query: str,
    hits: Sequence[Hit],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    why: Mapping[int, Sequence[str]] | None = None,
    total: int | None = None,
    shares: bool = False,
    library: Path | None = None,
    force: bool = False,
) -> None:
    """Write the hits of a query as one HTML file, thumbnails inside, which needs neither network nor script.

    `images` are the pictures that were searched by, `why` maps the id of a hit to words that explain it, `total` is the
    number of pictures searched; scores are shown in percent if they are `shares` of hits that fit. A picture that
    cannot be read any more keeps its place, with the reason.
    Raises VsearchError if the file cannot be written, and as `check_page` does.
    """
    check_page(file, [*(hit.path for hit in hits), *images], library, force=force)
    words = query.encode("utf-8", "replace").decode()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        thumbnails = list(pool.map(lambda hit: _thumbnail(hit.path), hits))
    best = max((hit.score for hit in hits), default=0.0)
    text = _render(
        title=words or ("Pictures like these" if len(images) > 1 else "Pictures like this one"),
        pictures=[_thumbnail(os.fspath(image))[0] for image in images],
        figures=[
            _figure(hit, thumbnail, best, (why or {}).get(hit.id, ()), shares)
            for hit, thumbnail in zip(hits, thumbnails, strict=True)
        ],
        total=total,
        meaning="how many of such hits fit" if shares else "how near a picture is to the query",
    )
    try:
        _write(file, text)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise VsearchError(f"cannot write the page {file}: {reason}", "name another file") from error


def check_page(
    file: Path,
    inputs: Sequence[str | os.PathLike[str]] = (),
    library: Path | None = None,
    *,
    force: bool = False,
) -> None:
    """Raise VsearchError if a page in `file` would replace pictures that are read, a `library` or what is next to it.

    So it does where any other file is there that is no page of ours, unless `force`.
    """
    own = [] if library is None else [library, *neighbours(library)]
    check_output(file, made=_is_page, inputs=[*inputs, *own], force=force)


def _is_page(file: Path) -> bool:
    """Tell whether a file begins like a page of results."""
    with file.open("rb") as page:
        return _GENERATOR in page.read(_HEAD).partition(b"<title>")[0]


def _render(**values: Any) -> str:
    """Fill in the template; every value is escaped."""
    import jinja2  # 50 ms, and only a page needs it

    here = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=here, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("results.html.j2").render(values)


def _figure(hit: Hit, thumbnail: tuple[str, str], best: float, why: Sequence[str], shares: bool) -> Figure:
    return Figure(
        name=readable(os.path.basename(hit.path)),
        path=readable(hit.path),
        link="file://" + quote_from_bytes(os.fsencode(hit.path)),
        thumbnail=thumbnail[0],
        trouble=thumbnail[1],
        caption=hit.caption,
        why=why,
        score=f"{hit.score:.0%}" if shares else f"{hit.score:.3f}",
        width=f"{100.0 * max(0.0, hit.score) / best if best > 0 else 0.0:.1f}",
    )


def _thumbnail(path: str) -> tuple[str, str]:
    """Return a data URI of the picture and no trouble, or none and the reason why it cannot be read."""
    try:
        picture = decode(path, at_least=THUMBNAIL)
    except PictureError as error:
        return "", f"cannot be shown: {error}"
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=82, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii"), ""


def _write(file: Path, text: str) -> None:
    """Replace `file` in one step; a link's target instead of the link; a pipe or a device is written to as it is."""
    target = Path(os.path.realpath(file))  # Path.resolve raises RuntimeError where links go in a circle
    if target.exists() and not target.is_file():
        _write_pipe(target, text)
        return
    with replacing(target, unique=True) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _write_pipe(target: Path, text: str) -> None:
    """Write into a pipe or a device. Raises OSError if nobody begins to read from the pipe within some seconds."""
    end = time.monotonic() + _READER_SECONDS
    while True:
        try:
            handle = os.open(target, os.O_WRONLY | os.O_NONBLOCK)  # else opening a pipe waits for ever
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > end:
                raise
            time.sleep(0.05)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
