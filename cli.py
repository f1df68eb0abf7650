"""The command line: it parses, calls and prints; nothing else prints or exits. Console script: vsearch = "cli:main".

Results go to stdout, progress and remarks to stderr. A search by words must answer at once, so torch and everything
else that is slow to import is imported inside the functions that need it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vsearch.errors import PictureError, VsearchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from index.build.build import Report
    from index.database.database import Database
    from index.database.read import Picture
    from index.duplicates import Group
    from index.search.searcher import Hit
    from training.evaluate.devise import Column, DevPictures
    from training.evaluate.scores import Report as RankingReport
    from training.loop.task import Progress
    from training.tasks.labels import Labelled
    from vsearch.model import Caption, Label
    from vsearch.text.phrase import PhraseSpace
    from vsearch.translation.translator import Translation, Translator

    Vector = NDArray[np.float32]
    Reasons = dict[int, list[str]]

DRAWABLE = (".png", ".jpg", ".jpeg", ".webp")
PATIENCE = 2.0  # seconds before a progress bar appears
UNREADABLE = 3  # exit code of a build that could not look into some folder
INTERRUPTED = 130  # exit code after Ctrl-C, as a shell gives it
COMMON = 2.0  # idf of a word in one caption of seven: "a", "in", "the" and the like lie below it


class Commands(TyperGroup):
    """Turns expected errors into one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except VsearchError as error:
            fail(str(error), error.hint)
        except BrokenPipeError:
            raise  # whoever read our output has had enough: Typer ends quietly
        except OSError as error:
            name = "" if error.filename is None else f": {shown(os.fsdecode(error.filename))}"
            fail(f"{error.strerror or error}{name}", "check that the path exists and may be used")
        except KeyboardInterrupt:
            remark("interrupted")
            raise typer.Exit(INTERRUPTED) from None


class SearchCommand(TyperCommand):
    """Takes `-sail` for a word to subtract, not for options -s -a -i -l."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        valued = {o for p in self.params if not getattr(p, "is_flag", True) for o in p.opts}
        return super().parse_args(ctx, subtracted_last(args, valued))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search a folder of photos by words, by pictures and by both, and have it described.",
)

LibraryOption = Annotated[
    Path | None, typer.Option("--library", metavar="PATH", help="Library of pictures; default: in your data directory.")
]
ModelOption = Annotated[Path | None, typer.Option("--model", metavar="FOLDER", help="Model; default: the bundled one.")]
DeviceOption = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
BeamOption = Annotated[
    int | None, typer.Option("--beam", min=1, metavar="N", help="Beams per caption; default: the model's own number.")
]
CountOption = Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many pictures.")]
WithinOption = Annotated[Path | None, typer.Option("--in", metavar="FOLDER", help="Only pictures below it.")]
MinScoreOption = Annotated[
    float | None, typer.Option("--min-score", metavar="X", help="Only pictures that score X or more.")
]
PathsOption = Annotated[bool, typer.Option("--paths", help="Print paths alone.")]
NulOption = Annotated[bool, typer.Option("-0", help="Print paths alone, a NUL after each, for xargs -0.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the pictures, too.")]
CaptionsOption = Annotated[bool, typer.Option("--captions/--no-captions", help="Describe each picture, too.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Pictures the network sees at once.")]
DayOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only files changed from that day on, or up to it."),
]
TranslatorOption = Annotated[
    Path | None, typer.Option("--translator", metavar="FOLDER", help="Translator; default: a bundled one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per picture.")]


def main() -> None:
    """The entry point."""
    app(prog_name="vsearch")


@app.command("build-index")
def build_index(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of photos.", show_default=False)],
    library: LibraryOption = None,
    captions: CaptionsOption = True,
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed every picture anew, as for another model.")] = False,
    batch: BatchOption = 32,
    beam: BeamOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Embed and describe every picture below some folders, and keep them in the library.

    Running it again only does what changed. One line on stdout says what that was; files that are no readable picture
    are skipped and listed on stderr. The exit code is 0, 1 if nothing could be done, 3 if a folder could not be read.

    \b
    Example:
      vsearch build-index ~/Pictures
      vsearch build-index ~/Pictures /media/photos --no-captions
    """
    run_build(library, folders, model, device, beam, captions=captions, batch=batch, reindex=reindex)


