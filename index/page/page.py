"""Write a page of results in one file: thumbnails inside, no script, nothing fetched; light or dark, wide or narrow."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.database.texts import SAID
from index.page import grid
from index.page.thumbnail import jpeg, small
from index.paths import link, neighbours, readable, titled
from index.search.searcher import Hit
from vsearch.errors import PictureError, VsearchError
from vsearch.files import replacing
from vsearch.outputs import check_output

_GENERATOR, _HEAD = b'<meta name="generator" content="vsearch">', 1000  # a mark in so many first bytes of each page
_READER_SECONDS = 2.0
THUMBNAIL = 480  # pixels on the longer side: sharp on dense screens, about 30 KB
SMALLER = 240  # those of hits after the first SHARP: about 8 KB
SHARP, MOST = 200, 1000  # hits on a page: it stays below 20 MB for most photos, and is bounded for all
_STYLES = ("palette.css", "grid.css", "results.css")


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data URI, with its size in pixels; `trouble` says why there is none."""

    source: str = ""
    width: int = 0
    height: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Figure:
    """A hit as the template shows it."""

    name: str
    path: str
    link: str
    shape: str  # a class of `grid`
    thumbnail: str
    width: int
    height: int
    trouble: str
    caption: str | None
    why: Sequence[str]
    score: str  # empty where hits have none
    said: str  # where it says the text that was searched for, if that is not its caption


def write_page(
    file: Path,
    query: str,
    hits: Sequence[Hit],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    why: Mapping[int, Sequence[str]] | None = None,
    total: int | None = None,
    shares: bool = False,
    scored: bool = True,
    library: Path | None = None,
    force: bool = False,
) -> None:
    """Write the hits of a query as one HTML file, thumbnails inside, which needs neither network nor script.

    `images` are the pictures that were searched by, `why` maps the id of a hit to words that explain it, `total` is the
    number of pictures searched; scores are shown if the hits are `scored`, in percent if they are `shares` of hits that
    fit. A picture that cannot be read any more keeps its place, with the reason. The page holds the first 1,000 hits
    and says if there are more; it has the style of the pages of `vsearch serve`.
    Raises VsearchError if the file cannot be written, and as `check_page` does.
    """
    check_page(file, [*(hit.path for hit in hits), *images], library, force=force)
    words = query.encode("utf-8", "replace").decode()
    shown = hits[:MOST]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        sides = [THUMBNAIL] * SHARP + [SMALLER] * MOST
        thumbnails = list(pool.map(_thumbnail, [hit.path for hit in shown], sides))
    figures = [
        _figure(hit, thumbnail, (why or {}).get(hit.id, ()), shares=shares, scored=scored)
        for hit, thumbnail in zip(shown, thumbnails, strict=True)
    ]
    text = _render(
        title=words or ("Pictures like these" if len(images) > 1 else "Pictures like this one"),
        pictures=[_thumbnail(os.fspath(image), SMALLER).source for image in images],
        figures=figures,
        total=total,
        scored=scored,
        left_out=len(hits) - len(shown),
        meaning="how many of such hits fit" if shares else "how near a picture is to the query",
        **_styled(figures),
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


def _styled(figures: Sequence[Figure]) -> dict[str, str]:
    """Return the style of a page, and the policy that lets this style in and nothing else."""
    here = Path(__file__).parent
    text = "\n" + "".join((here / name).read_text("utf-8") for name in _STYLES)
    text += grid.rules(figure.shape for figure in figures)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return {"style": text, "policy": policy}


def _figure(hit: Hit, thumbnail: Thumbnail, why: Sequence[str], *, shares: bool, scored: bool) -> Figure:
    match, score = hit.match, f"{hit.score:.0%}" if shares else f"{hit.score:.3f}"
    return Figure(
        name=readable(os.path.basename(titled(hit.path))),
        path=readable(hit.path),
        link=link(hit.path),
        shape=grid.shape(thumbnail.width, thumbnail.height),
        thumbnail=thumbnail.source,
        width=thumbnail.width,
        height=thumbnail.height,
        trouble=thumbnail.trouble,
        caption=hit.caption,
        why=why,
        score=score if scored else "",
        said="" if match is None or match.field == "caption" else f"{SAID[match.field]}: {match.snippet}",
    )


def _thumbnail(path: str, side: int) -> Thumbnail:
    """Return a small copy of the picture, at most `side` pixels a side, or the reason why it cannot be read."""
    try:
        picture = small(path, side)
        data = base64.b64encode(jpeg(picture)).decode("ascii")
    except PictureError as error:
        return Thumbnail(trouble=f"cannot be shown: {error}")
    return Thumbnail("data:image/jpeg;base64," + data, *picture.size)


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
