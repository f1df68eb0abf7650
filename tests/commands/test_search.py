"""`vsearch search`: what it prints, what it refuses, and what it must not import."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.commands.search import subtracted_last
from index.library import Library
from index.search.explain import telling_words
from index.search.query import make_query
from tests.support import tiny_model
from tests.support.commands import call
from vsearch.model import load
from vsearch.scores import Scores

Run = Callable[..., "Outcome"]


class Outcome:
    """Exit code, stdout (bytes and text) and stderr of one call."""

    def __init__(self, *arguments: str | os.PathLike[str]) -> None:
        result = call(*arguments)
        self.code, self.bytes, self.err = result.exit_code, result.stdout_bytes, result.stderr
        self.out = self.bytes.decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model.draw_pictures(tmp_path_factory.mktemp("photos"))
    (folder / "deep").mkdir()
    (folder / "grey.bmp").rename(folder / "deep" / "grey.bmp")
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("library") / "library"
    done = Outcome("build-index", photos, "--library", place, "--model", tiny_model.model_folder())
    assert done.code == 0, done.err
    return place


@pytest.fixture
def search(library: Path) -> Run:
    return lambda *a: Outcome("search", *a, "--library", library, "--model", tiny_model.model_folder())


def test_hits_are_ranked_and_described(search: Run) -> None:
    found = search("dog", "--json")
    rows = json.loads(found.out)
    assert (found.code, found.err) == (0, "")
    assert len(rows) == 4
    assert [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)
    assert all(Path(r["path"]).is_file() and -1 <= r["score"] <= 1 and r["caption"] for r in rows)


def test_k_in_and_min_score_narrow_the_answer(search: Run, photos: Path) -> None:
    rows = json.loads(search("dog", "--json").out)
    assert json.loads(search("dog", "--json", "-k", "2").out) == rows[:2]
    middle = (rows[1]["score"] + rows[2]["score"]) / 2
    assert json.loads(search("dog", "--json", "--min-score", str(middle)).out) == rows[:2]
    inside = json.loads(search("dog", "--json", "--in", photos / "deep").out)
    assert [Path(r["path"]).name for r in inside] == ["grey.bmp"]


def test_dates_are_whole_days_of_local_time(search: Run, photos: Path) -> None:
    days = {"red.png": datetime(2020, 5, 1), "green.jpg": datetime(2020, 5, 2), "blue.webp": datetime(2020, 5, 3)}
    dates = {name: (photos / name).stat().st_mtime_ns for name in days}
    place = photos.parent / "dated"
    try:
        for name, day in days.items():
            os.utime(photos / name, (day.timestamp(), day.timestamp() + 86_399))  # a second before midnight
        model = tiny_model.model_folder()
        assert Outcome("build-index", photos, "--library", place, "--model", model, "--no-captions").code == 0
        for options, wanted in (
            (["--until", "2020-05-02"], {"red.png", "green.jpg"}),
            (["--since", "2020-05-02", "--until", "2020-05-03"], {"green.jpg", "blue.webp"}),
            (["--since", "2020-05-03"], {"blue.webp", "grey.bmp"}),
            (["--since", "2020-05-03", "--in", str(photos / "deep")], {"grey.bmp"}),
        ):
            found = Outcome("search", "dog", "--paths", *options, "--library", place, "--model", model)
            assert {Path(line).name for line in found.out.splitlines()} == wanted
    finally:
        for name, date in dates.items():
            os.utime(photos / name, ns=(date, date))
    assert search("dog", "--since", "yesterday").code == 2


def test_captions_count_and_scores_are_shares(photos: Path, library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.model_folder(), folder)
    plain = json.loads(Outcome("search", "dog", "--json", "--library", library, "--model", folder).out)
    assert all(row["score"] == row["cosine"] for row in plain)
    Scores(0.5, words=(2.0, -0.5), picture=(1.0, 0.0)).save(folder)

    def rows(*options: str) -> list[dict[str, Any]]:
        found = Outcome("search", *options, "--json", "--library", library, "--model", folder)
        assert found.code == 0, found.err
        return list(json.loads(found.out))

    mixed = rows("dog")
    assert [row["score"] for row in mixed] == pytest.approx(
        [1 / (1 + math.exp(-(2 * row["cosine"] - 0.5))) for row in mixed], abs=1e-3
    )
    cosines = {row["path"]: row["cosine"] for row in plain}
    assert any(abs(row["cosine"] - cosines[row["path"]]) > 0.01 for row in mixed)
    assert {row["path"]: row["cosine"] for row in rows("dog", "--caption-weight", "0", "--exact")} == cosines
    best = rows("--image", str(photos / "red.png"))[0]
    assert best["score"] == pytest.approx(1 / (1 + math.exp(-best["cosine"])), abs=1e-3)
    page = tmp_path / "page.html"
    assert Outcome("search", "dog", "--html", page, "--library", library, "--model", folder).code == 0
    assert f"{mixed[0]['score']:.0%}" in page.read_text()
    alone = ["--image", str(photos / "red.png"), "--caption-weight", "1"]
    assert Outcome("search", *alone, "--library", library, "--model", folder).code == 2


def test_nothing_fits(search: Run) -> None:
    found = search("dog", "--min-score", "1.01")
    assert (found.code, found.out, found.err) == (0, "", "no picture fits\n")


def test_output_for_people(search: Run) -> None:
    rows = json.loads(search("dog", "--json", "--why").out)
    lines = search("dog", "--why").out.splitlines()
    assert len(lines) == 3 * len(rows)
    assert lines[0].split() == [f"{rows[0]['score']:.3f}", rows[0]["path"]]
    assert lines[1].strip() == rows[0]["caption"]
    assert lines[2].strip() == "near: " + ", ".join(rows[0]["why"])


def test_why_names_words_of_the_dictionary_nearest_first(search: Run, photos: Path) -> None:
    model = load(tiny_model.model_folder(), "cpu")
    space = model.space
    vector = model.embed_image(photos / "red.png")
    row = json.loads(search("--image", photos / "red.png", "--why", "--json", "-k", "1").out)[0]
    cosines = [float(space.vector([word]) @ vector) for word in row["why"]]
    assert len(row["why"]) == 5
    assert cosines == sorted(cosines, reverse=True)
    assert max(float(space.vector([w]) @ vector) for w in telling_words(space)) == pytest.approx(cosines[0])


def test_paths_and_nul_are_the_ranked_paths(search: Run) -> None:
    paths = [r["path"] for r in json.loads(search("dog", "--json").out)]
    assert search("dog", "--paths").out.splitlines() == paths
    assert search("dog", "-0").out == "".join(p + "\0" for p in paths)


def test_odd_names_survive(tmp_path: Path) -> None:
    odd = os.fsdecode(b"two\nlines \xff\x1b[31m.png")
    tiny_model.draw_pictures(tmp_path / "photos")
    os.rename(tmp_path / "photos" / "red.png", tmp_path / "photos" / odd)
    at = ["--library", str(tmp_path / "library"), "--model", str(tiny_model.model_folder())]
    assert Outcome("build-index", tmp_path / "photos", *at).code == 0
    whole = os.fsencode(tmp_path / "photos" / odd)
    assert whole in Outcome("search", "dog", "-0", *at).bytes.split(b"\0")
    assert whole in Outcome("search", "dog", "--paths", *at).bytes
    assert os.fsdecode(whole) in [r["path"] for r in json.loads(Outcome("search", "dog", "--json", *at).out)]
    text = Outcome("search", "dog", *at).out
    assert "two\\nlines \\udcff\\x1b[31m.png" in text
    assert len(text.splitlines()) == 8


def test_a_picture_finds_itself_first(search: Run, photos: Path) -> None:
    row = json.loads(search("--image", photos / "blue.webp", "--json").out)[0]
    assert Path(row["path"]).name == "blue.webp"
    assert row["score"] == pytest.approx(1, abs=2e-3)


def test_words_and_picture_are_mixed_half_and_half(photos: Path) -> None:
    model = load(tiny_model.model_folder(), "cpu")
    words, picture = model.embed_text("dog"), model.embed_image(photos / "red.png")
    both = make_query(model, "dog", photos / "red.png").vector
    assert float(both @ words) == pytest.approx(float(both @ picture), abs=1e-5)
    assert np.linalg.norm(both) == pytest.approx(1, abs=1e-5)
    assert float(both @ words) > float(words @ picture)


def test_pictures_are_weighed_and_subtracted(search: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny_model.model_folder(), "cpu")
    words = model.embed_text("dog")
    red, green, blue = (model.embed_image(photos / name) for name in ("red.png", "green.jpg", "blue.webp"))
    made = make_query(model, "dog", like=[photos / "red.png", (photos / "green.jpg", 2)], unlike=[photos / "blue.webp"])
    vector = words + red + 2 * green - blue
    assert made.vector == pytest.approx(vector / np.linalg.norm(vector), abs=1e-5) and made.kind == "words"
    monkeypatch.chdir(photos)
    pictures = ["--like", "red.png", "--like", "2:green.jpg", "--unlike", ".5:blue.webp"]
    vector = red + 2 * green - 0.5 * blue
    rows = json.loads(search(*pictures, "--json").out)
    unit = vector / np.linalg.norm(vector)
    expected = {"red.png": red, "green.jpg": green, "blue.webp": blue}
    for row in rows:
        if (name := Path(row["path"]).name) in expected:
            assert row["cosine"] == pytest.approx(float(unit @ expected[name]), abs=2e-3)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert search("--like", "red.png", "--json").out == search("--image", "red.png", "--json").out
    assert search("dog", "--like", "red.png", "--json").out == search("dog", "--image", "red.png", "--json").out
    assert search("--unlike", "red.png", "--paths").out.splitlines()[-1].endswith("red.png")


def test_a_file_named_like_a_weight_is_a_file(
    search: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "red.png", "2:b.png")
    shutil.copy(photos / "blue.webp", "b.png")
    assert Path(json.loads(search("--like", "2:b.png", "--json").out)[0]["path"]).name == "red.png"
    assert Path(json.loads(search("--like", "3:b.png", "--json").out)[0]["path"]).name == "blue.webp"


def test_a_text_is_found_with_and_without_words(search: Run, library: Path, photos: Path, tmp_path: Path) -> None:
    rows = json.loads(search("--text", "red", "--json").out)
    assert [Path(row["path"]).name for row in rows] == ["red.png"] and not {"score", "cosine"} & set(rows[0])
    assert rows[0]["text"] == {"field": "name", "snippet": f"red {photos.name}"}
    assert search("--text", "red").out.splitlines()[::2] == [rows[0]["path"], f"        name: red {photos.name}"]
    found = json.loads(search("dog", "--text", "photos*", "--json").out)
    plain = {row["path"]: row for row in json.loads(search("dog", "--json").out)}
    assert len(found) == 3 and all(row.pop("text")["field"] == "name" for row in found)
    assert found == [row for path, row in plain.items() if "deep" not in path]
    assert [Path(line).name for line in search("--text", "grey OR deep", "--paths").out.splitlines()] == []
    assert search("--text", "deep", "--in", photos / "deep", "--paths").out == f"{photos / 'deep' / 'grey.bmp'}\n"
    assert search("--text", "deep", "--until", "1990-01-01").err == "no picture fits\n"
    page = tmp_path / "page.html"
    assert search("--text", "red", "--html", page).code == 0
    assert "name: red" in page.read_text() and "0.000" not in page.read_text() and "<title>red" in page.read_text()
    with Library.open(library, read_only=True) as opened:
        assert [hit.path for hit in opened.search(text="red")] == [rows[0]["path"]]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["--text", "!?"], 1, "there is no word in '!?'; give letters"),
        (["--text", '"stop'], 1, "a quote is left open"),
        (["dog", "--text", ""], 1, "there is no word in ''"),
        (["--text", "dog", "--min-score", "0.1"], 2, "--min-score needs words"),
        (["--text", "dog", "--caption-weight", "1"], 2, "--caption-weight is for words"),
    ],
)
def test_texts_that_cannot_be_asked_for(search: Run, given: list[str], code: int, message: str) -> None:
    found = search(*given)
    assert (found.code, found.out) == (code, "") and message in found.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--like", "https://example.org/a.jpg"], "https://example.org/a.jpg is a URL, and nothing is fetched; save"),
        (["--unlike", "2:HTTP://example.org/a.jpg"], "is a URL"),
        (["--like", "none.jpg"], "none.jpg: no such file; name a picture"),
        (["--like", "2:none.jpg"], "error: none.jpg: no such file"),
        (["--like", "0:red.png"], "a picture's weight is a number above 0, not 0.0; "),
        (["--like", "red.png", "--unlike", "red.png"], "words and pictures cancel each other out; leave"),
    ],
)
def test_pictures_that_cannot_be_asked_for(
    search: Run, photos: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    monkeypatch.chdir(photos)
    found = search(*given)
    assert (found.code, found.out) == (1, "") and message in found.err and found.err.count("\n") == 1


def test_a_page_shows_all_pictures_searched_by_and_replaces_none(search: Run, photos: Path, tmp_path: Path) -> None:
    one, other, page = photos / "red.png", photos / "blue.webp", tmp_path / "page.html"
    assert search("--like", one, "--like", other, "-k", "1", "--html", page).code == 0
    text = page.read_text("utf-8")
    assert text.count("data:image/") == 3 and "Pictures like these" in text
    mine = shutil.copy(one, tmp_path / "mine.html")
    refused = search("dog", "--unlike", mine, "--html", mine, "--force")
    assert refused.code == 1 and Path(mine).read_bytes() == one.read_bytes()


@pytest.mark.parametrize("query", [["-sail boat"], ["boat", "-sail"], ["-sail", "boat"]])
def test_a_word_may_be_subtracted_first(search: Run, query: list[str]) -> None:
    expected = search("boat -sail", "--json")
    assert expected.code == 0
    assert search(*query, "--json").out == expected.out
    assert search("boat", "--json").out != expected.out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["boat"], ["boat"]),
        (["-sail boat", "--json"], ["--json", "--", "-sail boat"]),
        (["boat", "-sail", "-k", "3"], ["boat", "-k", "3", "--", "-sail"]),
        (["boat", "-k3", "-0"], ["boat", "-k3", "-0"]),
        (["boat", "--min-score", "-0.5"], ["boat", "--min-score", "-0.5"]),
        (["--in", "-odd", "boat"], ["--in", "-odd", "boat"]),
        (['-2*"hot dog"'], ["--", '-2*"hot dog"']),
        (["-kite"], ["--", "-kite"]),
        (["-h"], ["-h"]),
        (["--", "-sail", "-k"], ["--", "-sail", "-k"]),
    ],
)
def test_subtracted_words_are_told_from_options(given: list[str], expected: list[str]) -> None:
    assert subtracted_last(given, {"-k", "--in", "--min-score"}) == expected


def test_unknown_words_are_named(search: Run) -> None:
    found = search("boat brxqzt")
    assert found.code == 0
    assert "brxqzt" in found.err
    assert "boat" not in found.err
    assert found.out


@pytest.mark.parametrize("query", ["brxqzt", '"hot dog', "", "0x*boat", "-"])
def test_a_query_without_meaning_is_one_line_of_error(search: Run, query: str) -> None:
    found = search(query)
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("error: ")
    assert "; " in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize("wrong", [["dog", "--json", "--paths"], [], ["dog", "-k", "0"], ["dog", "--nonsense"]])
def test_wrong_calls_exit_with_2(search: Run, wrong: list[str]) -> None:
    found = search(*wrong)
    assert (found.code, found.out) == (2, "")
    assert "Error" in found.err


def test_page_holds_everything_itself(search: Run, tmp_path: Path) -> None:
    page = tmp_path / "results.html"
    found = search("dog", "--html", page)
    text = page.read_text("utf-8")
    assert found.code == 0
    assert text.count("data:image/") >= 4
    assert "red.png" in text
    assert "http://" not in text
    assert "https://" not in text


def test_a_page_that_cannot_be_written(search: Run, tmp_path: Path) -> None:
    found = search("dog", "--html", tmp_path / "no" / "results.html")
    assert found.code == 1
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1


def test_no_library_names_the_remedy(tmp_path: Path) -> None:
    found = Outcome("search", "dog", "--library", tmp_path / "none", "--model", tiny_model.model_folder())
    assert (found.code, found.out) == (1, "")
    assert "vsearch build-index" in found.err


def test_no_model_is_an_error(library: Path, tmp_path: Path) -> None:
    found = Outcome("search", "dog", "--library", library, "--model", tmp_path)
    assert (found.code, found.out) == (1, "")
    assert str(tmp_path) in found.err


def test_library_of_another_model_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    photos, place = tiny_model.draw_pictures(tmp_path / "my photos"), tmp_path / "library"
    first, other = tiny_model.model_folder(0), tiny_model.model_folder(1)
    assert Outcome("build-index", photos, "--library", place, "--model", first).code == 0
    for command in (["search", "dog"], ["build-index", photos]):
        refused = Outcome(*command, "--library", place, "--model", other)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.count("\n") == 1
        remedy = shlex.split(refused.err.partition("vsearch ")[2])
        assert remedy[0] == "reindex"
    assert Outcome(*remedy).code == 0
    assert Outcome("search", "dog", "--library", place, "--model", other).code == 0
    assert Outcome("search", "dog", "--library", place, "--model", first).code == 1


def test_ctrl_c_is_one_line(search: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("index.search.searcher.Searcher.search", interrupted)
    found = search("dog")
    assert (found.code, found.out, found.err) == (130, "", "interrupted\n")


def test_search_by_words_imports_nothing_slow(library: Path, tmp_path: Path) -> None:
    script = "import sys, cli\ntry: cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", script, "search", "dog", "--why", "--html", str(tmp_path / "page.html")]
    command += ["--library", str(library), "--model", str(tiny_model.model_folder())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tiny_model.ROOT, timeout=60)
    loaded = set(done.stderr.split())
    assert {"index.search.searcher", "vsearch.text.phrase", "fasttext"} <= loaded
    assert not loaded & {"torch", "torchvision", "matplotlib", "h5py", "nltk", "safetensors", "rich.progress"}
    assert done.stdout.count("\n") >= 4


def test_a_reader_that_leaves_early_makes_no_noise(library: Path) -> None:
    command = [sys.executable, str(tiny_model.ROOT / "cli.py"), "search", "dog", "--library", str(library)]
    read, write = os.pipe()
    os.close(read)
    command += ["--model", str(tiny_model.model_folder())]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(write)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["  "], 1, "the query is empty; give words"),
        (["dog", "--why", "--paths"], 2, "--why does not go"),
        (["dog", "--min-score", "nan"], 2, "takes a number"),
        (["dog", "--image", "nope.jpg"], 1, "nope.jpg: no such file; name a picture"),
    ],
)
def test_wrong_calls_say_what_is_wrong(library: Path, arguments: list[str], code: int, message: str) -> None:
    done = tiny_model.run("search", *arguments, "--library", library, "--model", tiny_model.model_folder())
    assert done.returncode == code
    assert message in " ".join(done.stderr.decode().replace("│", " ").split())


def test_the_remedy_for_a_missing_library_makes_that_very_library(tmp_path: Path) -> None:
    done = tiny_model.run("search", "dog", "--library", tmp_path / "none", "--model", tiny_model.model_folder())
    assert done.returncode == 1
    assert f"build-index FOLDER --library {tmp_path / 'none'}" in done.stderr.decode()


def test_a_folder_that_is_not_there_is_named(library: Path, tmp_path: Path) -> None:
    model = tiny_model.model_folder()
    done = tiny_model.run("search", "dog", "--in", tmp_path / "gone", "--library", library, "--model", model)
    assert done.returncode == 1 and done.stdout == b""
    assert "gone; name one that was indexed" in done.stderr.decode()
    told = tiny_model.run("info", "--library", library, "--model", model).stdout.decode()
    assert "\nfolder " in told