@app.command()
def reindex(
    library: LibraryOption = None,
    captions: CaptionsOption = True,
    batch: BatchOption = 32,
    beam: BeamOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Embed and describe every picture of the library anew, as another model needs.

    What cannot be read at the moment (a disk that is not there) is forgotten until a build finds it again. Output and
    exit codes are those of build-index.

    \b
    Example:
      vsearch reindex
      vsearch reindex --model my-model --library my.library
    """
    run_build(library, [], model, device, beam, captions=captions, batch=batch, reindex=True)


@app.command()
def forget(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Folders that `vsearch info` shows.", show_default=False)
    ],
    library: LibraryOption = None,
) -> None:
    """Take folders and all pictures below them out of the library; no file is touched.

    \b
    Example:
      vsearch forget /media/old-disk
    """
    from index.database.database import Database
    from index.forget import forget as run

    place = library_path(library)
    with Database.open(place) as opened:
        done = run(opened, folders)
    gone = f"forgot {many(done.pictures, 'picture')} below {many(done.folders, 'folder')} in {done.seconds:.1f} s"
    out(f"{gone}; {many(done.total, 'picture')} in {shown_path(place)}")
    for folder, above in done.covered:
        remark(f"{folder} lies below {above}: the next build of that brings it back")


@app.command(cls=SearchCommand)
def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="What to look for.", show_default=False)
    ] = None,
    image: Annotated[Path | None, typer.Option(metavar="PHOTO", help="Look for pictures like this one.")] = None,
    count: CountOption = 10,
    within: WithinOption = None,
    since: DayOption = None,
    until: DayOption = None,
    min_score: MinScoreOption = None,
    caption_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="W", help="How much captions count, 0 to 1; default: the model's."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every picture, whatever their number.")] = False,
    as_json: JsonOption = False,
    paths: PathsOption = False,
    nul: NulOption = False,
    html: HtmlOption = None,
    why: Annotated[
        bool, typer.Option("--why", help="Name the words of the training captions nearest to each picture.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--from", metavar="LANGUAGE", help="Translate the words from it: de or fr.")
    ] = None,
    translator: TranslatorOption = None,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
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
    check_printing(min_score, as_json=as_json, bare=paths or nul)
    if not words and image is None:
        raise typer.BadParameter("give words, --image PHOTO, or both")
    if caption_weight is not None and not words:
        raise typer.BadParameter("--caption-weight is for words: a picture alone is compared with pictures")
    if image is None and not " ".join(words or []).strip():
        raise VsearchError("the query is empty", "give words, --image PHOTO, or both")
    if why and (paths or nul):
        raise typer.BadParameter("--why has no place among bare paths")
    if source is not None and not words:
        raise typer.BadParameter("--from translates words, and there are none")
    if translator is not None and source is None:
        raise typer.BadParameter("--translator needs --from LANGUAGE")
    from index.database.database import Database
    from index.search.query import Filter, Query
    from index.search.searcher import Searcher
    from vsearch.scores import Kind, Scores

    folder, text = model_folder(model), " ".join(words or [])
    if source is not None:
        text = translated_query(text, load_translator(source, "en", translator, device))
        remark(f"understood: {text}")
    space = load_words(folder) if text or why else None
    kind: Kind = "words" if text else "picture"
    ranking = Scores.load(folder)
    with Database.open(library_path(library), read_only=True) as opened:
        check_model(opened, model)
        vector = query_vector(text, space, image, folder, device)
        only = Filter(within, since, None if until is None else until + timedelta(days=1), min_score)
        query = Query(vector, kind, (), identity_of(folder))
        hits = Searcher(opened, ranking).search(query, count, only, caption_weight=caption_weight, exact=exact or None)
        check_folder(within, found=bool(hits))
        reasons = why_words(space, opened, hits) if why and space is not None else {}
        total = opened.read.count() if html is not None else 0  # 60 ms in a million
    if html is not None:
        from index.page.page import write_page

        write_page(html, text, hits, image=image, why=reasons, total=total, shares=ranking.is_calibrated(kind))
    print_hits(hits, reasons, as_json=as_json, paths=paths, nul=nul)


@app.command()
def similar(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="In the library or not.", show_default=False)],
    count: CountOption = 10,
    within: WithinOption = None,
    min_score: MinScoreOption = None,
    as_json: JsonOption = False,
    paths: PathsOption = False,
    nul: NulOption = False,
    html: HtmlOption = None,
    library: LibraryOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Find other pictures like a photo.

    The network is not asked about a photo that the library has as it is.

    \b
    Example:
      vsearch similar dog.jpg
      vsearch similar ~/Pictures/dog.jpg -k 5 --html dogs.html
    """
    check_printing(min_score, as_json=as_json, bare=paths or nul)
    from index.database.database import Database
    from index.paths import absolute
    from index.search.query import Filter, Query
    from index.search.searcher import Searcher
    from vsearch.scores import Scores

    folder = model_folder(model)
    with Database.open(library_path(library), read_only=True) as opened:
        check_model(opened, model)
        mine = opened.read.picture(absolute(photo))
        vector = stored_vector(opened, mine)
        if vector is None:
            vector = query_vector("", None, photo, folder, device)
        ranking = Scores.load(folder)
        query = Query(vector, "picture", (), identity_of(folder))
        found = Searcher(opened, ranking).search(query, count + 1, Filter(within, min_score=min_score))
        hits = [hit for hit in found if mine is None or hit.id != mine.id][:count]
        check_folder(within, found=bool(found))
        total = opened.read.count() if html is not None else 0
    if html is not None:
        from index.page.page import write_page

        write_page(html, "", hits, image=photo, total=total, shares=ranking.is_calibrated("picture"))
    print_hits(hits, {}, as_json=as_json, paths=paths, nul=nul)


@app.command()
def duplicates(
    threshold: Annotated[
        float | None, typer.Option(min=-1, metavar="X", help="Cosine from which on pictures are one; 2: equal files.")
    ] = None,
    within: WithinOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per group.")] = False,
    library: LibraryOption = None,
) -> None:
    """List groups of near-identical pictures: copies, and those resized, compressed anew or slightly cropped.

    The largest file of a group stands first; above each group, the bytes of the others. Nothing is deleted.

    \b
    Example:
      vsearch duplicates
      vsearch duplicates --in ~/Pictures/2024 --threshold 0.99 --json
    """
    from index import duplicates as finding
    from index.database.database import Database

    limit = finding.THRESHOLD if threshold is None else threshold
    if not math.isfinite(limit):
        raise typer.BadParameter("--threshold takes a number")
    with Database.open(library_path(library), read_only=True) as opened, progress_bar("pictures") as show:
        groups = finding.duplicates(opened, limit, within=within, progress=show)
        check_folder(within, found=bool(groups))
    if as_json:
        out(json.dumps([group_row(group) for group in groups], indent=2))
        return
    for group in groups:
        kind = "equal files" if group.exact else "pictures"
        out(f"{len(group.pictures)} {kind}, {group.freed:,} bytes but for the first")
        for picture in group.pictures:
            out(f"{picture.size:>12,}  {shown_path(picture.path)}")
    spare = sum(len(group.pictures) - 1 for group in groups)
    freed = sum(group.freed for group in groups)
    out(f"{many(len(groups), 'group')}; to spare: {many(spare, 'picture')}, {freed:,} bytes")


@app.command()
def check(
    library: LibraryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify the library: database, vectors, caches, recall of the graph, missing files.

    A line for each finding, with its remedy. The exit code is 0 if all is well, else 1. Caches that are damaged are
    deleted.

    \b
    Example:
      vsearch check
      vsearch check --library my.library --json
    """
    from dataclasses import asdict

    from index.check import check as run
    from index.database.database import Database

    with Database.open(library_path(library), read_only=True) as opened:
        seen = run(opened)
    if as_json:
        out(json.dumps(asdict(seen), indent=2))
    else:
        for finding in seen.findings:
            out(shown(f"{finding.message}; {finding.remedy}"))
        verdict = "all is well" if not seen.findings else many(len(seen.findings), "finding")
        graph = "no graph" if seen.recall is None else f"recall@10 of the graph {seen.recall:.3f}"
        out(f"{verdict}: {many(seen.pictures, 'picture')}, {graph}")
    for path, reason in seen.unseen:
        remark(f"could not look into {path}: {reason}")
    if seen.findings:
        raise typer.Exit(1)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .npy, .jsonl or .parquet.", show_default=False)],
    library: LibraryOption = None,
) -> None:
    """Write the vectors of all pictures, with paths and captions, for other programs.

    .npy holds vectors alone; the pictures stand beside it in NAME.rows.jsonl, in the same order.

    \b
    Example:
      vsearch export vectors.npy
      vsearch export pictures.jsonl --library my.library
    """
    from index.database.database import Database
    from index.export import export as run

    with Database.open(library_path(library), read_only=True) as opened:
        done = run(opened, file)
    out(f"{' and '.join(shown_path(one) for one in done.files)}: {done.count} vectors of {done.dim} numbers")


@app.command()
def caption(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos.", show_default=False)],
    beam: BeamOption = None,
    block_repeats: Annotated[
        bool, typer.Option("--block-repeats", help="No word right after itself, no pair of words twice.")
    ] = False,
    as_json: JsonOption = False,
    heatmap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw where the model looked at each word (one photo).")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="LANGUAGE", help="Translate the captions into it: de or fr.")
    ] = None,
    translator: TranslatorOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Describe photos in a sentence each.

    With --json also the log-probability, the captions that came next and, where the model's attention has a sentinel,
    its share of each word.

    \b
    Example:
      vsearch caption dog.jpg
      vsearch caption dog.jpg --beam 10 --json
      vsearch caption dog.jpg --heatmap attention.png
      vsearch caption dog.jpg --to fr
    """
    if heatmap is not None and len(photos) > 1:
        raise typer.BadParameter("--heatmap draws one photo at a time")
    if heatmap is not None:
        check_drawing(heatmap)
    if translator is not None and target is None:
        raise typer.BadParameter("--translator needs --to LANGUAGE")
    from vsearch.model import Model

    own = None if target is None else load_translator("en", target, translator, device)
    loaded = Model(model_folder(model), device)
    _ = loaded.network  # what is wrong with the model is no fault of a photo
    failed, rows = 0, []
    with progress_bar("photos") as progress:
        for done, photo in enumerate(photos):
            progress(done, len(photos))
            try:
                found = loaded.caption(photo, beam=beam, block_repeats=block_repeats or None)
                if heatmap is not None:
                    draw_heatmap(photo, found, heatmap)
                row = caption_row(photo, found)
                if own is not None:
                    row |= {"english": row["caption"], "caption": own.translate([row["caption"]])[0].text}
            except VsearchError as error:
                failed += 1
                complain(f"{shown_path(photo)}: {error}", error.hint or "name a picture that can be read")
                continue
            rows.append(row)
            if not as_json:
                out(f"{shown_path(photo)}: {row['caption']}")
    if as_json:
        out(json.dumps(rows, indent=2))
    if failed:
        raise typer.Exit(1)


@app.command()
def translate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Sentences, each in quotes.", show_default=False)
    ],
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the text: de, en or fr.")],
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="To translate into.")] = "en",
    translator: TranslatorOption = None,
    beam: BeamOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per sentence.")] = False,
    attention: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what each word looked at (one sentence).")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Translate sentences.

    \b
    Example:
      vsearch translate "un bateau à moteur" --from fr
      vsearch translate "un chien court." "une plage." --from fr --to en --translator my-translator --json
      vsearch translate "un chien court." --from fr --attention alignment.png
    """
    if attention is not None and len(texts) > 1:
        raise typer.BadParameter("--attention draws one sentence at a time")
    if attention is not None:
        check_drawing(attention)
    loaded = load_translator(source, target, translator, device)
    found = loaded.translate(texts, beam)
    unknown = dict.fromkeys(word for text in texts for word in loaded.source.unknown(text))
    if unknown:
        remark(f"not known to the translator: {', '.join(unknown)}")
    if attention is not None:
        draw_alignment(found[0], attention)
    if as_json:
        rows = [(text, one, round(one.log_probability, 4)) for text, one in zip(texts, found, strict=True)]
        out(json.dumps([{"text": t, "translation": o.text, "log_probability": p} for t, o, p in rows], indent=2))
    else:
        for one in found:
            out(shown(one.text))


@app.command()
def label(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos.", show_default=False)],
    nouns: Annotated[
        str, typer.Option(metavar="NAME", help="imagenet, wordnet, or a file with a noun a line.")
    ] = "imagenet",
    count: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many nouns.")] = 5,
    as_json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Name what photos show: the nouns nearest to each, trained on or not, with their cosines.

    imagenet has 1,000 nouns, wordnet 82,115; WordNet itself is not part of vsearch. A file has one noun a line, or a
    WordNet number, a tab and lemmas with commas between; .gz or plain.

    \b
    Example:
      vsearch label dog.jpg
      vsearch label dog.jpg --nouns wordnet -k 10
      vsearch label *.jpg --nouns nouns.txt --json
    """
    from vsearch.model import Model

    loaded = Model(model_folder(model), device)
    left_out = loaded.nouns(nouns).left_out
    if left_out:
        remark(f"{left_out} lemmas left out: none of their words is in the dictionary")
    failed, rows = 0, []
    with progress_bar("photos") as progress:
        for done, photo in enumerate(photos):
            progress(done, len(photos))
            try:
                nearest = loaded.label(photo, nouns, count)
            except PictureError as error:
                failed += 1
                complain(f"{shown_path(photo)}: {error}", error.hint or "name a picture that can be read")
                continue
            rows.append(label_row(photo, nearest))
            if not as_json:
                print_labels(photo, nearest)
    if as_json:
        out(json.dumps(rows, indent=2))
    if failed:
        raise typer.Exit(1)


