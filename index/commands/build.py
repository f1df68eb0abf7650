"""`vsearch build-index`, `vsearch reindex` and `vsearch forget`: what changes a library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index.commands.leave_out import LeaveOut, remark_excluded
from index.commands.options import LibraryOption, Place, SourcesArgument, opened_with_model, shown_library
from index.commands.shards import Far, is_far, run_shards
from index.commands.watch import Watching, run_watch
from index.paths import absolute, default_path, inside
from vsearch.commands.group import expanded
from vsearch.commands.options import BeamOption, DeviceOption, ModelOption
from vsearch.commands.settings import was_typed
from vsearch.console import UNREADABLE, many, out, progress_bar, remark, shown, shown_path
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError
from vsearch.image.kinds import OPTIONAL, VIDEOS

if TYPE_CHECKING:
    from index.build.report import Report
    from index.library import Library

CaptionsOption = Annotated[bool, typer.Option("--captions/--no-captions", help="Describe each picture, too.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Pictures the network sees at once.")]

LinksOption = Annotated[
    bool | None, typer.Option("--follow-links/--no-follow-links", help="Look into folders that links lead to.")
]

VideosOption = Annotated[
    float | None,
    typer.Option("--video-every", metavar="SECONDS", help="Take a frame of videos so often; 0 leaves videos out."),
]

OcrOption = Annotated[
    bool | None, typer.Option("--ocr/--no-ocr", help="Read the text in pictures, too, when all else is done.")
]

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True)
class Work:
    """How pictures are embedded and described."""

    batch: BatchOption = 32
    beam: BeamOption = None
    model: ModelOption = None
    device: DeviceOption = "auto"


@app.command("build-index")
@expanded
def build_index(
    context: typer.Context,
    folders: SourcesArgument = None,
    library: LibraryOption = None,
    captions: CaptionsOption = True,
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed all pictures again, as for another model.")] = False,
    follow_links: LinksOption = None,
    video_every: VideosOption = None,
    ocr: OcrOption = None,
    *,
    leave_out: LeaveOut,
    watching: Watching,
    work: Work,
    far: Far,
) -> None:
    """Embed and describe every picture below some folders, and keep them in the library.

    Running it again only does what changed. One line on stdout says what that was; files that are no readable picture
    are skipped and listed on stderr. Links to files are followed; what a link to a folder leads to is left out, and
    stderr says so, unless --follow-links, which later builds of the library remember, as they do --video-every and
    --exclude. Folders with a file .nomedia, what a file .vsearchignore says, and thumbnails of NAS systems are left
    out, too. --ocr, remembered as well, reads the text in each picture for search --text, at low priority; interrupted,
    the next build goes on. The exit code is 0, 1 if nothing could be done, 3 if a folder could not be read.

    With --watch it goes on: a photo that arrives is found seconds later, one that goes is forgotten, with a line on
    stderr. It needs the extra watch, or --poll.

    With --store, folders, tars of photos (WebDataset) and s3:// prefixes are built into a store, in shards of 500 to
    1,000 photos, by this process or by a Ray cluster. What is done is marked, so that a build that was killed goes on
    where it was. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and their like).

    \b
    Example:
      vsearch build-index ~/Pictures
      vsearch build-index ~/Pictures /media/photos --no-captions
      vsearch build-index ~/Pictures --exclude '*.tmp.jpg' --exclude raw/
      vsearch build-index ~/Videos --video-every 10
      vsearch build-index ~/Scans --ocr
      vsearch build-index ~/Pictures --watch
      vsearch build-index s3://photos/shards/ --store milvus://db:19530/photos --ray auto
    """
    named = list(folders or [])
    watching.check(folders=bool(named), reindex=reindex)
    if is_far(named, far):
        if was_typed(context, "library"):
            raise VsearchError("a build writes to one place", "name either --library or --store")
        if was_typed(context, "exclude", "no_exclude"):
            raise typer.BadParameter("--exclude and --no-exclude are for libraries: a store remembers no patterns")
        if ocr:
            raise typer.BadParameter("--ocr is for libraries: a store is not searched for text")
        if watching.watch:
            raise typer.BadParameter("--watch is for libraries")
        run_shards(named, far, work, captions=captions, reindex=reindex, follow_links=bool(follow_links))
        return
    how: dict[str, Any] = {"follow_links": follow_links, "video_every": video_every, "ocr": ocr}
    how |= leave_out.patterns()
    if watching.watch:
        how |= {"captions": captions, "batch": work.batch, "beam": work.beam}
        place = Place(library, work.model, work.device)
        for report in run_watch(place, list(map(Path, named)), watching, **how):
            print_report(report, shown_path(library or default_path()))
        return
    run_build(library, list(map(Path, named)), work, captions=captions, reindex=reindex, **how)


@app.command()
@expanded
def reindex(library: LibraryOption = None, captions: CaptionsOption = True, *, work: Work) -> None:
    """Embed and describe every picture of the library again, as another model needs.

    What cannot be read at the moment (a disk that is not there) is forgotten until a build finds it again. Output and
    exit codes are those of build-index.

    \b
    Example:
      vsearch reindex
      vsearch reindex --model my-model --library my.library
    """
    run_build(library, [], work, captions=captions, reindex=True)


@app.command()
def forget(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Folders that `vsearch info` shows.", show_default=False)
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, even if a folder holds several of the library's.")
    ] = False,
    library: LibraryOption = None,
) -> None:
    """Take folders and all pictures below them out of the library; no file is touched.

    A folder that was never indexed itself, and holds ones that were, takes them with it; that is asked first. Captions
    by hand and votes go with the last picture of their content, and thumbnails.

    \b
    Example:
      vsearch forget /media/old-disk
    """
    from index.library import Library

    with Library.open(library) as opened:
        if not yes:
            ask_before_more(opened, folders)
        done = opened.forget(folders)
    gone = f"forgot {many(done.pictures, 'picture')} below {many(done.folders, 'folder')} in {done.seconds:.1f} s"
    out(f"{gone}; {many(done.total, 'picture')} in {shown_library(opened, library)}")
    if done.captions or done.votes:
        remark(f"{many(done.captions, 'caption')} by hand and {many(done.votes, 'vote')} went with them")
    for folder, above in done.covered:
        remark(f"{folder} lies below {above}: the next build of that brings it back")


def ask_before_more(library: Library, folders: Sequence[Path]) -> None:
    """Ask before folders are forgotten that nobody named. Raises VsearchError where nobody can be asked, or says no."""
    known = library.folders()
    for folder in map(absolute, folders):
        more = [one for one in known if inside(one, folder)]
        if not more or folder in known:
            continue
        what = f"{shown(folder)} takes {many(len(more), 'folder')} with {many(library.count(folder), 'picture')}"
        if not sys.stdin.isatty():
            raise VsearchError(
                f"{what} out of the library", "add --yes if that is meant, or name folders of `vsearch info`"
            )
        if not typer.confirm(f"{what} out of the library. Go on?", err=True):
            raise typer.Exit(1)


def run_build(
    path: Path | None,
    folders: Sequence[Path],
    work: Work,
    *,
    captions: bool,
    reindex: bool,
    **how: Any,
) -> None:
    """Build, and tell what was done; exit code 3 where a folder could not be read."""
    place = Place(path, work.model, work.device)
    with opened_with_model(place, reindex=reindex) as (library, _), progress_bar("pictures") as progress:
        report = library.build(
            folders,
            captions=captions,
            batch=work.batch,
            beam=work.beam,
            reindex=reindex,
            progress=progress,
            **how,
        )
    print_report(report, shown_library(library, path))
    if report.unreadable:
        raise typer.Exit(UNREADABLE)


def print_report(report: Report, library: str) -> None:
    """Print what a build did, and on stderr what it could not do."""
    out(report_line(report, library))
    if not report.total:
        remark("no file there ends like a picture" if not report.skipped else "no file there is a readable picture")
    remark_excluded(report)
    for path, reason in report.skipped:
        remark(f"skipped {shown_path(path)}: {reason}")
    if report.unread:
        remark(f"text was not read in {many(report.unread, 'picture')}: {install_hint('ocr')}, or --no-ocr")
    if report.links:
        some = ", ".join(shown_path(path) for path in report.links[:3]) + (", ..." if len(report.links) > 3 else "")
        remark(f"did not follow {many(len(report.links), 'link')} to folders ({some}); --follow-links does")
    for noun, number in report.left_out.items():
        remark(left_out_line(noun, number))
    for path, reason in report.unreadable:
        remark(f"could not look into {shown_path(path)}: {reason}")


def left_out_line(noun: str, number: int) -> str:
    """Return how many files of a kind were left out, and what makes builds read them."""
    kind = next(kind for kind in OPTIONAL if kind.noun == noun)
    steps = [] if kind.readable() else [install_hint(kind.extra)]
    if kind is VIDEOS:
        steps.append("--video-every 10 takes a frame every ten seconds")
    return f"left out {many(number, noun)}: {', then '.join(steps)}"


def report_line(report: Report, library: str) -> str:
    """Return what `build-index` did, in one line."""
    changes = {"added": report.added, "updated": report.updated, "moved": report.moved}
    changes |= {"captioned": report.captioned, "removed": report.removed}
    others = {"unchanged": report.unchanged, "skipped": len(report.skipped), "unreadable": len(report.unreadable)}
    if report.read:
        library += f"; text read in {many(report.read, 'picture')} in {report.reading:.1f} s"
    told = [f"{number} {name}" for name, number in (changes | others).items() if number]
    if not any(changes.values()):
        told.insert(0, "nothing changed")
    return f"{', '.join(told)} in {report.seconds:.1f} s; {many(report.total, 'picture')} in {library}"
