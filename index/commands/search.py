"""`vsearch search` and `vsearch similar`."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from index.commands.options import Place, WithinOption, check_folder, check_model, library_path
from vsearch.commands.group import expanded
from vsearch.commands.options import JsonOption, TranslatorOption, load_words, model_folder
from vsearch.commands.translate import load_translator
from vsearch.console import out, remark, shown, shown_path
from vsearch.errors import PictureError, VsearchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from index.database.read import Picture
    from index.library import Library
    from index.search.searcher import Hit
    from vsearch.text.phrase import PhraseSpace
    from vsearch.translation.translator import Translator

    Vector = NDArray[np.float32]
    Reasons = dict[int, list[str]]

COMMON = 2.0  # idf of a word in one caption of seven: "a", "in", "the" and the like lie below it

CountOption = Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many pictures.")]
MinScoreOption = Annotated[
    float | None, typer.Option("--min-score", metavar="X", help="Only pictures that score X or more.")
]
DayOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only files changed from that day on, or up to it."),
]

app = typer.Typer(rich_markup_mode=None)


class SearchCommand(TyperCommand):
    """Takes `-sail` for a word to subtract, not for options -s -a -i -l."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the subtracted words behind the options, then parse."""
        valued = {o for p in self.params if not getattr(p, "is_flag", True) for o in p.opts}
        return super().parse_args(ctx, subtracted_last(args, valued))


def subtracted_last(args: Sequence[str], valued: set[str]) -> list[str]:
    """`args` with the words of the query that start with a minus moved behind `--`, where no option is looked for.

    `valued` are the options that take a value: what follows them stays.
    """
    kept: list[str] = []
    moved: list[str] = []
    for n, arg in enumerate(args):
        if arg == "--":
            moved += args[n + 1 :]
            break
        is_option = not arg.startswith("-") or arg.startswith("--") or re.fullmatch(r"-h|-0?(k\d*)?", arg)
        is_value = bool(kept) and kept[-1] in valued
        (kept if is_option or is_value else moved).append(arg)
    return [*kept, "--", *moved] if moved else kept


@dataclass(frozen=True)
class Printing:
    """In what form hits are printed."""

    as_json: JsonOption = False
    paths: Annotated[bool, typer.Option("--paths", help="Print paths alone.")] = False
    nul: Annotated[bool, typer.Option("-0", help="Print paths alone, a NUL after each, for xargs -0.")] = False
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the pictures, too.")
    ] = None


@dataclass(frozen=True)
class Wanted:
    """What is looked for, and among which pictures."""

    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="What to look for.", show_default=False)
    ] = None
    image: Annotated[Path | None, typer.Option(metavar="PHOTO", help="Look for pictures like this one.")] = None
    count: CountOption = 10
    within: WithinOption = None
    since: DayOption = None
    until: DayOption = None
    min_score: MinScoreOption = None
    caption_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="W", help="How much captions count, 0 to 1; default: the model's."),
    ] = None
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every picture, whatever their number.")] = False


@dataclass(frozen=True)
class Language:
    """From which language the words are translated, and by what."""

    source: Annotated[
        str | None, typer.Option("--from", metavar="LANGUAGE", help="Translate the words from it: de or fr.")
    ] = None
    translator: TranslatorOption = None


WhyOption = Annotated[
    bool, typer.Option("--why", help="Name the words of the training captions nearest to each picture.")
]


@app.command(cls=SearchCommand)
@expanded
def search(wanted: Wanted, printing: Printing, why: WhyOption = False, *, language: Language, place: Place) -> None:
    """Find the pictures nearest to words, to a picture, or to both.

    Words are averaged. -sail subtracts a word, 2*boat weighs it, "hot dog" in double quotes is one label. Words and
    --image together are mixed, half and half. The score is the share of such hits that fit, where the model knows it.

    \b
    Example:
      vsearch search "boat engine"
      vsearch search "-sail 2*boat" -k 5
      vsearch search 'street "hot dog"' --html results.html
      vsearch search snow --image dog.jpg --in ~/Pictures/2024
      vsearch search --from fr "bateau à moteur"
      vsearch search beach -0 | xargs -0 cp -t beach/
    """
    check_printing(printing, wanted.min_score)
    check_wanted(wanted)
    if why and (printing.paths or printing.nul):
        raise typer.BadParameter("--why has no place among bare paths")
    if language.source is not None and not wanted.words:
        raise typer.BadParameter("--from translates words, and there are none")
    if language.translator is not None and language.source is None:
        raise typer.BadParameter("--translator needs --from LANGUAGE")
    text = " ".join(wanted.words or [])
    if language.source is not None:
        text = translated_query(text, load_translator(language.source, "en", language.translator, place.device))
        remark(f"understood: {text}")
    run_search(text, wanted, printing, place, why=why)


