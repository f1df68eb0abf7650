"""Whatever is done to files and library, in whatever order: it holds what plain Python says, and nothing else.

In short by default; `VSEARCH_PROPERTIES=SECONDS` tries new orders for about so long.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import vsearch
from index import Library
from tests.support import tiny_model
from tests.support.expected import BROKEN, Expected
from tests.support.pictures import draw
from vsearch.errors import LibraryError, VsearchError

SECONDS = float(os.environ.get("VSEARCH_PROPERTIES", "0"))
CONTENTS = 5
FOLDERS = ("", "a", "a/deep", "b", "disk")
NAMES = ("1.png", "2.png", "line\nend.png", "bad\udcff.png", "clip.mp4#t=3.png", '-"x.png')
PATTERNS = ("deep/", "2.png", "*#*", "b/", "1.*")
WORDS = ("barn", "Bello in the snow", "red barn")
SHARED = Path("/dev/shm")


def encoded(content: int) -> bytes:
    """A file of that content; 0 and 1 show the same pixels."""
    if content == BROKEN:
        return b"no picture"
    data = io.BytesIO()
    draw(max(content, 1), (40, 40)).save(data, "PNG", compress_level=9 if content else 0)
    return data.getvalue()


FILES = {content: encoded(content) for content in range(BROKEN, CONTENTS)}
NUMBERS = {data: content for content, data in FILES.items()}


def content_at(path: str) -> int:
    return NUMBERS[Path(path).read_bytes()]


class Machine(RuleBasedStateMachine):
    """Files, a library and its reader, next to what is expected."""

    model: vsearch.Model
    vectors: np.ndarray[Any, np.dtype[np.float32]]

    @initialize()
    def start(self) -> None:
        self.stack = ExitStack()
        fast = SHARED if SHARED.is_dir() else None  # in memory: nothing waits for a disk
        self.base = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=fast))).resolve()
        self.photos, self.away, self.clock = self.base / "photos", self.base / "away", 1_600_000_000
        for folder in ("a/deep", "b"):
            (self.photos / folder).mkdir(parents=True)
        self.away.mkdir()
        disk = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        if disk.stat().st_dev != self.base.stat().st_dev:
            (disk / ".keep").touch()  # an empty disk counts as one that is not there
            (self.photos / "disk").symlink_to(disk)
        else:
            (self.photos / "disk").mkdir()
        (self.base / "home").mkdir()
        self.path, self.moves = self.base / "home" / "pics", 0
        self.expected, self.built = Expected(content_at), False
        self.library = Library.open(self.path, self.model)

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.library.close()
            self.stack.close()

    # ---- files

    def files(self) -> list[Path]:
        return sorted(
            path
            for folder in FOLDERS
            for path in self.place(folder).glob("*")
            if path.is_file() and path.name != ".keep"
        )

    def place(self, folder: str) -> Path:
        return self.photos / folder if folder else self.photos

    def stamp(self, path: Path) -> None:
        """Give a file a date of its own: a change within the same tick of the clock could not be seen."""
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES), content=st.integers(BROKEN, CONTENTS - 1))
    def write(self, folder: str, name: str, content: int) -> None:
        if self.place(folder).is_dir():
            (self.place(folder) / name).write_bytes(FILES[content])
            self.stamp(self.place(folder) / name)

    @precondition(lambda self: self.files())
    @rule(data=st.data(), folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES), what=st.sampled_from("cmdt"))
    def change(self, data: st.DataObject, folder: str, name: str, what: str) -> None:
        """Copy, move, delete or touch a file."""
        path, target = data.draw(st.sampled_from(self.files())), self.place(folder) / name
        if what == "d":
            path.unlink()
        elif what == "t":
            self.stamp(path)
        elif target.parent.is_dir() and target != path:
            if what == "c":
                shutil.copy2(path, target)
            else:
                shutil.move(path, target)

    @rule(folder=st.sampled_from(("a", "a/deep", "b", "disk")))
    def hide_or_show(self, folder: str) -> None:
        """Rename a folder away, or back; a disk leaves an empty folder."""
        place, hidden = self.photos / folder, self.away / folder.replace("/", "-")
        if hidden.is_dir():
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
            if not place.exists() and place.parent.is_dir():
                hidden.rename(place)
        elif place.is_dir():
            place.rename(hidden)
            if folder == "disk":
                place.mkdir()

    # ---- the library

    def chosen(self, folders: set[str]) -> list[str]:
        return sorted(str(self.place(folder)) for folder in folders)

    @rule(
        folders=st.sets(st.sampled_from(FOLDERS), min_size=1, max_size=3),
        captions=st.booleans(),
        batch=st.sampled_from((1, 3, 32)),
        exclude=st.sets(st.sampled_from(PATTERNS), max_size=1),
        back=st.booleans(),
        stop=st.none() | st.integers(0, 4),
    )
    def build(
        self, folders: set[str], captions: bool, batch: int, exclude: set[str], back: bool, stop: int | None
    ) -> None:
        """Build, perhaps interrupted first, and then once more: nothing is left to do."""
        names, no_exclude = self.chosen(folders), sorted(self.expected.excludes) if back else []
        excludes = (self.expected.excludes | exclude).difference(no_exclude)
        if not self.expected.can_build(names):
            with pytest.raises(VsearchError):
                self.library.build(names, follow_links=True)
            self.built = self.built or self.path.exists()
            return
        if stop is not None:
            self.interrupted(names, captions, stop)
        self.expected.excludes = excludes
        options: dict[str, Any] = {"captions": captions, "batch": batch, "follow_links": True}
        self.library.build(names, exclude=exclude, no_exclude=no_exclude, **options)
        self.expected.build(names, captions=captions)
        self.built = True
        again = self.library.build(names, **options)
        assert (again.encoded, again.added, again.updated, again.moved, again.removed) == (0, 0, 0, 0, 0)

    def interrupted(self, names: list[str], captions: bool, stop: int) -> None:
        """A build that ends in its middle leaves a library that can be read and checked."""

        def progress(done: int, total: int) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        try:
            self.library.build(names, captions=captions, batch=1, follow_links=True, progress=progress)
        except KeyboardInterrupt:
            pass
        told = self.library.check().findings
        assert not [one for one in told if "on disk" not in one.message and "left out" not in one.message]

    @precondition(lambda self: self.expected.can_build(sorted(self.expected.folders)))
    @rule(captions=st.booleans())
    def reindex(self, captions: bool) -> None:
        self.library.build(reindex=True, captions=captions, follow_links=True)
        self.expected.reindex(captions=captions)

    @precondition(lambda self: self.built)
    @rule(folder=st.sampled_from(FOLDERS))
    def forget(self, folder: str) -> None:
        name = str(self.place(folder))
        if not self.expected.knows(name):
            with pytest.raises(LibraryError, match="no folder of the library"):
                self.library.forget([name])
            return
        self.library.forget([name])
        self.expected.forget(name)

    @precondition(lambda self: self.expected.pictures)
    @rule(data=st.data(), text=st.none() | st.sampled_from(WORDS))
    def caption(self, data: st.DataObject, text: str | None) -> None:
        path = data.draw(st.sampled_from(sorted(self.expected.pictures)))
        content = self.expected.pictures[path]
        same = [one for one, its in self.expected.pictures.items() if its == content]
        if text is None and not any(os.path.exists(one) and content_at(one) == content for one in same):
            return
        self.library.set_caption(path, text)
        self.expected.described |= set(same)
        if text is None:
            self.expected.by_hand.pop(content, None)
        else:
            self.expected.by_hand[content] = text

    @precondition(lambda self: self.built)
    @rule(with_caches=st.booleans())
    def move_library(self, with_caches: bool) -> None:
        self.library.close()
        self.moves += 1
        target = self.base / "home" / f"pics{self.moves}"
        for file in sorted(self.path.parent.glob(f"{self.path.name}*")):
            if file == self.path or with_caches:
                file.rename(target.with_name(target.name + file.name.removeprefix(self.path.name)))
        self.path = target
        self.library = Library.open(self.path, self.model)

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.library = Library.open(self.path, self.model)

    # ---- what must hold

    @invariant()
    def holds_what_is_expected(self) -> None:
        if not getattr(self, "built", False):
            return
        wanted = self.expected.pictures
        assert self.library.count() == len(wanted)
        assert set(self.library.folders()) == self.expected.folders
        assert set(self.library.excludes()) == self.expected.excludes
        self.finds_everything(wanted)
        self.checks_clean()

    def finds_everything(self, wanted: dict[str, int]) -> None:
        """Searches by a picture and by words find all there is, each with its own vector and caption."""
        for asked in (0, CONTENTS - 1):
            query = vsearch_query(self.vectors[asked], self.model)
            hits = self.library.search(query, k=1_000, caption_weight=0)
            assert sorted(hit.path for hit in hits) == sorted(wanted)
            for hit in hits:
                assert hit.cosine == pytest.approx(float(self.vectors[wanted[hit.path]] @ query.vector), abs=4e-3)
        for hit in self.library.search("dog", k=1_000):
            by_hand = self.expected.by_hand.get(wanted[hit.path])
            assert hit.caption == by_hand if by_hand else hit.caption not in WORDS
            assert hit.caption or hit.path not in self.expected.described
        for text in ("barn", "bello"):
            found = {hit.path for hit in self.library.search(text=text, k=1_000)}
            said = {content for content, words in self.expected.by_hand.items() if text in words.lower()}
            assert found == {path for path, content in wanted.items() if content in said}

    def checks_clean(self) -> None:
        """`check` finds nothing but pictures that a build would take out."""
        told = [one.message for one in self.library.check().findings]
        gone = [text for text in told if " on disk: " in text or " to be left out now: " in text]
        assert told == gone
        assert sum(int(text.split()[0]) for text in gone) == len(self.expected.missing())


def vsearch_query(vector: Any, model: vsearch.Model) -> Any:
    from index import Query

    return Query(vector, "picture", (), model.identity)


def test_whatever_is_done_in_whatever_order() -> None:
    model = vsearch.load(tiny_model.model_folder(), "cpu")
    pictures = [np.asarray(draw(max(content, 1), (40, 40))) for content in range(CONTENTS)]
    Tried = type("Tried", (Machine,), {"model": model, "vectors": model.embed_images(pictures)})
    quiet: dict[str, Any] = {
        "deadline": None,
        "suppress_health_check": list(HealthCheck),
        "report_multiple_bugs": False,
    }
    quiet["phases"] = [Phase.generate]  # a failure is short enough, and shrinking it takes minutes
    short = settings(max_examples=40, stateful_step_count=20, derandomize=True, **quiet)
    if not SECONDS:
        run_state_machine_as_test(Tried, settings=short)
        return
    end = time.monotonic() + SECONDS
    long = settings(max_examples=30, stateful_step_count=40, **quiet)
    while time.monotonic() < end:
        run_state_machine_as_test(Tried, settings=long)
