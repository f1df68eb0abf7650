"""The library of pictures as Python sees it: open it with a model, build it, search it.

    import vsearch
    from index import Library

    with Library.open("photos.library", vsearch.load()) as library:
        library.build(["~/Pictures"])
        for hit in library.search("boat engine", k=5, within="~/Pictures/2024"):
            print(hit.score, hit.path)

A path that is a string may begin with ~, the user's home; one that is a Path is taken as it is.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from index.database.database import Database, NoLibraryError
from index.model import Model, Photo, Weighted
from index.paths import absolute, default_path
from index.search.dates import Sort, in_order
from index.search.place import as_near
from index.search.query import Filter, Query, make_query
from index.search.searcher import Hit, Searcher
from vsearch.errors import LibraryError
from vsearch.progress import Progress

if TYPE_CHECKING:
    from index.build.build import Part
    from index.build.report import Report
    from index.check import Checked
    from index.database.details import Detail
    from index.database.notes import Note
    from index.duplicates import Group
    from index.export import Exported
    from index.forget import Forgotten
    from index.metadata.tag import Tagged
    from index.teach.teach import Lesson, Voted

T = TypeVar("T")
Place = str | os.PathLike[str]


class Library:
    """A library of pictures, and the model that made it; `Library.open` returns one. A context manager that closes it.

    The file is open for reading; `build` and `forget` open it for writing while they run. Every method raises
    LibraryError if there is no library, if the file is damaged or locked, and, where vectors are compared, if they
    were made by two models.
    """

    def __init__(self, path: Path, model: Model | None, *, read_only: bool) -> None:
        self.path = path
        self.model = model
        self.read_only = read_only
        self._opened: tuple[Database, Searcher] | None = None

    @classmethod
    def open(
        cls, path: Place | None = None, model: Model | None = None, *, read_only: bool = False, reindex: bool = False
    ) -> Library:
        """Open the library at `path`, by default the user's own. If there is no file, `build` makes it.

        Without a model it cannot be built, nor searched by words and pictures; all else works. `read_only` refuses
        `build` and `forget`. `reindex` lets a library of another model pass, so that `build(reindex=True)` can embed
        its pictures again with this one; until then it cannot be searched.
        Raises LibraryError if the file is damaged, of another format, or was made by another model.

        >>> with Library.open("photos.library", model, read_only=True) as library:
        ...     library.count()
        4
        """
        place = default_path() if path is None else Path(_expanded(path))
        library = cls(place.absolute(), model, read_only=read_only)
        try:
            database = library._database
            if model is not None and not reindex:
                database.check_identity(model.identity)
        except NoLibraryError:
            pass
        except BaseException:
            library.close()
            raise
        return library

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next method that needs it opens it again."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    # ---- search

    def search(
        self,
        words: str | Query | None = None,
        *,
        image: Photo | None = None,
        like: Iterable[Weighted] = (),
        unlike: Iterable[Weighted] = (),
        text: str | None = None,
        k: int = 10,
        within: Place | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        min_score: float | None = None,
        camera: str | None = None,
        near: Sequence[float] | None = None,
        by_file_time: bool = False,
        keywords: Iterable[str] = (),
        rating: int | None = None,
        sort: Sort = "score",
        caption_weight: float | None = None,
        exact: bool | None = None,
        taught: bool = True,
    ) -> list[Hit]:
        """Return the `k` pictures nearest to words, to pictures, or to both, the best first.

        `words` may be a `Query` in place of a string. `like` and `unlike` are pictures to look like and not to look
        like, each a photo or (photo, weight), see `make_query`; `image` is one picture to look like. `text` is what
        caption, keywords, name or the picture itself say, see `index.database.texts.expression`; with nothing else to
        look for, pictures that say little else come first, and no model is needed. `text`, `within`, `since`, `until`,
        `min_score`, `camera`, `near` (latitude, longitude, kilometres), `keywords` and `rating` narrow the answer, see
        `Filter`. `sort`: "taken" and "oldest" bring these `k` into the order of when they were taken, the latest or the
        earliest first. Dates are those that pictures were taken at, else those of their files, as `by_file_time` has it
        for all. `caption_weight` (0 to 1) says how much captions count, by default what the model says; `exact`
        compares with every picture, however many there are. `taught` lets count what `teach` learned, in searches by
        words.
        Raises QueryError if no word is known or there is no such place, VsearchError if the picture cannot be read.

        >>> words = library.search("dog -boat", k=3)
        >>> both = library.search("dog", image="photos/red.png", within="photos")
        >>> len(words), len(both), words[0].score >= words[1].score
        (3, 4, True)
        >>> mixed = library.search(like=["photos/red.png", ("photos/blue.webp", 0.5)], unlike=["photos/green.jpg"], k=1)
        >>> Path(mixed[0].path).name
        'red.png'
        >>> [Path(hit.path).name for hit in library.search(text='"red"')], len(library.search("dog", text="blu*"))
        (['red.png'], 1)
        """
        searcher = self._searcher
        only = _only(
            within, near, keywords, since=since, until=until, min_score=min_score, by_file_time=by_file_time,
            camera=camera, text=text, rating=rating,
        )  # fmt: skip
        plain = image is None and not like and not unlike
        if text is not None and words is None and plain:
            return in_order(self._database, searcher.say(text, k, only), sort, by_file_time=by_file_time)
        query = words if plain and isinstance(words, Query) else self.query(words, image, like=like, unlike=unlike)
        if taught and query.kind == "words":
            query = self._taught(query)
        hits = searcher.search(query, k, only, caption_weight=caption_weight, exact=exact)
        return in_order(self._database, hits, sort, by_file_time=by_file_time)

    def query(
        self,
        words: str | Query | None = None,
        image: Photo | None = None,
        *,
        like: Iterable[Weighted] = (),
        unlike: Iterable[Weighted] = (),
    ) -> Query:
        """Return what `search` looks for: a vector, and the words that the model does not know.

        >>> query = library.query("dog snowboarding")
        >>> query.kind, query.unknown, query.identity == model.identity
        ('words', ('snowboarding',), True)
        """
        return make_query(self._required_model, words, _expanded(image), _photos(like), _photos(unlike))

    def similar(
        self,
        photo: Photo,
        k: int = 10,
        *,
        within: Place | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        min_score: float | None = None,
        camera: str | None = None,
        near: Sequence[float] | None = None,
        by_file_time: bool = False,
        keywords: Iterable[str] = (),
        rating: int | None = None,
        sort: Sort = "score",
    ) -> list[Hit]:
        """Return the `k` pictures most like a photo, the best first, without the photo itself.

        If the photo is already in the library, its stored vector is used. All else is as in `search`.
        Raises VsearchError if the photo cannot be read, QueryError if there is no such place.

        >>> hits = library.similar("photos/red.png", k=2)
        >>> len(hits), any(hit.path.endswith("red.png") for hit in hits)
        (2, False)
        """
        from index.search.similar import similar

        only = _only(
            within, near, keywords, since=since, until=until, min_score=min_score, by_file_time=by_file_time,
            camera=camera, rating=rating,
        )  # fmt: skip
        hits = similar(self._searcher, self._required_model, _expanded(photo), k, only)
        return in_order(self._database, hits, sort, by_file_time=by_file_time)

    def details(self, hits: Iterable[Hit]) -> dict[int, Detail]:
        """Return size, date, camera, lens and place of hits, by the hit's id; left out where nothing is known.

        >>> hits = library.search("dog", k=1)
        >>> detail = library.details(hits)[hits[0].id]
        >>> detail.width, detail.height, detail.camera
        (96, 80, None)
        """
        return self._database.details.of(hit.id for hit in hits)

    def notes(self, hits: Iterable[Hit]) -> dict[int, Note]:
        """Return what people wrote on hits (title, description, keywords, stars), by the hit's id, if anything.

        >>> library.notes(library.search("dog", k=1))
        {}
        """
        return self._database.notes.of(hit.id for hit in hits)

    def explain(self, hits: Iterable[Hit], k: int = 5) -> dict[int, list[str]]:
        """Return the `k` words of the training captions nearest to each hit, by the hit's id.

        >>> hits = library.search("dog", k=2)
        >>> [len(library.explain(hits, k=3)[hit.id]) for hit in hits]
        [3, 3]
        """
        from index.search.explain import explain

        return explain(self._database, self._required_model, hits, k)

    # ---- change

    def build(
        self,
        folders: Iterable[Place] = (),
        *,
        captions: bool = True,
        batch: int = 32,
        beam: int | None = None,
        reindex: bool = False,
        follow_links: bool | None = None,
        video_every: float | None = None,
        exclude: Iterable[str] = (),
        no_exclude: Iterable[str] = (),
        ocr: bool | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Embed and describe every picture below some folders; a second time only what changed.

        `batch` is how many pictures the network sees at once, `beam` the width of the search for captions, by default
        the model's own. `reindex` forgets every vector and embeds all known folders, and `folders`, again.
        `follow_links` says whether links to folders are followed, `video_every` how many seconds lie between two frames
        that are taken of a video (0: no videos); None: as the library's last build was told. `exclude` are patterns of
        what is left out, as in gitignore files, now and by later builds of the library, until `no_exclude` names them.
        `ocr` says whether the text in pictures is read, too, when all else is done (the extra `ocr`); None: as before.
        Raises VsearchError if no folder can be read; a single bad file raises nothing, see `Report.skipped`.

        >>> report = library.build(["photos"])
        >>> report.added, report.unchanged, report.total
        (0, 4, 4)
        """
        from index.build.build import build_index
        from index.build.ocr import read_texts
        from vsearch.image.ocr import require

        if ocr:
            require()
        model, names = self._required_model, [_expanded(folder) for folder in folders]
        with self._writable(create=bool(names)) as database:
            report = build_index(
                database,
                names,
                model,
                captions=captions,
                batch=batch,
                beam=beam,
                reindex=reindex,
                follow_links=follow_links,
                video_every=video_every,
                exclude=exclude,
                no_exclude=no_exclude,
                progress=progress,
            )
            read_texts(database, report, ocr, progress)
            return report

    def set_caption(self, photo: Place, text: str | None) -> str | None:
        """Give a picture, and all with its content, a caption by hand; return the caption that it has now.

        Line ends become blanks; a caption has 1 to 500 letters. Searches find the picture by it at once, and later
        builds keep it, with other models too. None takes it back: the model describes the picture again.
        Raises LibraryError if the picture is not in the library, VsearchError for an empty or a longer caption.

        >>> library.set_caption("photos/red.png", "a red barn")
        'a red barn'
        >>> [Path(hit.path).name for hit in library.search(text="barn")]
        ['red.png']
        """
        from index.captions import give

        model = self._required_model
        with self._writable() as database:
            return give(database, model, absolute(_expanded(photo)), text)

    def watch(
        self,
        folders: Iterable[Place] = (),
        *,
        poll: float | None = None,
        captions: bool = True,
        batch: int = 32,
        beam: int | None = None,
        follow_links: bool | None = None,
        video_every: float | None = None,
        exclude: Iterable[str] = (),
        no_exclude: Iterable[str] = (),
        ocr: bool | None = None,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Report]:
        """Build, then go on as files change; yield the report of the build, and one each time something changed.

        No folders: those that the library knows. All else is as in `build`, which others may use meanwhile, as they may
        search. `poll` looks at all files every so many seconds in place of asking the system for changes. `say` gets a
        line where something is to be known, `stop` ends it from another thread; so does closing the iterator.
        Raises VsearchError without watchfiles (unless `poll`), and as `build` does.

        >>> watched = library.watch(["photos"], poll=60)
        >>> next(watched).total
        4
        >>> watched.close()
        """
        from index.build.build import build_index
        from index.build.ocr import read_texts
        from index.build.watch import Doors, Watch
        from vsearch.image.ocr import require

        if ocr:
            require()
        model, names = self._required_model, [absolute(_expanded(folder)) for folder in folders] or self.folders()
        run = functools.partial(build_index, captions=captions, batch=batch, beam=beam)
        first = functools.partial(
            run,
            follow_links=follow_links,
            video_every=video_every,
            exclude=exclude,
            no_exclude=no_exclude,
            progress=progress,
        )

        def build(part: Part) -> Report:
            whole = part.paths is None
            with self._writable(create=bool(names)) as database:
                report = (first if whole else run)(database, names, model, part=part)
                read_texts(database, report, ocr if whole else None, progress if whole else None)
                return report

        doors = Doors(
            build=build,
            knows=lambda path: bool(self._database.read.dates_under(path)),
            mounts=lambda: self._database.read.mounts() if self.path.exists() else [],
            own=str(self.path),
            say=say or (lambda line: None),
        )
        yield from Watch(names, doors, poll=poll, stop=stop)

    def forget(self, folders: Iterable[Place]) -> Forgotten:
        """Take folders and all pictures below them out of the library; no file is touched.

        Raises LibraryError for a folder that the library does not know.

        >>> library.forget(["photos"]).pictures, library.count()
        (4, 0)
        """
        from index.forget import forget

        with self._writable() as database:
            return forget(database, [_expanded(folder) for folder in folders])

    def tag(
        self,
        photos: Iterable[Place | Hit],
        *,
        caption: bool = True,
        nouns: int = 0,
        names: str = "imagenet",
        in_file: bool = False,
        undo: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Tagged:
        """Write captions and keywords into XMP files next to photos, or into the photos; folders stand for all in them.

        `nouns` is how many nouns of the list `names` become keywords, at most, of those with a score of at least 0.5.
        What a person wrote is kept; `undo` takes out what vsearch wrote, `dry_run` only says what would be done.
        A photo that cannot be tagged raises nothing, see `Tagged.skipped`.

        >>> report = library.tag(["photos/red.png"])
        >>> [one.file.name for one in report.changed], library.tag(["photos"], undo=True).unchanged
        (['red.png.xmp'], 3)
        """
        from index.metadata.tag import Wish, tag

        chosen = [one.path if isinstance(one, Hit) else _expanded(one) for one in photos]
        wish = Wish(caption, nouns, names, in_file, undo, dry_run)
        if dry_run:
            return tag(self._database, self.model, chosen, wish, progress)
        with self._writable() as database:
            return tag(database, self.model, chosen, wish, progress)

    def vote(self, query: str, photos: Iterable[Place], good: bool | None = True) -> tuple[int, list[str]]:
        """Keep that photos fit the words of a query, or do not; None takes votes back.

        Return the number of votes, and the photos that are not in the library. Raises QueryError without words.

        >>> library.vote("dog", ["photos/red.png"]), library.vote("dog", ["elsewhere.jpg"], good=False)
        ((1, []), (0, ['elsewhere.jpg']))
        """
        from index.teach.teach import vote

        with self._writable() as database:
            return vote(database, self._required_model, query, [_expanded(photo) for photo in photos], good)

    def votes(self) -> list[Voted]:
        """Return all votes, in the order in which they came.

        >>> _ = library.vote("dog", ["photos/red.png"])
        >>> [(one.query, one.good) for one in library.votes()]
        [('dog', True)]
        """
        from index.teach.teach import votes

        return votes(self._database)

    def teach(self) -> Lesson:
        """Learn from the votes a correction of queries by words; it is kept only if votes that were held out improve.

        What was learned before is forgotten, whatever comes of it. Raises LibraryError as `search` does.

        >>> lesson = library.teach()
        >>> lesson.kept, lesson.reason
        (False, '10 votes are needed')
        """
        from index.teach.teach import teach

        model = self._required_model
        with self._writable() as database:
            database.write.upgrade(model.embed_captions)
            return teach(database, model)

    def unteach(self) -> bool:
        """Forget what was learned from votes; return whether there was anything.

        >>> library.unteach()
        False
        """
        with self._writable() as database:
            known = bool(database.taught.count())
            if known:
                database.taught.forget()
            return known

    def taught(self) -> int:
        """Return from how many votes the library has learned.

        >>> library.taught()
        0
        """
        return self._database.taught.count()

    # ---- look at it

    def duplicates(
        self, threshold: float | None = None, within: Place | None = None, progress: Progress | None = None
    ) -> list[Group]:
        """Return the groups of near-identical pictures, the one that would free most bytes first.

        `threshold` is the cosine from which on two pictures are one, by default 0.95; above 1 only equal files are.

        >>> library.duplicates(2)
        []
        """
        from index.duplicates import THRESHOLD, duplicates

        limit = THRESHOLD if threshold is None else threshold
        return duplicates(self._database, limit, within=_expanded(within), progress=progress)

    def check(self) -> Checked:
        """Verify database, vectors, caches and files; a damaged cache is deleted, nothing else is changed.

        >>> library.check().findings
        ()
        """
        from index.check import check

        return check(self._database)

    def export(self, file: Place, *, force: bool = False) -> Exported:
        """Write all vectors with their pictures into a file that ends in .npy, .jsonl or .parquet.

        An earlier export is replaced; any other file only by `force`, and the library itself never.
        Raises VsearchError for another ending, without pyarrow for .parquet, and if the file cannot be written.

        >>> done = library.export("vectors.npy")
        >>> done.count, [file.name for file in done.files]
        (4, ['vectors.npy', 'vectors.rows.jsonl'])
        """
        from index.export import export

        return export(self._database, Path(_expanded(file)), force=force)

    def knows_details(self) -> bool:
        """Tell whether the library has dates, cameras and places of pictures; one of an older format has none.

        >>> library.knows_details()
        True
        """
        return self._database.details.known()

    def dated_and_placed(self) -> tuple[int, int]:
        """Return how many pictures tell when they were taken, and how many where.

        >>> library.dated_and_placed()
        (0, 0)
        """
        return self._database.details.counted()

    def folders(self) -> list[str]:
        """Return every folder that was ever built from, sorted.

        >>> [Path(folder).name for folder in library.folders()]
        ['photos']
        """
        return self._database.read.folders()

    def excludes(self) -> list[str]:
        """Return the patterns of what builds leave out, sorted.

        >>> library.excludes()
        []
        """
        return self._database.read.excludes()

    def count(self, within: Place | None = None) -> int:
        """Return the number of pictures, or of those below a folder.

        >>> library.count(), library.count("elsewhere")
        (4, 0)
        """
        read = self._database.read
        return read.count() if within is None else len(read.ids_under(os.fspath(_expanded(within))))

    @property
    def identity(self) -> str | None:
        """The identity of the model that made the library; None before the first build."""
        return self._database.read.identity

    # ---- the parts

    @property
    def _database(self) -> Database:
        return self._parts[0]

    @property
    def _searcher(self) -> Searcher:
        return self._parts[1]

    @property
    def _parts(self) -> tuple[Database, Searcher]:
        if self._opened is None:
            database = Database.open(self.path, read_only=True)
            self._opened = database, Searcher(database, None if self.model is None else self.model.scores)
        return self._opened

    def _taught(self, query: Query) -> Query:
        """Return a query as what was learned from votes corrects it."""
        if not self._database.taught.count():  # nothing is imported for what most libraries do not have
            return query
        from index.teach.teach import correction

        learned = correction(self._database, query.identity)
        return query if learned is None else replace(query, vector=learned.apply(query.vector))

    @property
    def _required_model(self) -> Model:
        if self.model is None:
            raise LibraryError(f"{self.path} was opened without a model", "name one when you open it")
        return self.model

    def _writable(self, *, create: bool = False) -> Database:
        if self.read_only:
            raise LibraryError(f"{self.path} was opened for reading only", "open it for writing")
        return Database.open(self.path, create=create)


def _photos(given: Iterable[Weighted]) -> list[Weighted]:
    """Return photos, each with its weight if it has one; a path is one photo, not the letters of its name."""
    listed = [given] if isinstance(given, str | os.PathLike) else given
    return [(_expanded(one[0]), one[1]) if isinstance(one, tuple) else _expanded(one) for one in listed]


def _only(within: Place | None, near: Sequence[float] | None, keywords: Iterable[str], **filters: Any) -> Filter:
    """Return a filter of what `search` and `similar` are given."""
    place = None if near is None else as_near(near)
    return Filter(within=_expanded(within), near=place, keywords=_listed(keywords), **filters)


def _listed(keywords: Iterable[str]) -> tuple[str, ...]:
    """Return keywords as a tuple; a string is one."""
    return (keywords,) if isinstance(keywords, str) else tuple(keywords)


def _expanded(path: T) -> T:
    """Return a path with the user's home in place of a ~ at its beginning, if it is a string."""
    return cast(T, os.path.expanduser(path)) if isinstance(path, str) else path