def check_wanted(wanted: Wanted) -> None:
    """Raises BadParameter or VsearchError where nothing is looked for."""
    if not wanted.words and wanted.image is None:
        raise typer.BadParameter("give words, --image PHOTO, or both")
    if wanted.caption_weight is not None and not wanted.words:
        raise typer.BadParameter("--caption-weight is for words: a picture alone is compared with pictures")
    if wanted.image is None and not " ".join(wanted.words or []).strip():
        raise VsearchError("the query is empty", "give words, --image PHOTO, or both")


def run_search(text: str, wanted: Wanted, printing: Printing, place: Place, *, why: bool) -> None:
    """Search, write the page and print the hits."""
    from index.library import Library
    from index.search import searcher
    from vsearch.scores import Kind, Scores

    folder = model_folder(place.model)
    space = load_words(folder) if text or why else None
    kind: Kind = "words" if text else "picture"
    ranking = Scores.load(folder)
    with Library.open(library_path(place.library), read_only=True) as opened:
        check_model(opened, place.model)
        hits = searcher.search(
            opened,
            query_vector(text, space, wanted.image, folder, place.device),
            wanted.count,
            kind=kind,
            ranking=ranking,
            weight=wanted.caption_weight,
            within=wanted.within,
            since=None if wanted.since is None else nanoseconds(wanted.since),
            until=None if wanted.until is None else nanoseconds(wanted.until + timedelta(days=1)),
            min_score=wanted.min_score,
            exact=wanted.exact or None,
        )
        check_folder(wanted.within, found=bool(hits))
        reasons = why_words(space, opened, hits) if why and space is not None else {}
        total = opened.count() if printing.html is not None else 0  # 60 ms in a million
    if printing.html is not None:
        from index.page.page import write_page

        shares = ranking.is_calibrated(kind)
        write_page(printing.html, text, hits, image=wanted.image, why=reasons, total=total, shares=shares)
    print_hits(hits, reasons, printing)


@app.command()
@expanded
def similar(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="In the library or not.", show_default=False)],
    count: CountOption = 10,
    within: WithinOption = None,
    min_score: MinScoreOption = None,
    *,
    printing: Printing,
    place: Place,
) -> None:
    """Find other pictures like a photo.

    The network is not asked about a photo that the library has as it is.

    \b
    Example:
      vsearch similar dog.jpg
      vsearch similar ~/Pictures/dog.jpg -k 5 --html dogs.html
    """
    check_printing(printing, min_score)
    from index.library import Library
    from index.paths import absolute
    from index.search import searcher
    from vsearch.scores import Scores

    folder = model_folder(place.model)
    ranking = Scores.load(folder)
    with Library.open(library_path(place.library), read_only=True) as opened:
        check_model(opened, place.model)
        mine = opened.picture(absolute(photo))
        vector = stored_vector(opened, mine)
        if vector is None:
            vector = query_vector("", None, photo, folder, place.device)
        found = searcher.search(
            opened, vector, count + 1, kind="picture", ranking=ranking, within=within, min_score=min_score
        )
        hits = [hit for hit in found if mine is None or hit.id != mine.id][:count]
        check_folder(within, found=bool(found))
        total = opened.count() if printing.html is not None else 0
    if printing.html is not None:
        from index.page.page import write_page

        write_page(printing.html, "", hits, image=photo, total=total, shares=ranking.is_calibrated("picture"))
    print_hits(hits, {}, printing)


def check_printing(printing: Printing, min_score: float | None) -> None:
    """Raises BadParameter where hits are asked for in two forms, or above no number."""
    if printing.as_json and (printing.paths or printing.nul):
        raise typer.BadParameter("--json and --paths exclude each other")
    if min_score is not None and not math.isfinite(min_score):
        raise typer.BadParameter("--min-score takes a number")


