"""`vsearch search` and `vsearch similar`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from index.commands.noted import Noted, note_row
from index.commands.options import StorePlace, WithinOption, check_folder, opened_with_model, remark_none
from index.commands.pictures import Pictures
from index.commands.shot import Shot, detail_row, remark_missing
from index.paths import file_of, titled
from vsearch.commands.group import expanded
from vsearch.commands.options import ForceOption, JsonOption, TranslatorOption
from vsearch.commands.preview import NoPreviewOption, Previews
from vsearch.commands.translate import load_translator
from vsearch.console import EMPTY, out, out_json, out_path, remark, shown, shown_path
from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from index.library import Library
    from index.search.searcher import Hit

    Reasons = Mapping[int, list[str]]

CountOption = Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many pictures.")]
MinScoreOption = Annotated[
    float | None, typer.Option("--min-score", metavar="X", help="Only pictures that score X or more.")
]
TextOption = Annotated[
    str | None,
    typer.Option("--text", metavar="TEXT", help="Only pictures that say this: caption, keywords, file name, or in it."),
]

app = typer.Typer(rich_markup_mode=None)


class SearchCommand(TyperCommand):
    """Takes `-sail` for a word to subtract, not for options -s -a -i -l."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the subtracted words behind the options, then parse."""
        valued = {o for p in self.params if not getattr(p, "is_flag", True) for o in p.opts}
        return super().parse_args(ctx, subtracted_last(args, valued))