prepare = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    prepare,
    name="prepare",
    help="""Turn a raw data set into the one file that training reads.

    \b
    Example:
      vsearch prepare captions data/flickr8k captions.h5 --words my-words
    """,
)
OutputArgument = Annotated[Path, typer.Argument(metavar="OUTPUT", help="The file to write.", show_default=False)]
WordsOption = Annotated[
    Path, typer.Option("--words", metavar="FOLDER", help="Word vectors made by `prepare words`, or a model folder.")
]

SideOption = Annotated[
    int, typer.Option("--side", min=1, metavar="N", help="Pixels of a stored picture; small files stay as they are.")
]

EncoderOption = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="A torchvision network, as resnet101, in its place.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Its weights; default: torchvision's, downloaded.")
]
EncoderSideOption = Annotated[
    int, typer.Option("--encoder-side", min=32, metavar="N", help="Pixels of the square that --encoder sees.")
]


@prepare.command("words")
def prepare_words(
    corpus: Annotated[Path, typer.Argument(metavar="TEXT", help="A paragraph a line, .txt or .txt.xz.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder to write.")],
    captions: Annotated[
        Path, typer.Option(metavar="SOURCE", help="Captions, as `prepare captions` takes them; the training ones join.")
    ],
    dim: Annotated[int, typer.Option(min=2, metavar="D", help="Numbers of a vector.")] = 200,
    min_count: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words get no vector of their own.")] = 5,
    bucket: Annotated[int, typer.Option(min=1, metavar="N", help="Rows for parts of words.")] = 45_000,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the text.")] = 5,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="With one, a run is repeatable to the bit.")] = 2,
) -> None:
    """Train fastText vectors, and the weights of words in a phrase.

    \b
    Example:
      vsearch prepare words wikipedia.txt.xz my-words --captions data/flickr8k
    """
    from training.data.sources.captions import read_captions
    from training.data.words import train_words

    texts = [text for photo in read_captions(captions) if photo.split == "train" for text in photo.captions]
    remark("training word vectors; fastText does not say how far it is, and a long text takes many minutes")
    train_words(corpus, texts, output, dim=dim, min_count=min_count, bucket=bucket, epochs=epochs, threads=threads)
    out(shown_path(output))


@prepare.command("captions")
def prepare_captions(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder of Flickr8k, a Karpathy JSON, or COCO's of its train split."),
    ],
    output: OutputArgument,
    words: WordsOption,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the photos are; default: beside the captions.")
    ] = None,
    dev: Annotated[Path | None, typer.Option(metavar="FILE", help="The dev split of COCO.")] = None,
    test: Annotated[Path | None, typer.Option(metavar="FILE", help="The test split of COCO.")] = None,
    captions_per_image: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Draw so many of each photo; default: all, as they are.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Store pixels in place of encoded pictures.")] = False,
    side: SideOption = 256,
    min_word_freq: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words become unknown.")] = 5,
    max_len: Annotated[int, typer.Option(min=1, metavar="N", help="Longer captions are cut.")] = 50,
) -> None:
    """Photos with captions: pictures, token ids, phrase vectors.

    A run that was stopped continues when it is started again in the same way.

    \b
    Example:
      vsearch prepare captions data/flickr8k captions.h5 --words my-words
      vsearch prepare captions dataset_flickr30k.json captions.h5 --words my-words --images flickr30k-images
    """
    from training.data import captions
    from training.data.sources.captions import read_captions

    photos, space = read_captions(source, images, dev, test), load_words(words)
    with progress_bar("photos") as show:
        done = captions.prepare_captions(
            photos, output, space, min_word_freq, max_len, side, show, captions_per_image, raw
        )  # fmt: skip
    if done.resumed:
        remark(f"{done.resumed} photos were ready from a run before")
    out(f"{shown_path(output)}: {done.pictures} photos, {done.captions} captions, {done.vocabulary} words")
    print_skipped(done.skipped)


