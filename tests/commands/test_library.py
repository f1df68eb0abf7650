"""`vsearch similar`, `duplicates`, `check`, `export` and `forget`: what they print, refuse, and must not import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.support import tiny_model
from tests.support.commands import call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with four pictures, a copy of one and one compressed again; and the library of them."""
    top = tmp_path_factory.mktemp("made")
    photos = tiny_model.draw_pictures(top / "photos")
    (photos / "sub").mkdir()
    shutil.copy(photos / "red.png", photos / "sub" / "copy.png")
    Image.open(photos / "green.jpg").save(photos / "sub" / "again.jpg", quality=60)
    done = call("build-index", photos, "--library", top / "library", "--model", tiny_model.model_folder())
    assert done.exit_code == 0, done.stderr
    return top


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of the library, to be changed; its photos are those of `made`."""
    shutil.copy(made / "library", tmp_path / "library")
    return tmp_path


def similar(made: Path, *arguments: str | os.PathLike[str]) -> Result:
    return call("similar", *arguments, "--library", made / "library", "--model", tiny_model.model_folder())


# ---- similar


def test_similar_leaves_the_photo_out_and_finds_its_copy_first(made: Path) -> None:
    photos = made / "photos"
    rows = json.loads(similar(made, photos / "red.png", "--json").stdout)
    assert rows[0]["path"] == str(photos / "sub" / "copy.png")
    assert str(photos / "red.png") not in [row["path"] for row in rows]
    assert len(rows) == 5
    assert len(json.loads(similar(made, photos / "red.png", "--json", "-k", "2").stdout)) == 2


def test_similar_takes_a_photo_from_elsewhere(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "photos" / "blue.webp", tmp_path / "mine.webp")
    assert similar(made, tmp_path / "mine.webp", "-k", "1", "--paths").stdout == f"{made / 'photos' / 'blue.webp'}\n"
    assert json.loads(similar(made, tmp_path / "mine.webp", "--json").stdout)[0]["score"] > 0.99


def test_similar_options(made: Path) -> None:
    photo, sub = made / "photos" / "red.png", made / "photos" / "sub"
    inside = similar(made, photo, "--in", sub, "-0")
    assert set(inside.stdout.split("\0")) == {str(sub / "copy.png"), str(sub / "again.jpg"), ""}
    best = similar(made, photo, "--min-score", "0.9999", "--paths")
    assert str(sub / "copy.png") in best.stdout and len(best.stdout.splitlines()) < 5
    page = made / "page.html"
    assert similar(made, photo, "--html", page).exit_code == 0
    assert "copy.png" in page.read_text("utf-8")


def test_similar_refuses(made: Path, tmp_path: Path) -> None:
    missing = similar(made, tmp_path / "none.jpg")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "none.jpg" in missing.stderr
    assert similar(made, made / "photos" / "red.png", "--json", "-0").exit_code == 2
    assert similar(made, made / "photos" / "red.png", "--min-score", "nan").exit_code == 2
    nowhere = similar(made, made / "photos" / "red.png", "--in", tmp_path / "nowhere")
    assert nowhere.exit_code == 1 and "vsearch info" in nowhere.stderr
    photo, place = made / "photos" / "red.png", made / "library"
    other = call("similar", photo, "--library", place, "--model", tiny_model.model_folder(1))
    assert other.exit_code == 1 and "vsearch reindex" in other.stderr


def test_only_a_photo_that_the_library_lacks_asks_the_network(made: Path, tmp_path: Path) -> None:
    script = "import sys, cli\ntry: cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    shutil.copytree(made / "photos", tmp_path / "photos")
    for photo, loaded in ((made / "photos" / "red.png", False), (tmp_path / "photos" / "red.png", True)):
        rest = ["--library", str(made / "library"), "--model", str(tiny_model.model_folder())]
        done = subprocess.run(
            [sys.executable, "-c", script, "similar", str(photo), *rest],
            capture_output=True,
            text=True,
            check=True,
            cwd=tiny_model.ROOT,
            timeout=120,
        )
        assert "copy.png" in done.stdout
        assert ("torch" in done.stderr.split()) is loaded


def test_a_photo_that_changed_is_embedded_anew(home: Path, made: Path) -> None:
    photo = home / "photo.png"
    shutil.copy(made / "photos" / "red.png", photo)
    model, place = tiny_model.model_folder(), home / "library"
    call("build-index", home, "--library", place, "--model", model)
    shutil.copy(made / "photos" / "green.jpg", photo)
    found = call("similar", photo, "--library", place, "--model", model, "--paths", "-k", "1")
    assert found.stdout == f"{made / 'photos' / 'green.jpg'}\n"


# ---- duplicates


def test_duplicates_lists_groups_and_what_they_take(made: Path) -> None:
    photos, size = made / "photos", (made / "photos" / "red.png").stat().st_size
    done = call("duplicates", "--threshold", "2", "--library", made / "library")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"2 equal files, {size:,} bytes but for the first",
        f"{size:>12,}  {photos / 'red.png'}",
        f"{size:>12,}  {photos / 'sub' / 'copy.png'}",
        f"1 group; to spare: 1 picture, {size:,} bytes",
    ]


def test_duplicates_as_json_in_a_folder(made: Path, tmp_path: Path) -> None:
    sub = made / "photos" / "sub"
    done = call("duplicates", "--threshold", "-1", "--json", "--in", sub, "--library", made / "library")
    (group,) = json.loads(done.stdout)
    sizes = {row["path"]: row["size"] for row in group["pictures"]}
    assert sizes == {str(path): path.stat().st_size for path in sub.iterdir()}
    assert (group["exact"], group["freed"]) == (False, min(sizes.values()))
    nowhere = call("duplicates", "--in", tmp_path / "nowhere", "--library", made / "library")
    assert nowhere.exit_code == 1 and "vsearch info" in nowhere.stderr
    assert call("duplicates", "--threshold", "nan", "--library", made / "library").exit_code == 2


def test_the_default_threshold_finds_what_was_compressed_anew(made: Path) -> None:
    done = call("duplicates", "--json", "--library", made / "library")
    groups = [{Path(row["path"]).name for row in group["pictures"]} for group in json.loads(done.stdout)]
    assert any({"green.jpg", "again.jpg"} <= group for group in groups)


# ---- check


def test_check_of_a_whole_library(made: Path) -> None:
    done = call("check", "--library", made / "library")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "all is well: 6 pictures, no graph\n"


def test_check_names_what_is_wrong_and_the_remedy(home: Path, made: Path) -> None:
    shutil.copy(made / "photos" / "red.png", home / "b.png")
    place, model = home / "library", tiny_model.model_folder()
    call("build-index", home, "--library", place, "--model", model)
    (home / "b.png").unlink()
    done = call("check", "--library", place)
    assert done.exit_code == 1
    line, verdict = done.stdout.splitlines()
    assert line.startswith(f"1 picture is no longer on disk: {home / 'b.png'}; take them out: vsearch build-index ")
    assert verdict == "1 finding: 7 pictures, no graph"
    told = json.loads(call("check", "--library", place, "--json").stdout)
    assert (told["pictures"], told["recall"], told["unseen"]) == (7, None, [])
    assert f"{told['findings'][0]['message']}; {told['findings'][0]['remedy']}" == line
    remedy = line.partition("take them out: vsearch ")[2].split()
    assert call(*remedy, "--model", model).exit_code == 0
    assert call("check", "--library", place).exit_code == 0


def test_check_tells_what_it_could_not_look_at(home: Path) -> None:
    (home / "disk").mkdir()
    Image.new("RGB", (40, 40)).save(home / "disk" / "a.png")
    call("build-index", home / "disk", "--library", home / "library", "--model", tiny_model.model_folder())
    shutil.rmtree(home / "disk")
    done = call("check", "--library", home / "library")
    assert done.exit_code == 0
    assert done.stderr == f"could not look into {home / 'disk'}: no such folder\n"
    assert json.loads(call("check", "--library", home / "library", "--json").stdout)["unseen"] == [
        [str(home / "disk"), "no such folder"]
    ]


def test_check_of_what_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "library").write_bytes(b"no database" * 1000)
    done = call("check", "--library", tmp_path / "library")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


# ---- export and forget


def test_export(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "v.npy"
    done = call("export", file, "--library", made / "library")
    assert done.stdout == f"{file} and {tmp_path / 'v.rows.jsonl'}: 6 vectors of 12 numbers\n"
    assert np.load(file).shape == (6, 12)
    refused = call("export", tmp_path / "v.txt", "--library", made / "library")
    assert refused.exit_code == 1 and ".npy, .jsonl, .parquet" in refused.stderr


def test_forget(home: Path, made: Path) -> None:
    photos, place, model = made / "photos", home / "library", tiny_model.model_folder()
    refused = call("forget", photos / "sub", "--library", place)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "vsearch info" in refused.stderr
    call("build-index", photos / "sub", "--library", place, "--model", model)
    part = call("forget", photos / "sub", "--library", place)
    assert part.stdout.startswith("forgot 2 pictures below 1 folder in ")
    assert part.stdout.endswith(f"; 4 pictures in {place}\n")
    assert part.stderr == f"{photos / 'sub'} lies below {photos}: the next build of that brings it back\n"
    rest = call("forget", photos, "--library", place)
    assert (rest.exit_code, rest.stderr) == (0, "")
    assert call("search", "dog", "--library", place, "--model", model).stdout == ""
    assert call("reindex", "--library", place, "--model", model).exit_code == 1
    assert len(list(photos.iterdir())) == 5


def test_forget_asks_before_it_takes_folders_that_nobody_named(made: Path, tmp_path: Path) -> None:
    photos, place, model = made / "photos", tmp_path / "own", tiny_model.model_folder()
    build = call("build-index", photos / "sub", "--library", place, "--model", model, "--no-captions")
    assert build.exit_code == 0
    asked = call("forget", "/", "--library", place)
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert "/ takes 1 folder with 2 pictures out of the library; add --yes" in asked.stderr
    assert call("info", "--library", place, "--model", model).stdout.count(str(photos / "sub")) == 1
    meant = call("forget", "/", "--yes", "--library", place)
    assert meant.exit_code == 0 and meant.stdout.startswith("forgot 2 pictures below 1 folder in ")


def test_why_nothing_was_found(made: Path, tmp_path: Path) -> None:
    photos, place, model = made / "photos", tmp_path / "own", tiny_model.model_folder()
    how = "--library", place, "--model", model
    call("build-index", photos / "sub", *how, "--no-captions")
    (tmp_path / "other").mkdir()
    found = call("search", "dog", "--in", tmp_path / "other", *how)
    assert (found.exit_code, found.stdout) == (0, "")
    assert (
        "no picture of the library lies below " in found.stderr and "`vsearch info` shows its folders" in found.stderr
    )
    assert "no picture fits" in call("search", "dog", "--min-score", "2", *how).stderr
    call("forget", photos / "sub", "--library", place)
    for words in (("search", "dog"), ("similar", photos / "red.png")):
        assert "the library is empty: `vsearch build-index FOLDER` fills it" in call(*words, *how).stderr


def test_numbers_go_by_plain_names_in_errors() -> None:
    wrong = call("search", "dog", "-k", "1e3")
    assert wrong.exit_code == 2 and "'1e3' is not a valid whole number" in wrong.stderr
    assert "'much' is not a valid number" in call("search", "dog", "--min-score", "much").stderr


def test_absolute_paths_work_in_a_folder_that_was_deleted(made: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    place, model = made / "library", tiny_model.model_folder()
    script = (
        "import os, sys; here = sys.argv.pop(1); os.chdir(here); os.rmdir(here)\n"
        "import cli; cli.app(sys.argv[1:], prog_name='vsearch')"
    )
    env = {**os.environ, "PYTHONPATH": str(tiny_model.ROOT)}
    told = subprocess.run(
        [sys.executable, "-P", "-c", script, gone, "search", "dog", "-k", "1", "--library", place, "--model", model],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "") and str(made / "photos") in told.stdout
