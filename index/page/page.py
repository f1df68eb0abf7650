"""A page of results in one file: thumbnails inside it, no script, nothing fetched; light or dark, wide or narrow."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from urllib.parse import quote_from_bytes

from PIL import Image

from index.caches.sealed_file import replacing
from index.paths import readable
from index.search.searcher import Hit
from vsearch.errors import PictureError, VsearchError
from vsearch.image.decode import decode

THUMBNAIL = 480  # pixels on the longer side: sharp on dense screens, about 30 KB
_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #ffffff; --ink: #1d1c1a; --soft: #6b6863; --line: #e4e1db;
  --accent: #b4531f; --well: #eae7e1; --shade: 0 1px 2px rgb(40 30 20 / .06), 0 6px 20px rgb(40 30 20 / .07); }
@media (prefers-color-scheme: dark) { :root { --page: #151413; --card: #201f1d; --ink: #f0ede8; --soft: #a19c94;
  --line: #33312e; --accent: #f0935a; --well: #2a2826;
  --shade: 0 1px 2px rgb(0 0 0 / .4), 0 6px 20px rgb(0 0 0 / .25); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 1500px; margin: 0 auto; padding: 0 clamp(16px, 4vw, 48px); }
header { display: flex; gap: 24px; align-items: center; padding-top: clamp(28px, 5vw, 56px); padding-bottom: 28px; }
header img { width: 112px; height: 112px; object-fit: cover; border-radius: 14px; flex: none;
  box-shadow: var(--shade); }
h1 { margin: 0; font-size: clamp(1.7rem, 4vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; font-weight: 680;
  overflow-wrap: anywhere; white-space: pre-wrap; }
header p { margin: 8px 0 0; color: var(--soft); }
main { display: grid; gap: clamp(14px, 1.8vw, 24px);
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 215px), 1fr)); }
figure { margin: 0; background: var(--card); border-radius: 14px; overflow: hidden; box-shadow: var(--shade);
  display: flex; flex-direction: column; border: 1px solid var(--line); }
.frame { display: block; position: relative; aspect-ratio: 5 / 4; background: var(--well); color: var(--soft);
  text-decoration: none; }
.frame img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; object-position: 50% 38%; }
.frame .gone { position: absolute; inset: 0; display: grid; place-content: center; padding: 16px; text-align: center;
  font-size: .875rem; }
.rank { position: absolute; z-index: 1; left: 10px; top: 10px; min-width: 26px; padding: 0 8px; border-radius: 13px;
  color: #fff; background: rgb(0 0 0 / .6); font-size: .8rem; line-height: 26px; text-align: center; font-weight: 600; }
figcaption { padding: 14px 16px 16px; display: flex; flex-direction: column; gap: 8px; flex: 1; }
.caption { margin: 0; text-wrap: pretty; overflow-wrap: anywhere; }
.why { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 6px; }
.why li { font-size: .78rem; padding: 1px 9px; border-radius: 10px; background: var(--well); color: var(--soft); }
.score { margin-top: auto; display: flex; align-items: center; gap: 10px; font-size: .82rem;
  font-variant-numeric: tabular-nums; color: var(--soft); }
.bar { flex: 1; height: 5px; border-radius: 3px; background: var(--well); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); border-radius: 3px; }
.path { margin: 0; font-size: .78rem; color: var(--soft); overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.none { grid-column: 1 / -1; padding: 48px 0; text-align: center; color: var(--soft); }
footer { padding-top: 36px; padding-bottom: 40px; color: var(--soft); font-size: .8rem; }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: -3px; }
@media print { figure { break-inside: avoid; box-shadow: none; } }
"""
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""


def _write(file: Path, text: str) -> None:
    """Replace `file` in one step; a link's target instead of the link; a pipe or a device is written to as it is."""
    target = Path(os.path.realpath(file))  # Path.resolve raises RuntimeError where links go in a circle
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    with replacing(target) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_page(
    file: Path,
    query: str,
    hits: Sequence[Hit],
    *,
    image: str | os.PathLike[str] | None = None,
    why: Mapping[int, Sequence[str]] | None = None,
    total: int | None = None,
    shares: bool = False,
) -> None:
    """Write the hits of a query as one HTML file, thumbnails inside, which needs neither network nor script.

    `image` is the picture that was searched by, `why` maps the id of a hit to words that explain it, `total` is the
    number of pictures searched; scores are shown in percent where they are `shares` of hits that fit. A picture that
    cannot be read any more keeps its place, with the reason.
    Raises VsearchError if the file cannot be written.
    """
    words = query.encode("utf-8", "replace").decode()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        frames = list(pool.map(lambda hit: _thumbnail(hit.path), hits))
    best = max((hit.score for hit in hits), default=0.0)
    parts = [_HEAD.format(title=escape(f"{words or 'Pictures like this one'} – vsearch"), style=_STYLE)]
    parts.append(_header(words, len(hits), image, total))
    parts.append("<main>\n")
    for rank, (hit, frame) in enumerate(zip(hits, frames, strict=True), 1):
        parts.append(_figure(rank, hit, frame, best, (why or {}).get(hit.id, ()), shares))
    if not hits:
        parts.append('<p class="none">No picture fits.</p>\n')
    meaning = "how many of such hits fit" if shares else "how near a picture is to the query"
    parts.append(f"</main>\n<footer>Made by vsearch. The bar and the number show {meaning}.")
    parts.append("</footer>\n</body>\n</html>\n")
    try:
        _write(file, "".join(parts))
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise VsearchError(f"cannot write the page {file}: {reason}", "name another file") from error


def _header(words: str, count: int, image: str | os.PathLike[str] | None, total: int | None) -> str:
    noun = "picture" if count == 1 else "pictures"
    among = f" of {total:,}" if total is not None else ""
    shown = _thumbnail(os.fspath(image)) if image is not None else ""
    picture = f'<img src="{shown}" alt="the picture searched by">' if shown.startswith("data:") else ""
    title = escape(words) if words else "Pictures like this one"
    return f"<header>{picture}<div><h1>{title}</h1><p>{count:,} {noun}{among}, the nearest first</p></div></header>\n"


def _figure(rank: int, hit: Hit, frame: str, best: float, why: Sequence[str], shares: bool) -> str:
    name = readable(os.path.basename(hit.path))
    alt = escape(hit.caption or name)
    inside = f'<img src="{frame}" alt="{alt}">' if frame.startswith("data:") else ""
    inside = inside or f'<span class="gone">{escape(frame)}</span>'
    caption = f'<p class="caption">{escape(hit.caption)}</p>' if hit.caption else ""
    words = "".join(f"<li>{escape(word)}</li>" for word in why)
    reasons = f'<ul class="why">{words}</ul>' if words else ""
    width = 100.0 * max(0.0, hit.score) / best if best > 0 else 0.0
    score = f"{hit.score:.0%}" if shares else f"{hit.score:.3f}"
    link = escape("file://" + quote_from_bytes(os.fsencode(hit.path)))
    return (
        f'<figure><a class="frame" href="{link}">{inside}<span class="rank">{rank}</span></a>'
        f"<figcaption>{caption}{reasons}"
        f'<div class="score"><span class="bar"><i style="width:{width:.1f}%"></i></span>{score}</div>'
        f'<p class="path" title="{escape(readable(hit.path))}">{escape(name)}</p></figcaption></figure>\n'
    )


def _thumbnail(path: str) -> str:
    """A data URI of the picture, or, where it cannot be read, the reason."""
    try:
        picture = decode(path, at_least=THUMBNAIL)
    except PictureError as error:
        return f"cannot be shown: {error}"
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=82, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