@prepare.command("pairs")
def prepare_pairs(
    texts: Annotated[
        list[Path], typer.Argument(metavar="SOURCE [TARGET]", help="Two files of lines, or one with tabs; or .gz.")
    ],
    output: OutputArgument,
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the source: de, en or fr.")],
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="Of the target.")],
    swap: Annotated[bool, typer.Option("--swap", help="In the one file with tabs the target stands first.")] = False,
    dev_source: Annotated[Path | None, typer.Option(metavar="FILE", help="Source sentences of the dev split.")] = None,
    dev_target: Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations.")] = None,
    test_source: Annotated[Path | None, typer.Option(metavar="FILE", help="Source of the test split.")] = None,
    test_target: Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations.")] = None,
    dev_share: Annotated[
        float, typer.Option(min=0.001, max=0.5, metavar="X", help="Without dev files: so much becomes the dev split.")
    ] = 0.1,
    only: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Train on pairs alone whose target begins like this.")
    ] = None,
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="The photo of each training line.")] = None,
    dev_names: Annotated[Path | None, typer.Option(metavar="FILE", help="The photo of each dev line.")] = None,
    exclude: Annotated[Path | None, typer.Option(metavar="FILE", help="Photos whose pairs are left out.")] = None,
    vocabulary: Annotated[int, typer.Option(min=1, metavar="N", help="Words of each side, at most.")] = 30_000,
    min_word_freq: Annotated[int, typer.Option(min=1, metavar="N", help="Rarer words become unknown.")] = 2,
    max_percentile: Annotated[
        float, typer.Option(metavar="P", help="Leave out pairs longer than this percentile of lengths.")
    ] = 100.0,
    bpe: Annotated[int, typer.Option(min=0, metavar="N", help="Part words into N pieces; 0: whole words.")] = 0,
    source_words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="fastText vectors to start from, .bin or .vec.")
    ] = None,
    target_words: Annotated[Path | None, typer.Option(metavar="FILE", help="The same for the target.")] = None,
) -> None:
    """Sentences in two languages, for training a translator.

    \b
    Example:
      vsearch prepare pairs fra.txt pairs.h5 --from fr --to en --swap
      vsearch prepare pairs a.fr.gz a.en.gz pairs.h5 --from fr --to en --dev-source b.fr.gz --dev-target b.en.gz
    """
    from training.data import pairs as parallel

    photos = {split: file for split, file in (("train", names), ("dev", dev_names)) if file is not None}
    if bool(photos) != (exclude is not None):
        raise typer.BadParameter("--exclude needs --names or --dev-names, and they need it")
    if dev_names is not None and dev_source is None:
        raise typer.BadParameter("--dev-names needs --dev-source and --dev-target")
    if swap and len(texts) != 1:
        raise typer.BadParameter("--swap is for one file with tabs")
    extra = {"dev": (dev_source, dev_target), "test": (test_source, test_target)}
    settings = parallel.Settings(source, target, vocabulary, min_word_freq, max_percentile, bpe)
    splits = {"train": parallel.read_pairs(texts, swap)}
    for name, (own, other) in extra.items():
        if (own is None) != (other is None):
            raise typer.BadParameter(f"--{name}-source and --{name}-target need each other")
        if own is not None and other is not None:
            splits[name] = parallel.read_pairs([own, other])
    for split, file in photos.items():
        assert exclude is not None
        splits[split] = parallel.without(splits[split], file, exclude)
    if only is not None:
        splits["train"] = parallel.only(splits["train"], only)
    if "dev" not in splits:
        splits["train"], splits["dev"] = parallel.part(splits["train"], dev_share)
    words = {side: path for side, path in (("source", source_words), ("target", target_words)) if path is not None}
    done = parallel.prepare_pairs(splits, output, settings, words)
    told = ", ".join(f"{done[name]} {name}" for name in splits)
    out(f"{shown_path(output)}: {told} pairs, {done['source']} and {done['target']} words")


@prepare.command("labels")
def prepare_labels(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder with train/<class>/ and val/, or with Tiny-ImageNet shards."),
    ],
    output: OutputArgument,
    words: WordsOption,
    lemmas: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes: `wnid TAB lemma, lemma` a line, or .gz.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many of each class to train on; default: all.")
    ] = None,
    side: SideOption = 256,
) -> None:
    """Pictures with a class each, and the word vectors of the classes.

    \b
    Example:
      vsearch prepare labels data/tiny-imagenet labels.h5 --words my-words
      vsearch prepare labels imagenet labels.h5 --words my-words --lemmas wordnet-nouns.tsv.gz --per-class 300
    """
    from training.data import labels

    found, space = labels.read_labelled(source, lemmas), load_words(words)
    with progress_bar("pictures") as show:
        done = labels.prepare_labels(found, output, space, per_class, show, side)
    out(f"{shown_path(output)}: {done.pictures} pictures, {done.classes} classes")
    out(f"  {len(done.subwords)} labels needed subwords, for words outside the dictionary")
    for name, unknown in done.subwords.items():
        out(f"    {shown(name)}: {shown(', '.join(unknown))}")
    for name in done.empty:
        out(f"  left out the class {shown(name)}: no picture to train on")
    print_skipped(done.skipped)


