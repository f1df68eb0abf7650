"""What is left out: patterns as git has them, marks in folders, thumbnails of a NAS; what that does to a library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from index.build.build import build_index
from index.build.leave_out import as_patterns, changed
from index.build.scan import Scan, scan
from index.check import check
from index.database.database import Database
from tests.support.formats import as_format
from tests.support.pictures import FakeDescriber, draw_folder
from vsearch.errors import VsearchError

TREE = ("a.jpg", "b.tmp.jpg", "raw/1.jpg", "raw/keep/2.jpg", "2024/raw/3.jpg", "2024/b.tmp.jpg", "2024/deep/a.jpg",
        "#odd/4.jpg", "sp ace/5.jpg", "private/6.jpg", "2024/private/7.jpg", "raw.jpg")  # fmt: skip


def make(top: Path, *names: str) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"x")


def names(walk: Scan, top: Path) -> set[str]:
    return {os.path.relpath(found.path, top) for found in walk}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    make(top, *TREE)
    return top


PATTERNS = [
    "*.tmp.jpg", "raw", "raw/", "/raw", "/raw/", "raw/*", "2024/raw", "**/raw/", "2024/**/a.jpg", "private/",
    "/private",     "[ab].jpg", "?.jpg",
    "sp ace", "sp*", "*", "*.png", "2024/", "deep/a.jpg", "raw/keep/", "\\#odd", "a.jpg/",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what its patterns mean")
@pytest.mark.parametrize("lines", [*([one] for one in PATTERNS), ["raw/*", "!raw/keep/"], ["raw/", "!raw/keep/"],
                                   ["*.jpg", "!a.jpg", "# x", ""], ["2024/*", "!2024/deep"]])  # fmt: skip
def test_patterns_mean_what_git_has_them_mean(tree: Path, tmp_path: Path, lines: list[str]) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    (tmp_path / "copy" / ".gitignore").write_text("\n".join(lines) + "\n")
    (tmp_path / "copy" / ".vsearchignore").write_text("\n".join(lines) + "\n")
    git = ["git", "-C", str(tmp_path / "copy"), "-c", "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-zco", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    wanted = {name for name in listed.stdout.split("\0") if name.endswith(".jpg")}
    assert names(scan([tmp_path / "copy"]), tmp_path / "copy") == wanted
    if len(lines) == 1 and not lines[0].startswith("\\"):
        assert names(scan([tree], excludes=lines), tree) == wanted  # the option means the same


def test_a_hash_at_the_beginning_is_no_comment_in_an_option(tree: Path) -> None:
    assert set(TREE) - names(scan([tree], excludes=["#odd"]), tree) == {"#odd/4.jpg"}


def test_a_path_may_be_absolute(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"2024/raw/3.jpg", "2024/b.tmp.jpg", "2024/deep/a.jpg", "2024/private/7.jpg"}
    assert set(TREE) - names(scan([tree], excludes=[str(tree / "2024")]), tree) == gone
    assert set(TREE) - names(scan([tree], excludes=[f"{tree}/*/raw/"]), tree) == {"2024/raw/3.jpg"}
    assert names(scan([tree / "2024"], excludes=[f"{tree}/"]), tree) == set()  # the folder lies in what is left out
    assert names(scan([tree], excludes=["/elsewhere", str(tree) + "x"]), tree) == set(TREE)
    monkeypatch.chdir(tree)
    monkeypatch.setenv("HOME", str(tree))
    assert as_patterns(["./2024", "../x", "~/raw", "raw"]) == [str(tree / "2024"), str(tree.parent / "x"),
                                                               str(tree / "raw"), "raw"]  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "  ", "!a.jpg", "\\"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(VsearchError, match="cannot be left out|is no pattern") as caught:
        changed([], [pattern], [])
    assert "*.tmp.jpg" in caught.value.hint


def test_patterns_come_and_go() -> None:
    assert changed(["b", "a"], ["c", "a"], ["b"]) == ["a", "c"]
    with pytest.raises(VsearchError, match="does not leave out x") as caught:
        changed(["b", "a"], [], ["x"])
    assert caught.value.hint.endswith("a, b")


def test_files_in_folders(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "phone/b.jpg", "phone/deep/c.jpg", "x/1.jpg", "x/2.jpg", "x/y/1.jpg", "x/y/3.jpg", "1.jpg")
    make(tmp_path, "phone/.nomedia")
    (tmp_path / "x" / ".vsearchignore").write_bytes(b"\xef\xbb\xbf1.jpg\r\ninv\xfflid\n")
    (tmp_path / "x" / "y" / ".vsearchignore").write_text("!1.jpg\n3.jpg\n")  # the deeper one has the last word
    walk = scan([tmp_path])
    assert names(walk, tmp_path) == {"a.jpg", "1.jpg", "x/2.jpg", "x/y/1.jpg"}
    assert walk.excluded == {str(tmp_path / name) for name in ("phone", "x/1.jpg", "x/y/3.jpg")}
    assert walk.is_excluded(str(tmp_path / "phone/deep/c.jpg")) and not walk.is_excluded(str(tmp_path / "a.jpg"))
    assert walk.unreadable == []
    top = scan([tmp_path / "phone"])
    assert names(top, tmp_path) == set() and top.excluded == {str(tmp_path / "phone")}


def test_thumbnails_of_a_nas(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "x/#recycle/b.jpg", "x/.@__thumb/c.jpg",
         "@Recycle/d.jpg", "$RECYCLE.BIN/e.jpg", "x/eaDir/f.jpg", ".thumbnails/g.jpg", "lost+found/h.jpg")  # fmt: skip
    assert names(scan([tmp_path]), tmp_path) == {"a.jpg", "x/eaDir/f.jpg"}
    assert names(scan([tmp_path / "x/#recycle"]), tmp_path) == {"x/#recycle/b.jpg"}  # unless asked for


@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_that_is_named_itself_is_walked_next_to_one_above(tmp_path: Path, first: int) -> None:
    make(tmp_path, "a.jpg", "raw/b.jpg", "raw/raw/c.jpg")
    folders = [tmp_path, tmp_path / "raw"]
    walk = scan([folders[first], folders[1 - first]], excludes=["raw/"])
    assert names(walk, tmp_path) == {"a.jpg", "raw/b.jpg"}
    assert not walk.is_excluded(str(tmp_path / "raw/gone.jpg")) and walk.is_excluded(str(tmp_path / "raw/raw/c.jpg"))


@pytest.mark.parametrize("content, reason", [(b"a.jpg\n!\n", "'!' is no pattern"), (b"a\n" * 600_000, "longer than"),
                                             (None, "is no file")])  # fmt: skip
def test_a_file_of_patterns_that_cannot_be_understood(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """Nobody knows what is to be left out: the folder counts as unreadable, and nothing of it is lost or added."""
    make(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg")
    if content is None:
        os.mkfifo(tmp_path / "x" / ".vsearchignore")  # opening it would wait for ever
    else:
        (tmp_path / "x" / ".vsearchignore").write_bytes(content)
    walk = scan([tmp_path])
    assert names(walk, tmp_path) == {"a.jpg"}
    [(folder, said)] = walk.unreadable
    assert folder == str(tmp_path / "x") and said.startswith("its .vsearchignore") and reason in said
    assert walk.kept(str(tmp_path / "x/y/c.jpg"))


def test_what_becomes_left_out_leaves_the_library(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_folder(photos, 4)
    draw_folder(photos / "raw", 3, first=10)
    draw_folder(photos / "phone", 2, first=20)
    assert build_index(library, [photos], describer).added == 9
    (photos / "phone" / ".nomedia").touch()
    (photos / "000.png").unlink()
    missing, out = check(library).findings
    assert missing.message.startswith("1 picture is no longer on disk: ")
    assert out.message.startswith("2 pictures are to be left out now: ")
    report = build_index(library, [photos], describer, exclude=["raw/"])
    assert (report.removed, report.excluded, report.total) == (6, 5, 3)
    assert library.read.excludes() == ["raw/"] and check(library).findings == ()
    report = build_index(library, [photos], describer)  # the library remembers
    assert (report.added, report.removed, report.excluded) == (0, 0, 0)
    with pytest.raises(VsearchError, match="does not leave out phone"):
        build_index(library, [photos], describer, no_exclude=["phone"])
    assert build_index(library, [photos], describer, no_exclude=["raw/"]).added == 3
    assert library.read.excludes() == []


def test_an_older_library_leaves_out_at_once(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 4)
    build_index(library, [tmp_path / "photos"], describer)
    as_format(library, 2)
    assert library.read.excludes() == []
    report = build_index(library, [tmp_path / "photos"], describer, exclude=["000.*"])
    assert (report.excluded, report.total, library.read.excludes()) == (1, 3, ["000.*"])
