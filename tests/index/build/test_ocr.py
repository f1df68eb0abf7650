"""Text in pictures: read once a content, at low priority, again from where it was interrupted; then searched."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from index.build.build import build_index
from index.build.ocr import read_texts
from index.build.report import Report
from index.check import check
from index.database.database import Database
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.errors import PictureError, VsearchError
from vsearch.image import ocr


class FakeReader:
    """Says the name of the file; cannot read 003.png. Notes what it was asked, and by whom."""

    asked: list[str]
    priorities: set[int]
    interrupt_at: int

    def read(self, photo: str) -> str:
        """Return the name of the file as a word."""
        name = Path(photo).name
        self.asked.append(name)
        self.priorities.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        if name == "003.png":
            raise PictureError("no picture")
        return f"STOP {Path(photo).stem}x"


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> type[FakeReader]:
    monkeypatch.setattr(FakeReader, "asked", [], raising=False)
    monkeypatch.setattr(FakeReader, "priorities", set(), raising=False)
    monkeypatch.setattr(FakeReader, "interrupt_at", 0, raising=False)
    monkeypatch.setattr(ocr, "TextReader", FakeReader)
    monkeypatch.setattr(ocr, "installed", lambda: True)
    return FakeReader


@pytest.fixture
def built(library: Database, describer: FakeDescriber, tmp_path: Path) -> Database:
    """Thirty pictures, one of them twice."""
    first = draw_folder(tmp_path / "photos", 30)[0]
    shutil.copy(first, tmp_path / "photos" / "copy.png")
    build_index(library, [tmp_path / "photos"], describer)
    return library


def read(library: Database, wanted: bool | None = None) -> Report:
    report = Report()
    read_texts(library, report, wanted)
    return report


def said(library: Database, text: str) -> list[str]:
    found = library.read.pictures(library.texts.ids(text).tolist()).values()
    return sorted(Path(picture.path).name for picture in found)


def test_each_content_is_read_once_and_found(
    built: Database, describer: FakeDescriber, reader: type[FakeReader], tmp_path: Path
) -> None:
    assert read(built).read == 0 and reader.asked == []  # nobody asked for it
    assert read(built, True).read == 30 and len(reader.asked) == 30
    assert said(built, "000x") == ["000.png", "copy.png"] and len(said(built, "stop")) == 30  # but 003.png
    assert not check(built).findings
    assert read(built).read == 0  # remembered, and done
    shutil.copy(tmp_path / "photos" / "001.png", tmp_path / "photos" / "twin.png")
    draw_folder(tmp_path / "photos", 1, first=30)
    build_index(built, [tmp_path / "photos"], describer)
    assert read(built).read == 1 and reader.asked[30:] == ["030.png"]
    assert said(built, "001x") == ["001.png", "twin.png"]
    build_index(built, [], FakeDescriber("another-model"), reindex=True)
    assert read(built).read == 0 and said(built, "stop 030x") == ["030.png"] and not check(built).findings
    draw_folder(tmp_path / "photos", 1, first=31)
    build_index(built, [tmp_path / "photos"], FakeDescriber("another-model"))
    assert read(built, False).read == 0 == read(built).read


def test_who_is_interrupted_goes_on(built: Database, reader: type[FakeReader]) -> None:
    reader.interrupt_at = 20
    with pytest.raises(KeyboardInterrupt):
        read(built, True)
    kept = len(built.texts.ids("stop"))
    assert 16 <= kept <= 20  # what was committed, eight at a time, one of them twice, one without text
    done = read(built)
    assert done.read == 30 - 16 and len(said(built, "stop")) == 30
    assert len(reader.asked) <= 20 + 4 + done.read


def test_it_gives_way_to_all_else(built: Database, reader: type[FakeReader]) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    read(built, True)
    assert reader.priorities == ({19} if sys.platform == "linux" else {mine})
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_files_that_changed_or_went_are_left_for_a_later_build(
    built: Database, describer: FakeDescriber, reader: type[FakeReader], tmp_path: Path
) -> None:
    (tmp_path / "photos" / "005.png").unlink()
    draw_folder(tmp_path / "other", 1, first=99)
    shutil.copy(tmp_path / "other" / "099.png", tmp_path / "photos" / "006.png")
    assert read(built, True).read == 28 and {"005.png", "006.png"} & set(reader.asked) == set()
    build_index(built, [tmp_path / "photos"], describer)
    assert read(built).read == 1 and said(built, "006x") == ["006.png"]


def test_without_rapidocr(built: Database, monkeypatch: pytest.MonkeyPatch, reader: type[FakeReader]) -> None:
    """Who asks for it is told at once; a build that only remembers it does all else."""
    monkeypatch.setattr(ocr, "installed", lambda: False)
    with pytest.raises(VsearchError) as refused:
        ocr.require()
    assert "[ocr]" in refused.value.hint
    report = read(built, True)
    assert (report.read, report.unread, reader.asked) == (0, 30, [])