@prepare.command("distil")
def prepare_distil(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Folders of photos.", show_default=False)],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    labels: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the Tiny-ImageNet shards.")],
    teacher: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the network to learn from.")],
    crops: Annotated[int, typer.Option(min=0, metavar="N", help="Random crops of each photo.")] = 8,
) -> None:
    """Views of photos with what a pretrained network says of each, for training an encoder.

    \b
    Example:
      vsearch prepare distil data/coco-unlabelled --labels data/tiny-imagenet --teacher teacher --output distil.h5
    """
    from training.data.distil import prepare_distil as run
    from training.data.labels import read_tiny_imagenet
    from vsearch.image.decode import SUFFIXES

    shards = read_tiny_imagenet(labels)
    paths = sorted(path for folder in photos for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise VsearchError(f"no photo in {', '.join(map(shown_path, photos))}", "name folders of photos")
    with progress_bar("views") as show:
        run(output, paths, shards.train, shards.classes, teacher, crops, progress=show)
    out(shown_path(output))


@prepare.command("features")
def prepare_features(
    prepared: Annotated[Path, typer.Argument(metavar="FILE", help="A prepared file of captions or labels.")],
    output: OutputArgument,
    grid: Annotated[bool, typer.Option("--grid/--no-grid", help="Keep the cells, too, as captions need.")] = True,
    views: Annotated[int, typer.Option(min=1, metavar="N", help="Views of each picture: mirrored, cropped.")] = 1,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Ask this network instead of a model's encoder.")
    ] = None,
    encoder: EncoderOption = None,
    weights: WeightsOption = None,
    side: EncoderSideOption = 224,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """What a network sees in every picture of a prepared file, computed once.

    \b
    Example:
      vsearch prepare features captions.h5 features.h5 --views 4
      vsearch prepare features labels.h5 label-features.h5 --no-grid
      vsearch prepare features captions.h5 teacher-features.h5 --teacher teacher
      vsearch prepare features captions.h5 resnet-features.h5 --encoder resnet101
    """
    from training.data.features import encoder_network, teacher_network, write_features
    from vsearch.config import PreprocessConfig
    from vsearch.device import resolve
    from vsearch.storage import modelfolder, pretrained

    place = resolve(device)
    if sum(one is not None for one in (teacher, encoder, model)) > 1:
        raise typer.BadParameter("--teacher, --encoder and --model exclude each other")
    if weights is not None and encoder is None:
        raise typer.BadParameter("--weights are those of an --encoder")
    if teacher is not None:
        network = teacher_network(teacher, place)
    elif encoder is not None:
        network = encoder_network(pretrained.encoder(encoder, weights), PreprocessConfig(side), place)
    else:
        loaded = modelfolder.load(model_folder(model), device)
        network = encoder_network(loaded.encoder, loaded.config.preprocess, place)
    with progress_bar("pictures") as show:
        write_features(network, prepared, output, place, grid=grid, views=views, progress=show)
    out(shown_path(output))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe by name, or a .toml file.")],
    data: Annotated[Path, typer.Option(metavar="PATH", help="The prepared file; for a bundle, the data folder.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="What is trained goes there.")],
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of its pictures.")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="A prepared file of labelled pictures.")] = None,
    label_features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of those.")] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The model that a second stage goes on from.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The network a bundle learns from.")] = None,
    work: Annotated[Path | None, typer.Option(metavar="FOLDER", help="What a bundle makes on its way.")] = None,
    stage: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run only this stage of a bundle.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train what a recipe says: a part of a model, or (a bundle) a whole model from the raw data.

    A training that was stopped continues where it was. torchrun --nproc-per-node N -m cli train ... trains on N GPUs;
    task.batch is then that of all of them together.

    \b
    Example:
      vsearch train bundled --data data --teacher teacher --work runs/bundled --output my-model
      vsearch train devise-tuned --data captions.h5 --features features.h5 --output runs/head --set loop.epochs=30
    """
    from training import recipe as recipes
    from training.loop import distributed

    overrides = parse_settings(settings or [])
    bundle_only = {"--teacher": teacher, "--work": work, "--stage": stage}
    single_only = {"--features": features, "--labels": labels, "--label-features": label_features, "--start": start}
    is_bundle = recipes.read(recipe).get("kind") == "bundle"
    for name, value in (single_only if is_bundle else bundle_only).items():
        if value:
            raise typer.BadParameter(f"{name} has no use in the recipe {recipe}")
    if is_bundle and distributed.started():
        raise VsearchError(
            "a bundle is made in one process", "leave out torchrun; use it for the recipes of its stages"
        )
    with progress_bar("steps") as show:
        report = training_report(show)
        if is_bundle:
            train_bundle(recipe, data, output, teacher, work, stage, device, overrides, report, show)
        else:
            from training.recipe import Inputs
            from training.run import train as run

            run(recipe, Inputs(data, features, labels, label_features, start), output, device, overrides, report)
    if distributed.first():
        out(shown_path(output))


@app.command("assemble")
def assemble(
    base: Annotated[Path, typer.Argument(metavar="MODEL", help="The model to build on.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Output folders of `vsearch train`.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="The model folder to write.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The prepared file the parts were trained on.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Words it was made with; default: the model's.")
    ] = None,
    encoder: EncoderOption = None,
    weights: WeightsOption = None,
    side: EncoderSideOption = 224,
) -> None:
    """Make a model folder of a model and parts that were trained for it: head, decoder, encoder, words.

    With --encoder, what the model had for its own encoder is left out: head and decoder are those of the trainings.

    \b
    Example:
      vsearch assemble vsearch/bundled runs/devise --output my-model --data captions.h5
      vsearch assemble vsearch/bundled runs/soft --output my-model --data captions.h5 --encoder resnet101
    """
    from training.assemble.model import assemble as run
    from vsearch.config import PreprocessConfig
    from vsearch.storage import pretrained

    if weights is not None and encoder is None:
        raise typer.BadParameter("--weights are those of an --encoder")
    other = None if encoder is None else (pretrained.encoder(encoder, weights), PreprocessConfig(side))
    config = run(base, runs, output, data, words, other)
    out(f"{shown_path(output)}, identity {config.identity[:12]}")


@app.command("assemble-translator")
def assemble_translator(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of `vsearch train translate`.")],
    data: Annotated[Path, typer.Option(metavar="FILE", help="The prepared pairs it was trained on.")],
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="The translator's folder to write.")],
) -> None:
    """Make a translator's folder of what was trained.

    \b
    Example:
      vsearch assemble-translator runs/fr-en --data pairs.h5 --output my-translator
    """
    from training.assemble.translator import assemble_translator as run_

    config = run_(run, data, output)
    languages = f"{config.source_language} to {config.target_language}"
    out(f"{shown_path(output)}: {languages}, identity {config.identity[:12]}")


@app.command("find-lr")
def find_lr(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe by name, or a .toml file.")],
    data: Annotated[Path, typer.Option(metavar="FILE", help="The prepared file.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The picture to draw: loss over learning rate.")],
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of its pictures.")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="A prepared file of labelled pictures.")] = None,
    label_features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of those.")] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The model that a second stage goes on from.")
    ] = None,
    low: Annotated[float, typer.Option(metavar="X", help="The learning rate to begin with.")] = 1e-6,
    high: Annotated[float, typer.Option(metavar="X", help="The learning rate to end with, at the latest.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, metavar="N", help="Batches to try.")] = 100,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Find a learning rate for a recipe: raise it from batch to batch and watch the loss.

    Nothing is kept of that training. Two suggestions are printed: where the loss falls fastest, and a tenth of the
    rate at which it is lowest.

    \b
    Example:
      vsearch find-lr devise-tuned --data captions.h5 --features features.h5 --output lr.png --set task.batch=512
    """
    from training import plots as drawing
    from training.loop import distributed
    from training.recipe import Inputs
    from training.run import sweep
    from vsearch.drawing import figure

    if distributed.started():
        raise VsearchError("a learning rate is looked for in one process", "leave out torchrun")

    check_drawing(output)
    figure.require()
    inputs = Inputs(data, features, labels, label_features, start)
    with progress_bar("steps") as show:
        curve = sweep(recipe, inputs, device, parse_settings(settings or []), low, high, steps, show)
    drawing.draw_curve(curve, output)
    out(f"steepest fall          {curve.steepest:.1e}")
    out(f"a tenth of the lowest  {curve.tenth:.1e}")


@app.command()
def plots(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of trainings.", show_default=False)],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The picture to draw.")],
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw only this one, as in log.jsonl; may be repeated.")
    ] = None,
) -> None:
    """Draw trainings against each other: a panel for each metric, a line for each run.

    \b
    Example:
      vsearch plots runs/devise runs/devise-wide --output runs.png
      vsearch plots runs/caption --output caption.png --metric cider --metric bleu4
    """
    from training import plots as drawing
    from vsearch.drawing import figure

    check_drawing(output)
    figure.require()
    out(f"{shown_path(output)}: {', '.join(drawing.draw_runs(runs, output, metric or []))}")


evaluate = typer.Typer(cls=TyperGroup, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    evaluate,
    name="evaluate",
    help="""Measure what was trained on a prepared file.

    \b
    Example:
      vsearch evaluate captions captions.h5 --split test
    """,
)