def subtracted_last(args: Sequence[str], valued: set[str]) -> list[str]:
    """Return `args` with the words of the query that start with a minus moved behind `--`, where no option is looked
    for.

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
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths.")] = False
    nul: Annotated[bool, typer.Option("-0", help="Print only paths, a NUL after each, for xargs -0.")] = False
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the pictures, too.")
    ] = None
    force: ForceOption = False
    no_preview: NoPreviewOption = False
    fail_if_empty: Annotated[bool, typer.Option("--fail-if-empty", help="Exit with code 4 if no picture is found.")] = (
        False
    )


@dataclass(frozen=True)
class Wanted:
    """What is looked for, and among which pictures."""

    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="What to look for.", show_default=False)
    ] = None
    image: Annotated[Path | None, typer.Option(metavar="PHOTO", help="Look for pictures like this one.")] = None
    count: CountOption = 10
    within: WithinOption = None
    min_score: MinScoreOption = None
    caption_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="W", help="How much captions count, 0 to 1; default: the model's."),
    ] = None
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every picture, whatever their number.")] = False
    text: TextOption = None
    no_taught: Annotated[bool, typer.Option("--no-taught", help="Without what was learned from votes.")] = False


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
def search(
    wanted: Wanted,
    shot: Shot,
    noted: Noted,
    pictures: Pictures,
    printing: Printing,
    why: WhyOption = False,
    *,
    language: Language,
    place: StorePlace,
) -> None:
    """Find the pictures nearest to words, to a picture, or to both.

    Words are averaged. -sail subtracts a word, 2*boat weighs it, "hot dog" in double quotes is one label. Words and
    --image together are mixed, half and half. --like is as --image, and may be given often: each picture counts as all
    words together, times its weight, and --unlike subtracts one. --text finds what captions, keywords, names of files
    and the pictures themselves say: all its words, "two words" in a row, sto* with any ending; next to words or
    pictures it narrows the answer. The score is how likely the photo shows what was asked, where the model knows that.
    --html replaces an earlier page of vsearch, but no other file unless --force.

    \b
    Example:
      vsearch search "boat engine"
      vsearch search "-sail 2*boat" -k 5
      vsearch search 'street "hot dog"' --html results.html
      vsearch search snow --image dog.jpg --in ~/Pictures/2024
      vsearch search --like dog.jpg --like 2:snow.jpg --unlike cat.jpg
      vsearch search sunset --since 2024-06-01 --near 48.858,2.294,20 --sort taken
      vsearch search --text '"stop sign"' --in ~/Pictures/2024
      vsearch search --from fr "bateau à moteur"
      vsearch search beach -0 | xargs -0 cp -t beach/
    """
    check_printing(printing, wanted.min_score)
    check_wanted(wanted, pictures)
    if why and (printing.paths or printing.nul):
        raise typer.BadParameter("--why does not go with --paths or -0")
    if language.source is not None and not wanted.words:
        raise typer.BadParameter("--from translates words, and there are none")
    if language.translator is not None and language.source is None:
        raise typer.BadParameter("--translator needs --from LANGUAGE")
    text = " ".join(wanted.words or [])
    if language.source is not None:
        from vsearch.translation.query import translate_query

        text = translate_query(text, load_translator(language.source, "en", language.translator, place.device))
        remark(f"understood: {text}")
    run_search(text, wanted, shot.filters() | noted.filters(), shot, pictures, printing, place, why=why)


def check_wanted(wanted: Wanted, pictures: Pictures) -> None:
    """Raise BadParameter or VsearchError if nothing is looked for."""
    if not wanted.words and wanted.image is None and not pictures:
        if wanted.text is None:
            raise typer.BadParameter("give words, --image PHOTO, or both")
        if wanted.min_score is not None:
            raise typer.BadParameter("--min-score needs words or a picture: a text has no score")
    if wanted.caption_weight is not None and not wanted.words:
        raise typer.BadParameter("--caption-weight is for words: a picture alone is compared with pictures")
    if wanted.words is not None and wanted.image is None and not pictures and not " ".join(wanted.words or []).strip():
        raise VsearchError("the query is empty", "give words, --image PHOTO, or both")


def run_search(
    text: str,
    wanted: Wanted,
    filters: Mapping[str, Any],
    shot: Shot,
    pictures: Pictures,
    printing: Printing,
    place: StorePlace,
    *,
    why: bool,
) -> None:
    """Search, write the page and print the hits."""
    like, unlike = pictures.wanted(), pictures.unwanted()
    scored = bool(text or wanted.image or pictures)
    images = [*([] if wanted.image is None else [wanted.image]), *(photo for photo, _ in like)]
    with opened_with_model(place, read_only=True) as (library, model):
        check_html(printing, [*images, *(photo for photo, _ in unlike)], library)
        query = library.query(text) if text else None
        if query is not None and query.unknown:
            remark(f"not in the dictionary: {', '.join(query.unknown)} (a guess from their letters is used)")
        for word, other in (model.space.meant(model.query(text)) if text else {}).items():
            remark(f"{word}: did you mean {other}?")
        hits = library.search(
            query,
            image=wanted.image,
            like=like,
            unlike=unlike,
            text=wanted.text,
            k=wanted.count,
            within=wanted.within,
            min_score=wanted.min_score,
            caption_weight=wanted.caption_weight,
            exact=wanted.exact or None,
            taught=not wanted.no_taught,
            **filters,
        )
        check_folder(wanted.within, found=bool(hits))
        remark_missing(library, shot)
        reasons = library.explain(hits) if why else {}
        if printing.html is not None:
            shares = model.scores.is_calibrated("words" if text else "picture")
            print_page(
                printing, text or wanted.text or "", hits, images, library, reasons, shares=shares, scored=scored
            )
        print_hits(hits, reasons, printing, library, scored=scored)
        if not hits:
            remark_none(library, wanted.within)
            end_empty(printing)


@app.command()
@expanded
def similar(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="In the library or not.", show_default=False)],
    count: CountOption = 10,
    within: WithinOption = None,
    min_score: MinScoreOption = None,
    *,
    shot: Shot,
    noted: Noted,
    printing: Printing,
    place: StorePlace,
) -> None:
    """Find other pictures like a photo.

    If the photo is already in the library, its stored vector is used. --html replaces an earlier page of vsearch,
    but no other file unless --force.

    \b
    Example:
      vsearch similar dog.jpg
      vsearch similar ~/Pictures/dog.jpg -k 5 --html dogs.html
    """
    check_printing(printing, min_score)
    filters = shot.filters() | noted.filters()
    with opened_with_model(place, read_only=True) as (library, model):
        check_html(printing, [photo], library)
        hits = library.similar(photo, count, within=within, min_score=min_score, **filters)
        check_folder(within, found=bool(hits))
        remark_missing(library, shot)
        if printing.html is not None:
            print_page(printing, "", hits, [photo], library, {}, shares=model.scores.is_calibrated("picture"))
        print_hits(hits, {}, printing, library)
        if not hits:
            remark_none(library, within)
            end_empty(printing)


def end_empty(printing: Printing) -> None:
    """End the command with exit code 4, where that was asked for: nothing was found, which is no error."""
    if printing.fail_if_empty:
        raise typer.Exit(EMPTY)


def check_printing(printing: Printing, min_score: float | None) -> None:
    """Raise BadParameter if hits are asked for in two forms, or above no number."""
    if printing.as_json and (printing.paths or printing.nul):
        raise typer.BadParameter("--json and --paths exclude each other")
    if min_score is not None and not math.isfinite(min_score):
        raise typer.BadParameter("--min-score takes a number")


def check_html(printing: Printing, images: Sequence[Path], library: Library) -> None:
    """Raise VsearchError, before any work is done, where the page would replace what it must not."""
    if printing.html is not None:
        from index.page.page import check_page

        check_page(printing.html, images, library.path, force=printing.force)


def print_page(
    printing: Printing,
    text: str,
    hits: Sequence[Hit],
    images: Sequence[Path],
    library: Library,
    reasons: Reasons,
    *,
    shares: bool,
    scored: bool = True,
) -> None:
    """Write the page with the hits of words `text` and of `images`; scores are `shares` of hits that fit, or not."""
    from index.page.page import write_page

    assert printing.html is not None
    write_page(
        printing.html,
        text,
        hits,
        images=images,
        why=reasons,
        total=library.count(),
        shares=shares,
        scored=scored,
        library=library.path,
        force=printing.force,
    )


def print_hits(
    hits: Sequence[Hit], reasons: Reasons, printing: Printing, library: Library, *, scored: bool = True
) -> None:
    """Print hits in the form that was asked for; those of a text only have no score."""
    from index.database.texts import SAID

    if printing.paths or printing.nul:
        for file in dict.fromkeys(file_of(hit.path) for hit in hits):
            out_path(file, "\0" if printing.nul else "\n")
    elif printing.as_json:
        details, notes = library.details(hits), library.notes(hits)
        rows = (detail_row(details.get(hit.id)) | note_row(notes.get(hit.id)) for hit in hits)
        out_json([hit_row(hit, reasons, scored=scored) | row for hit, row in zip(hits, rows, strict=True)])
    else:
        previews = Previews(wanted=not printing.no_preview)
        for hit in hits:
            previews.show(hit.path)
            name = shown_path(titled(hit.path))
            out(f"{hit.score:6.3f}  {name}" if scored else name)
            if hit.caption:
                out(f"        {hit.caption}")
            if hit.match is not None and hit.match.field != "caption":
                out(f"        {SAID[hit.match.field]}: {shown(hit.match.snippet)}")
            if hit.id in reasons:
                out(f"        near: {', '.join(reasons[hit.id])}")


def hit_row(hit: Hit, reasons: Reasons, *, scored: bool = True) -> dict[str, Any]:
    """Return a hit as an object of JSON."""
    scores = {"score": round(hit.score, 4), "cosine": round(hit.cosine, 4)} if scored else {}
    row: dict[str, Any] = {"path": hit.path, **scores, "caption": hit.caption}
    if hit.match is not None:
        row["text"] = hit.match._asdict()
    return {**row, "why": reasons[hit.id]} if hit.id in reasons else row
