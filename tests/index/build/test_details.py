"""Details: read for every picture, and for all of an older library, without the network; votes and captions by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.build.build import build_index
from index.database.database import Database
from index.database.schema import FORMAT
from tests.support.formats import as_format
from tests.support.pictures import FakeDescriber, draw_folder
from tests.support.site import draw_photos


def schema(library: Database) -> list[str]:
    """What the tables and triggers of a library are, but for the order in which they were made."""
    return sorted(row[0] for row in library.connection.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_every_picture_has_its_size_and_date(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 8)
    build_index(library, [tmp_path / "photos"], describer)
    catalogue = library.details.catalogue()
    assert catalogue.ids.tolist() == sorted(catalogue.ids.tolist()) and len(catalogue.ids) == 8
    details = library.details.of(catalogue.ids.tolist())
    assert [details[id_][:2] for id_ in catalogue.ids.tolist()] == [(96, 64), (64, 96), (80, 80), (150, 60)] * 2
    assert library.details.cameras() == ["Lumina L1", "Lumina L2"]
    taken = [details[id_].taken for id_ in catalogue.ids.tolist()]
    assert [moment is not None for moment in taken] == [number % 3 == 0 for number in range(8)]
    assert library.details.ids_where(["Lumina L2"]).tolist() == [int(catalogue.ids[3])]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_older_library_gets_them_without_the_network(
    library: Database, describer: FakeDescriber, tmp_path: Path, number: int
) -> None:
    paths = draw_photos(tmp_path / "photos", 8)
    build_index(library, [tmp_path / "photos"], describer)
    fresh = schema(library)
    as_format(library, number)
    with Database.open(library.path, read_only=True) as old:  # read as it is
        assert old.details.of([1]) == {} and old.details.cameras() == []
        assert old.details.catalogue().when.tolist() == [path.stat().st_mtime_ns for path in paths]
        assert len(old.details.ids_where(["Lumina L2"])) == 0 and old.opinions.votes() == []
    seen, told = describer.seen, list[tuple[int, int]]()
    build_index(library, [tmp_path / "photos"], describer, progress=lambda *step: told.append(step))
    assert told == [(8, 8), (0, 0)]  # heads, then pictures
    assert describer.seen == seen and library.read.noted("format") == str(FORMAT)
    assert [one.width for one in library.details.of(range(1, 9)).values()] == [96, 64, 80, 150] * 2
    assert schema(library) == fresh


def test_what_an_older_library_was_told_stays(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 2)
    build_index(library, [tmp_path / "photos"], describer)
    library.opinions.vote("dog", library.read.pictures([1])[1].hash, True)
    as_format(library, 3)
    build_index(library, [tmp_path / "photos"], describer)
    assert [vote.query for vote in library.opinions.votes()] == ["dog"]


def test_all_that_is_known_of_a_picture_goes_with_it(
    library: Database, describer: FakeDescriber, tmp_path: Path
) -> None:
    paths = draw_folder(tmp_path / "photos", 3)
    build_index(library, [tmp_path / "photos"], describer)
    for id_ in (1, 2, 3):
        library.connection.execute("INSERT INTO notes (id, keywords) VALUES (?, '[]')", (id_,))
        library.connection.execute("INSERT INTO texts (rowid, caption) VALUES (?, 'a dog')", (id_,))

    def left() -> list[list[int]]:
        columns = {"details": "id", "notes": "id", "texts": "rowid"}
        return [[row[0] for row in library.connection.rows(f"SELECT {c} FROM {t}")] for t, c in columns.items()]

    library.write.remove([str(paths[0])])
    assert left() == [[2, 3]] * 3
    assert library.connection.rows("SELECT rowid FROM texts WHERE texts MATCH 'Dög'") == [(2,), (3,)]
    library.connection.execute("INSERT INTO notes (id, keywords) VALUES (99, '[]')")
    library.write.clear("model", 13)
    assert left() == [[]] * 3


def test_details_go_with_their_picture(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    paths = draw_folder(tmp_path / "photos", 3)
    build_index(library, [tmp_path / "photos"], describer)
    library.write.remove([str(paths[0])])
    assert len(library.details.of(range(1, 4))) == 2
    paths[1].rename(paths[1].with_name("other.png"))
    paths[0].unlink()
    build_index(library, [tmp_path / "photos"], describer)
    assert len(library.details.of(library.details.catalogue().ids.tolist())) == 2


def test_a_file_that_changed_meanwhile_has_none(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    from index.build.details import note_details

    [path] = draw_folder(tmp_path / "photos", 1)
    build_index(library, [tmp_path / "photos"], describer)
    library.connection.execute("DELETE FROM details")
    path.write_bytes(b"something else")
    assert note_details(library) == 1 and library.details.of([1]) == {}


def test_votes_are_kept_by_content(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    [path] = draw_folder(tmp_path / "photos", 1)
    build_index(library, [tmp_path / "photos"], describer)
    content = library.read.pictures([1])[1].hash
    library.opinions.vote("dog", content, True)
    library.opinions.vote("boat", content, True)
    library.opinions.vote("dog", content, False)
    assert [(vote.query, vote.good) for vote in library.opinions.votes()] == [("dog", False), ("boat", True)]
    library.write.set_caption(1, "another caption", np.ones(13, np.float32))
    path.rename(path.with_name("moved.png"))
    build_index(library, [tmp_path / "photos"], describer, reindex=True)
    assert [vote.hash for vote in library.opinions.votes("dog")] == [content]
    library.opinions.withdraw("dog", content)
    assert library.opinions.votes("dog") == []


def test_a_build_of_another_process_is_seen(library: Database) -> None:
    assert not library.connection.is_building()
    program = (
        "import sys; from pathlib import Path; from index.database.database import Database\n"
        "with Database.open(Path(sys.argv[1])) as library, library.building():\n"
        "    print('on', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(library.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "on\n"
        assert library.connection.is_building()
        other.stdin.close()
        assert other.wait(timeout=30) == 0
    assert not library.connection.is_building()
    with library.building():  # whoever asks stops no build
        pass


def test_how_far_a_build_is(library: Database, describer: FakeDescriber, tmp_path: Path) -> None:
    draw_folder(tmp_path / "photos", 5)
    noted: list[str | None] = []
    with pytest.MonkeyPatch.context() as patch:
        real = library.write.note

        def note(key: str, value: str) -> None:
            real(key, value)
            if key == "progress":
                noted.append(value)

        patch.setattr(library.write, "note", note)
        build_index(library, [tmp_path / "photos"], describer, batch=2)
    assert noted == ["2 5", "4 5", "5 5", ""]