@evaluate.command("captions")
def evaluate_captions(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare captions`.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, dev or test.")] = "dev",
    beam: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="Beams; may be repeated; default: 1, 3 and 5.")
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A caption training in place of the model; may be repeated."),
    ] = None,
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="The features that the trainings read.")] = None,
    head: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --run: a DeViSE training that has a say in captions.")
    ] = None,
    agreement: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="How much the head's say counts; default: as trained.")
    ] = None,
    word: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Name its five nearest pictures, too; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on pictures with captions: recall of the search both ways, and how it describes them.

    That is BLEU-1 to 4, CIDEr, ROUGE-L, the words used and the share of captions unlike all others. With --run, caption
    trainings stand side by side, by what they write alone.

    \b
    Example:
      vsearch evaluate captions captions.h5 --split test --beam 1 --beam 5
      vsearch evaluate captions captions.h5 --word dog --word snow --json
      vsearch evaluate captions captions.h5 --features features.h5 --run runs/soft --run runs/adaptive
      vsearch evaluate captions captions.h5 --features features.h5 --run runs/soft --head runs/head --agreement 1.5
    """
    if bool(run) != (features is not None):
        raise typer.BadParameter("--run and --features, those it was trained on, go together")
    if head is not None and not run:
        raise typer.BadParameter("--head goes with --run: a model has a head of its own")
    if run and head is None and agreement is not None:
        raise typer.BadParameter("--agreement of a caption training needs --head")
    if run and word:
        raise typer.BadParameter("--word asks a model; a caption training has no words to search by")
    beams = tuple(beam or [1, 3, 5])
    if run and features is not None:
        compare_runs(run, data, features, split, beams, device, head, agreement, as_json=as_json)
        return
    from training.evaluate import captions as evaluation
    from vsearch.storage import modelfolder

    folder = model_folder(model)
    loaded, space = modelfolder.load(folder, device), load_words(folder)
    if agreement is not None:
        loaded.set_agreement(agreement)
    with progress_bar("pictures") as show:
        table = evaluation.evaluate(loaded, space, data, split, beams, show)
    pictures = evaluation.read_split(data, split)
    tops = {}
    if word:
        with progress_bar("pictures") as show:
            vectors, _ = evaluation.describe(loaded, pictures, captions=False, progress=show)
        tops = evaluation.words_top(vectors, pictures, space, word)
    if as_json:
        named = {name: {"fit": fits, "pictures": names} for name, (fits, names) in tops.items()}
        out(json.dumps({**table, "words": named}, indent=2))
        return
    for name, value in table.items():
        out(f"{name:<24}{value:10.2f}")
    for name, (fits, names) in tops.items():
        out(f"{name:<24}{fits:>7} of {len(names)}  {' '.join(names)}")


def compare_runs(
    runs: list[Path], data: Path, features: Path, split: str, beams: tuple[int, ...], device: str, head: Path | None,
    agreement: float | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Print what caption trainings reached on a split, one column each."""
    from training.evaluate.captions import evaluate_decoder
    from vsearch.device import resolve

    place, tables = resolve(device), {}
    for run in runs:
        with progress_bar("pictures") as show:
            tables[str(run)] = evaluate_decoder(run, data, features, split, beams, place, show, head, agreement)
    if as_json:
        out(json.dumps(tables, indent=2))
        return
    names = [shown_path(run)[-18:] for run in runs]
    out(f"{'':<24}" + "".join(f"{name:>20}" for name in names))
    for metric in next(iter(tables.values())):
        out(f"{metric:<24}" + "".join(f"{table[metric]:20.2f}" for table in tables.values()))


@evaluate.command("devise")
def evaluate_devise(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare labels`.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A training of devise-zero-shot in place of the model; may be repeated."),
    ] = None,
    features: Annotated[Path | None, typer.Option(metavar="FILE", help="Cached features of its pictures.")] = None,
    unseen: Annotated[
        str | None, typer.Option(metavar="NAME", help="Classes the model never saw: a recipe, or a file of them.")
    ] = None,
    hierarchy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Precision in a hierarchy, too: wordnet, tiny-imagenet, or a file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how a model names pictures and finds them by a word, also of classes it was not trained on.

    Flat hit@k, hierarchical precision@k, 1 - cos, and the precision of the ten pictures nearest to a class's word, on
    the dev pictures of labelled data. With --run, several trainings stand side by side; the model then gives the words.

    \b
    Example:
      vsearch evaluate devise labels.h5 --hierarchy tiny-imagenet
      vsearch evaluate devise labels.h5 --features label-features.h5 --run runs/words --run runs/softmax
    """
    if run and unseen is not None:
        raise typer.BadParameter("--run and --unseen exclude each other: a training knows what it left out")
    if run and features is None:
        raise typer.BadParameter("--run needs --features, those it was trained on")
    from training.evaluate import devise as zeroshot
    from training.tasks.labels import read_labelled

    labelled, space = read_labelled(data), load_words(model_folder(model))
    runs = zeroshot.read_runs(run or [])
    left_out = runs[0].task.unseen if runs else zeroshot.read_unseen(unseen) if unseen is not None else ()
    pictures = zeroshot.dev_pictures(labelled, space, left_out, hierarchy)
    if runs and features is not None:
        from vsearch.device import resolve

        place = resolve(device)
        columns = [column for one in runs for column in zeroshot.run_columns(one, labelled, features, place)]
    else:
        from vsearch.storage import modelfolder

        loaded = modelfolder.load(model_folder(model), device)
        with progress_bar("pictures") as show:
            columns = [zeroshot.model_column(loaded, data, labelled, features, show)]
    print_zeroshot(columns, pictures, labelled, as_json=as_json)


@evaluate.command("ranking")
def evaluate_ranking(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="A file made by `vsearch prepare captions`.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, dev or test.")] = "dev",
    write: Annotated[
        bool, typer.Option("--write", help="Choose weight and curves on this split and write ranking.json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure how a model's hits are ranked and scored: captions mixed in, and scores that are shares.

    Recall of human captions by the pictures alone, by the generated captions alone and by the mix; and, for queries by
    words and by pictures, how many hits fit beside how many were said to. It measures ranking.json of the model; with
    --write it first makes that anew.

    \b
    Example:
      vsearch evaluate ranking captions.h5 --model my-model --write
      vsearch evaluate ranking captions.h5 --model my-model --split test
    """
    from training.evaluate import scores as measuring
    from training.evaluate.captions import read_split
    from vsearch.scores import Scores
    from vsearch.storage import modelfolder

    folder = model_folder(model)
    loaded, space, chosen = modelfolder.load(folder, device), load_words(folder), Scores.load(folder)
    with progress_bar("pictures") as show:
        photos = measuring.see(loaded, space, read_split(data, split), show)
    if write:
        chosen = measuring.choose(photos, space)
        chosen.save(folder)
    report = measuring.report(photos, space, chosen)
    if as_json:
        out(json.dumps(asdict(report), indent=2))
    else:
        print_ranking(report)


@app.command()
def info(library: LibraryOption = None, model: ModelOption = None, device: DeviceOption = "auto") -> None:
    """Show library, model, device and versions.

    \b
    Example:
      vsearch info
      vsearch info --library /media/photos.library --device cuda
    """
    for name, value in [
        *library_facts(library_path(library), model),
        *model_facts(model_folder(model)),
        *device_facts(device),
        *version_facts(),
    ]:
        out(f"{name:<12} {value}")