def print_hits(hits: Sequence[Hit], reasons: Reasons, printing: Printing) -> None:
    """Print hits in the form that was asked for."""
    if printing.paths or printing.nul:
        for hit in hits:
            out(hit.path, "\0" if printing.nul else "\n")
    elif printing.as_json:
        out(json.dumps([hit_row(hit, reasons) for hit in hits], indent=2))
    else:
        for hit in hits:
            out(f"{hit.score:6.3f}  {shown_path(hit.path)}")
            if hit.caption:
                out(f"        {shown(hit.caption)}")
            if hit.id in reasons:
                out(f"        near: {', '.join(reasons[hit.id])}")
    if not hits:
        remark("no picture fits")


def hit_row(hit: Hit, reasons: Reasons) -> dict[str, Any]:
    """Return a hit as an object of JSON."""
    scores = {"score": round(hit.score, 4), "cosine": round(hit.cosine, 4)}
    row = {"path": hit.path, **scores, "caption": hit.caption}
    return {**row, "why": reasons[hit.id]} if hit.id in reasons else row


def nanoseconds(moment: datetime) -> int:
    """Return local time as the dates of files have it: ns since 1970."""
    return int(moment.timestamp()) * 1_000_000_000


def query_vector(text: str, space: PhraseSpace | None, image: Path | None, folder: Path, device: str) -> Vector:
    """The unit vector to look for: of the words, of the picture, or the sum of both."""
    import numpy as np

    parts: list[Vector] = []
    if text and space is not None:
        from vsearch.text.phrase import parse

        query = space.query(parse(text))
        if query.unknown:
            remark(f"not in the dictionary: {', '.join(query.unknown)} (a guess from their letters is used)")
        parts.append(query.vector)
    if image is not None:
        from vsearch.model import Model

        try:
            parts.append(Model(folder, device).embed_image(image))
        except PictureError as error:
            raise VsearchError(f"{shown_path(image)}: {error}", "name a picture that can be read") from None
    vector = np.sum(parts, axis=0)
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise VsearchError("words and picture cancel each other out", "leave one of them away")
    return np.asarray(vector / length, np.float32)


def stored_vector(library: Library, picture: Picture | None) -> Vector | None:
    """The vector (D,) that the library has of a picture; None if its file is not as it was."""
    if picture is None:
        return None
    try:
        file = os.stat(picture.path)
    except OSError:
        return None
    if (file.st_size, file.st_mtime_ns) != (picture.size, picture.mtime_ns):
        return None
    _, vectors = library.vectors([picture.id])
    return vectors[0] if len(vectors) else None


def why_words(space: PhraseSpace, library: Library, hits: Sequence[Hit], k: int = 5) -> Reasons:
    """The `k` telling words nearest to each hit, by its id."""
    import numpy as np

    words = telling_words(space)
    table = space.vectors_of([word] for word in words)  # (W, D), in the space where the pictures are
    ids, vectors = library.vectors([hit.id for hit in hits])
    orders = [np.argsort(-(table @ vector), kind="stable")[:k] for vector in vectors]
    return {int(id_): [words[i] for i in order] for id_, order in zip(ids, orders, strict=True)}


def telling_words(space: PhraseSpace) -> list[str]:
    """The words of the training captions that are neither in most of them nor too rare to be sure of."""
    known = (word for word in space.idf if word in space.vectors)
    usual = max(space.idf.values(), default=0.0)
    return sorted(word for word in known if COMMON < space.idf[word] < usual) or sorted(space.idf)


def translated_query(text: str, translator: Translator) -> str:
    """The query in the translator's target language: plain words as one sentence, every other term by itself."""
    from vsearch.text.phrase import parse
    from vsearch.text.tokenise import tokenise

    terms = parse(text)
    others = [term for term in terms if term.weight != 1 or len(term.words) > 1]
    plain = [term for term in terms if term not in others]
    phrases = [" ".join(word for term in plain for word in term.words)] if plain else []
    if not others:
        phrases = [text.replace('"', "")]  # as it was written, hyphens and elisions included
    found = translator.translate([*phrases, *(" ".join(term.words) for term in others)])
    words = [" ".join(tokenise(one.text)) for one in found]
    queries = [f'{term.weight:g}*"{own}"' for term, own in zip(others, words[len(phrases) :], strict=True) if own]
    return " ".join([*words[: len(phrases)], *queries]).strip()
