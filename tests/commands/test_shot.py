"""When, where and with what: --since, --until, --by-file-time, --camera, --near, --sort, and what --json says."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from index import Library
from index.database.database import Database
from tests.support.commands import call
from tests.support.formats import as_format
from tests.support.pictures import draw
from tests.support.tiny_model import model_folder
from vsearch.errors import QueryError
from vsearch.model import load

CHANGED = datetime(2010, 6, 1, 12).timestamp()
ZONED = datetime(2024, 5, 31, 23, tzinfo=UTC)


def shoot(path: Path, date: str, zone: str = "", camera: str = "", place: tuple[float, float] | None = None) -> None:
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = camera.split(" ", 1)
    tags = {0x9003: date, 0x9011: zone, 0xA434: f"lens of {camera}" if camera else ""}
    exif.get_ifd(0x8769).update({number: tag for number, tag in tags.items() if tag})
    if place is not None:
        latitude, longitude = place
        gps = {
            1: "SN"[latitude > 0],
            2: (abs(latitude), 0.0, 0.0),
            3: "WE"[longitude > 0],
            4: (abs(longitude), 0.0, 0.0),
        }
        exif.get_ifd(0x8825).update(gps)
    path.parent.mkdir(exist_ok=True)
    draw(len(path.name)).save(path, exif=exif)
    os.utime(path, (CHANGED, CHANGED))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shot")
    shoot(folder / "photos" / "may.jpg", "2024:05:31 23:30:00", "", "NIKON D90", (48.0, 2.0))
    shoot(folder / "photos" / "june.jpg", "2024:06:01 00:10:00", "", "Canon EOS", (-33.0, -70.0))
    shoot(folder / "photos" / "zoned.jpg", "2024:06:01 02:00:00", "+03:00", "nikon Z5")
    shoot(folder / "photos" / "undated.jpg", "0000:00:00 00:00:00")
    shoot(folder / "photos" / "tomorrow.jpg", "2999:01:01 00:00:00")
    done = call("build-index", folder / "photos", "--library", folder / "library", "--model", model_folder())
    assert done.exit_code == 0 and done.stderr == ""
    return folder / "library"


def found(place: Path, *options: str) -> list[str]:
    result = call("search", "dog", "--paths", *options, "--library", place, "--model", model_folder())
    assert result.exit_code == 0, result.stderr
    return [Path(line).stem for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "options, wanted",
    [
        (["--since", "2024-01-01"], {"may", "june", "zoned"}),
        (["--since", "2024-05-31"], {"may", "june", "zoned"}),
        (["--until", "2024-05-30"], {"undated", "tomorrow"}),
        (["--since", "2010-06-01", "--until", "2010-06-01"], {"undated", "tomorrow"}),
        (["--since", "2010-06-01", "--until", "2010-06-01", "--by-file-time"],
         {"may", "june", "zoned", "undated", "tomorrow"}),
        (["--since", "2024-01-01", "--by-file-time"], set()),
        (["--camera", "nikon"], {"may", "zoned"}),
        (["--camera", "EOS"], {"june"}),
        (["--camera", "leica"], set()),
        (["--near", "48.01,2.01,5"], {"may"}),
        (["--near", "-33,-70.01,5"], {"june"}),
        (["--near", "0,0,1"], set()),
        (["--camera", "nikon", "--since", "2024-05-31", "--near", "48,2,500"], {"may"}),
    ],
)  # fmt: skip
def test_pictures_are_narrowed_by_how_they_were_taken(place: Path, options: list[str], wanted: set[str]) -> None:
    assert set(found(place, *options)) == wanted


def test_a_picture_with_a_zone_is_of_the_day_that_it_was_here(place: Path) -> None:
    here = ZONED.astimezone().date()
    assert "zoned" in found(place, "--since", str(here)) and "zoned" in found(place, "--until", str(here))
    assert "zoned" not in found(place, "--since", str(here + timedelta(days=1)))
    assert "zoned" not in found(place, "--until", str(here - timedelta(days=1)))


def test_hits_by_date(place: Path) -> None:
    by_score = found(place)
    assert found(place, "--sort", "score") == by_score
    latest = found(place, "--sort", "taken")
    assert set(latest[:3]) == {"june", "may", "zoned"} and latest.index("june") < latest.index("may")
    assert set(latest[3:]) == {"undated", "tomorrow"}
    oldest = found(place, "--sort", "oldest")
    assert set(oldest[:2]) == {"undated", "tomorrow"} and oldest.index("may") < oldest.index("june")
    two = found(place, "-k", "2", "--sort", "taken")
    assert set(two) == set(by_score[:2])  # the best two, then by date
    assert found(place, "--sort", "taken", "--by-file-time") == by_score  # all of one date: as they were


def test_similar_has_the_same_options(place: Path) -> None:
    photo = place.parent / "photos" / "may.jpg"
    options: list[str | Path] = ["--library", place, "--model", model_folder(), "--paths"]
    done = call("similar", photo, "--since", "2024-01-01", "--sort", "taken", *options)
    assert {Path(line).stem for line in done.stdout.splitlines()} == {"june", "zoned"}
    done = call("similar", photo, "--camera", "canon", "--near", "-33,-70,1", *options)
    assert [Path(line).stem for line in done.stdout.splitlines()] == ["june"]


def test_json_tells_what_is_known(place: Path) -> None:
    result = call("search", "dog", "--json", "--library", place, "--model", model_folder())
    rows = {Path(row["path"]).stem: row for row in json.loads(result.stdout)}
    june = {key: rows["june"][key] for key in ("width", "height", "camera", "lens", "latitude", "longitude")}
    assert june == {
        "width": 64, "height": 48, "camera": "Canon EOS", "lens": "lens of Canon EOS",
        "latitude": -33.0, "longitude": -70.0,
    }  # fmt: skip
    assert datetime.fromisoformat(rows["june"]["taken"]) == datetime(2024, 6, 1, 0, 10).astimezone()
    assert datetime.fromisoformat(rows["zoned"]["taken"]) == ZONED
    for name in ("undated", "tomorrow"):
        assert [rows[name][key] for key in ("taken", "camera", "lens", "latitude")] == [None] * 4


def test_info_counts_them(place: Path) -> None:
    told = call("info", "--library", place, "--model", model_folder()).stdout
    assert "taken        3 with a date of their own, 2 with a place" in told.splitlines()


@pytest.mark.parametrize("text", ["", "1,2", "a,b,c", "91,0,1", "1,2,0", "1,2,nan", "1,2,3,4"])
def test_what_is_no_place_is_a_wrong_call(place: Path, text: str) -> None:
    result = call("search", "dog", "--near", text, "--library", place, "--model", model_folder())
    assert result.exit_code == 2 and "--near takes latitude, longitude and kilometres" in result.stderr


def test_python(place: Path) -> None:
    with Library.open(place, load(model_folder(), "cpu"), read_only=True) as library:
        assert [Path(hit.path).stem for hit in library.search("dog", near=(48, 2, 1), camera="d90")] == ["may"]
        by_date = library.search("dog", sort="oldest")
        details = library.details(by_date)
        taken = [details[hit.id].taken for hit in by_date]
        known = [moment for moment in taken if moment is not None]
        assert taken[:2] == [None, None] and known == sorted(known)
        with pytest.raises(QueryError, match="cannot sort by 'size'"):
            library.search("dog", sort="size")  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="no place"):
            library.similar(by_date[0].path, near=(100, 0, 1))


def test_an_older_library_is_searched_by_the_dates_of_files_and_says_so(place: Path, tmp_path: Path) -> None:
    old = Path(shutil.copy(place, tmp_path / "library"))
    with Database.open(old) as library:
        as_format(library, 3)
    assert set(found(old, "--since", "2010-06-01", "--until", "2010-06-01")) == set(found(place))
    result = call("search", "dog", "--camera", "nikon", "--library", old, "--model", model_folder())
    assert result.exit_code == 0 and "does not know cameras and places yet" in result.stderr
    assert call("build-index", place.parent / "photos", "--library", old, "--model", model_folder()).exit_code == 0
    assert set(found(old, "--camera", "nikon")) == {"may", "zoned"}