# Output


def many(number: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def out(text: str, end: str = "\n") -> None:
    """Print to stdout; a path that is no valid UTF-8 comes out as the bytes it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write((text + end).encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def remark(text: str) -> None:
    typer.echo(shown(text), err=True)


def complain(message: str, hint: str = "") -> None:
    remark(f"error: {message}; {hint}" if hint else f"error: {message}")


def fail(message: str, hint: str = "") -> None:
    complain(message, hint)
    raise typer.Exit(1) from None


def shown(text: str) -> str:
    """`text` in one line that is safe on a terminal: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown_path(path: str | Path) -> str:
    """A path for people: relative where it lies below the current folder."""
    text = os.fspath(path)
    here = os.getcwd() + os.sep
    return shown(text.removeprefix(here))


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[..., None]]:
    """A function `show(done, total, note=None)`; the bar appears on stderr once the work has lasted two seconds.

    Without a note, the rate and the time left stand beside the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("{task.fields[note]}"))
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(unit, total=None, note="")
    started = time.monotonic()

    def show(done: int, total: int | None, note: str | None = None) -> None:
        seconds = time.monotonic() - started
        if seconds >= PATIENCE:
            bar.update(task, completed=done, total=total, note=note or rate_and_rest(done, total, seconds))
            bar.start()

    try:
        yield show
    finally:
        if bar.live.is_started:  # stopping a bar that never started would print an empty line
            bar.stop()


def rate_and_rest(done: int, total: int | None, seconds: float) -> str:
    rate = f"{done / max(seconds, 1e-9):.1f}/s"
    return f"{rate}, {clock(seconds / done * (total - done))} left" if done and total else rate


def clock(seconds: float) -> str:
    """3:05 or 1:03:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def run_build(
    library: Path | None,
    folders: Sequence[Path],
    model: Path | None,
    device: str,
    beam: int | None,
    *,
    captions: bool,
    batch: int,
    reindex: bool,
) -> None:
    """Build, and tell what was done; exit code 3 where a folder could not be read."""
    from index.build import build
    from index.database.database import Database
    from vsearch.model import Model

    place = library_path(library)
    loaded = Model(model_folder(model), device)
    with Database.open(place, create=bool(folders)) as opened, progress_bar("pictures") as progress:
        if not reindex:
            check_model(opened, model)
        report = build.build_index(
            opened, folders, loaded, captions=captions, batch=batch, beam=beam, reindex=reindex, progress=progress
        )
    out(report_line(report, place))
    if not report.total:
        remark("no file there ends like a picture" if not report.skipped else "no file there is a readable picture")
    for path, reason in report.skipped:
        remark(f"skipped {shown_path(path)}: {reason}")
    for path, reason in report.unreadable:
        remark(f"could not look into {shown_path(path)}: {reason}")
    if report.unreadable:
        raise typer.Exit(UNREADABLE)


def report_line(report: Report, place: Path) -> str:
    """What `build-index` did, in one line."""
    changes = {"added": report.added, "updated": report.updated, "moved": report.moved}
    changes |= {"captioned": report.captioned, "removed": report.removed}
    others = {"unchanged": report.unchanged, "skipped": len(report.skipped), "unreadable": len(report.unreadable)}
    told = [f"{number} {name}" for name, number in (changes | others).items() if number]
    if not any(changes.values()):
        told.insert(0, "nothing changed")
    return f"{', '.join(told)} in {report.seconds:.1f} s; {many(report.total, 'picture')} in {shown_path(place)}"


def print_hits(hits: Sequence[Hit], reasons: Reasons, *, as_json: bool, paths: bool, nul: bool) -> None:
    if paths or nul:
        for hit in hits:
            out(hit.path, "\0" if nul else "\n")
    elif as_json:
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


def group_row(group: Group) -> dict[str, Any]:
    rows = [{"path": picture.path, "size": picture.size} for picture in group.pictures]
    return {"exact": group.exact, "freed": group.freed, "pictures": rows}


def print_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    for path, reason in skipped:
        out(f"  skipped {shown_path(path)}: {shown(reason)}")


def hit_row(hit: Hit, reasons: Reasons) -> dict[str, Any]:
    scores = {"score": round(hit.score, 4), "cosine": round(hit.cosine, 4)}
    row = {"path": hit.path, **scores, "caption": hit.caption}
    return {**row, "why": reasons[hit.id]} if hit.id in reasons else row


# Search


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


def check_printing(min_score: float | None, *, as_json: bool, bare: bool) -> None:
    """Raises BadParameter where hits are asked for in two forms, or above no number."""
    if as_json and bare:
        raise typer.BadParameter("--json and --paths exclude each other")
    if min_score is not None and not math.isfinite(min_score):
        raise typer.BadParameter("--min-score takes a number")


def check_folder(within: Path | None, *, found: bool) -> None:
    """VsearchError where nothing was found because the folder to look in is not there."""
    if within is not None and not found and not within.exists():
        raise VsearchError(f"no folder {shown_path(within)}", "name one that was indexed: `vsearch info` shows them")


def check_model(library: Database, given: Path | None) -> None:
    """LibraryError, with the command that re-indexes, where the library was made by another model."""
    from vsearch.errors import LibraryError

    try:
        library.check_identity(identity_of(model_folder(given)))
    except LibraryError as error:
        model = "" if given is None else f" --model {shlex.quote(os.fspath(given))}"
        raise LibraryError(str(error), error.hint + model) from None


def load_words(folder: Path) -> PhraseSpace:
    from vsearch.text.phrase import PhraseSpace

    return PhraseSpace.load(folder)


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


def stored_vector(library: Database, picture: Picture | None) -> Vector | None:
    """The vector (D,) that the library has of a picture; None if its file is not as it was."""
    if picture is None:
        return None
    try:
        file = os.stat(picture.path)
    except OSError:
        return None
    if (file.st_size, file.st_mtime_ns) != (picture.size, picture.mtime_ns):
        return None
    _, vectors = library.read.vectors([picture.id])
    return vectors[0] if len(vectors) else None


def why_words(space: PhraseSpace, library: Database, hits: Sequence[Hit], k: int = 5) -> Reasons:
    """The `k` telling words nearest to each hit, by its id."""
    import numpy as np

    words = telling_words(space)
    table = space.vectors_of([word] for word in words)  # (W, D), in the space where the pictures are
    ids, vectors = library.read.vectors([hit.id for hit in hits])
    orders = [np.argsort(-(table @ vector), kind="stable")[:k] for vector in vectors]
    return {int(id_): [words[i] for i in order] for id_, order in zip(ids, orders, strict=True)}


def telling_words(space: PhraseSpace) -> list[str]:
    """The words of the training captions that are neither in most of them nor too rare to be sure of."""
    known = (word for word in space.idf if word in space.vectors)
    usual = max(space.idf.values(), default=0.0)
    return sorted(word for word in known if COMMON < space.idf[word] < usual) or sorted(space.idf)


# Captions


def draw_heatmap(photo: Path, caption: Caption, file: Path) -> None:
    from vsearch.drawing import heatmap
    from vsearch.errors import ModelError
    from vsearch.image.decode import decode

    if caption.attention is None:
        raise ModelError("this model has no attention to draw", "use a model with a soft or adaptive decoder")
    heatmap.draw(decode(photo), caption.words, caption.attention, caption.sentinel).save(file)


def caption_row(photo: Path, caption: Caption) -> dict[str, Any]:
    best, *others = [
        {"caption": one.text, "log_probability": round(one.log_probability, 4)}
        for one in (caption, *caption.runner_ups)
    ]
    sentinel = {} if caption.sentinel is None else {"sentinel": [round(float(b), 4) for b in caption.sentinel]}
    return {"path": os.fspath(photo), **best, **sentinel, "runner_ups": others}


# Translation


def load_translator(source: str, target: str, folder: Path | None, device: str) -> Translator:
    from vsearch.translation.translator import Translator, find

    return Translator.load(find(source, target, folder), device)


def draw_alignment(found: Translation, file: Path) -> None:
    from vsearch.drawing import alignment, figure
    from vsearch.errors import ModelError

    if found.attention is None:
        raise ModelError("this translator has no attention to draw", "use one with a soft decoder")
    figure.require()
    alignment.draw_alignment(found.source, found.target, found.attention, file)


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


# Labels


def print_labels(photo: Path, nearest: Sequence[Label]) -> None:
    out(shown_path(photo))
    for label in nearest:
        out(f"{label.score:6.3f}  {shown(', '.join(label.lemmas))}")


def label_row(photo: Path, nearest: Sequence[Label]) -> dict[str, Any]:
    labels = [{"lemmas": one.lemmas, "wnid": one.wnid, "score": round(one.score, 4)} for one in nearest]
    return {"path": os.fspath(photo), "labels": labels}


# Training


def check_drawing(file: Path) -> None:
    if file.suffix.lower() not in DRAWABLE:
        raise VsearchError(f"cannot draw into {shown_path(file)}", f"name it as one of {', '.join(DRAWABLE)}")
    if not file.absolute().parent.is_dir():
        raise VsearchError(f"no folder {shown_path(file.absolute().parent)} to draw into", "make it first")


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    for setting in settings:
        if "=" not in setting:
            raise typer.BadParameter(f"--set takes KEY=VALUE, not {setting!r}")
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}


def training_report(show: Callable[..., None]) -> Callable[[Progress], None]:
    """Shows where a training stands in the progress bar."""

    def report(p: Progress) -> None:
        numbers = f"loss {p.loss:.4f}, lr {p.lr:.1e}, {p.items_per_second:.0f}/s, {clock(p.left)} left"
        show(p.step + 1, p.steps, f"of epoch {p.epoch}/{p.epochs}: {numbers}")

    return report


def train_bundle(
    recipe: str,
    data: Path,
    output: Path,
    teacher: Path | None,
    work: Path | None,
    stages: list[str] | None,
    device: str,
    overrides: dict[str, str],
    report: Callable[[Progress], None],
    show: Callable[..., None],
) -> None:
    from training.assemble.bundle import STAGES, Folders, make

    if teacher is None or work is None:
        raise typer.BadParameter("a bundle also needs --teacher and --work")
    places = Folders(data, teacher, work, output)
    make(recipe, places, device, tuple(stages or STAGES), overrides, remark, report, show)


def print_zeroshot(columns: Sequence[Column], pictures: DevPictures, labelled: Labelled, *, as_json: bool) -> None:
    """A column for each model, in the order given; below the figures, those of single words."""
    from training.evaluate import devise as zeroshot

    tables: dict[str, dict[str, Any]] = {column.name: zeroshot.evaluate(column, pictures) for column in columns}
    words = {k: labelled.classes[k][1][0] for k in pictures.queries}
    found = {column.name: zeroshot.word_precisions(column, pictures) for column in columns}
    if as_json:
        by_word = {name: {words[k]: value for k, value in values.items()} for name, values in found.items()}
        out(json.dumps({name: {**table, "words": by_word[name]} for name, table in tables.items()}, indent=2))
        return
    width = max(10, *(len(name) + 2 for name in tables))
    out(f"{'':<36}" + "".join(f"{name:>{width}}" for name in tables))
    for row in next(iter(tables.values())):
        digits = 4 if row.startswith("1 - cos") else 2
        out(f"{row:<36}" + "".join(cell(table[row], width, digits) for table in tables.values()))
    for k, word in words.items():
        out(f"{'  ' + word:<36}" + "".join(cell(values.get(k), width, 2) for values in found.values()))


def print_ranking(report: RankingReport) -> None:
    weight = report.ranking.caption_weight
    out(f"{'':<24}{'R@1':>8}{'R@5':>8}{'R@10':>8}")
    for name, row in report.recalls.items():
        out(f"{name:<24}" + "".join(f"{value:8.2f}" for value in row.values()))
    out(f"caption weight {weight:g}")
    for kind, found in report.reliabilities.items():
        out(f"{kind}: {found.hits} hits, expected calibration error {100 * found.error:.2f} %")
        out(f"{'  hits':>10}{'predicted':>12}{'found':>8}")
        for one in found.bins:
            out(f"{one.count:>10}{100 * one.predicted:>10.1f} %{100 * one.found:>6.1f} %")
    if not report.reliabilities:
        out("no curves: scores are cosines")


def cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


# Places and facts


def library_path(given: Path | None) -> Path:
    from index.paths import default_path

    return given if given is not None else default_path()


def model_folder(given: Path | None) -> Path:
    from vsearch.storage.modelfolder import bundled

    return given if given is not None else bundled()


def identity_of(folder: Path) -> str:
    from vsearch.storage.modelfolder import read_config

    return read_config(folder).identity


def library_facts(place: Path, model: Path | None) -> Iterator[tuple[str, str]]:
    from index.database.database import Database
    from vsearch.errors import LibraryError

    if not place.exists():
        yield (
            "library",
            f"{shown_path(place)} (none yet: `vsearch build-index FOLDER` makes it, with the same --library)",
        )
        return
    with Database.open(place, read_only=True) as library:
        yield "library", f"{shown_path(place)}, {many(library.read.count(), 'picture')}"
        for folder in library.read.folders():
            yield "folder", shown_path(folder)
        try:
            check_model(library, model)
        except LibraryError as error:
            yield "warning", shown(f"{error}; {error.hint}")


def model_facts(folder: Path) -> Iterator[tuple[str, str]]:
    from vsearch.storage.modelfolder import read_config

    config = read_config(folder)
    yield "model", f"{shown_path(folder)}, identity {config.identity[:12]}"
    yield "encoder", f"{config.encoder.name}, pictures of {config.preprocess.side} x {config.preprocess.side}"
    if config.words is not None:
        yield "words", f"{config.words.file}, {config.words.dim} dimensions"
    if config.decoder is not None:
        yield "captions", f"{config.decoder.kind} decoder, beam {config.decoder.beam}"


def device_facts(name: str) -> Iterator[tuple[str, str]]:
    import torch

    from vsearch.device import fast_bf16, resolve

    device = resolve(name)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    yield "device", f"{device}, {kind}, {'bfloat16' if fast_bf16(device) else 'float32'}"


def version_facts() -> Iterator[tuple[str, str]]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from vsearch import distribution

    yield "vsearch", distribution.version()
    yield "python", platform.python_version()
    for package in ("torch", "torchvision", "fasttext-wheel", "nmslib", "numpy", "pillow"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


if __name__ == "__main__":
    main()
