"""What people wrote on photos: read at a build out of XMP, IPTC-IIM and EXIF, and of XMP files that change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from index import Library
from index.database.database import Database
from index.database.notes import Note
from index.metadata.embed import with_packet
from index.metadata.notes import merged
from index.metadata.xmp import Said
from tests.support.commands import call
from tests.support.formats import as_format
from tests.support.pictures import draw
from tests.support.tiny_model import model_folder
from vsearch.image.header import read_header
from vsearch.image.written import Written
from vsearch.model import Model

PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{stars}"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject></rdf:Description>
</rdf:RDF></x:xmpmeta>"""


def packet(stars: int, *keywords: str) -> bytes:
    return PACKET.format(stars=stars, items="".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)).encode()


def draw_noted(folder: Path) -> None:
    """Pictures with words: in a packet, in EXIF, in an XMP file, and one without any."""
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010E], exif[0x4746], exif[0x9C9E] = "Mein Hund im Garten", 2, "Garten;Hund\0".encode("utf-16-le")
    draw(0, (60, 40)).save(folder / "exif.jpg", exif=exif)
    draw(1, (60, 40)).save(folder / "packet.jpg")
    (folder / "packet.jpg").write_bytes(with_packet((folder / "packet.jpg").read_bytes(), packet(5, "Ärger", "dog")))
    draw(2, (60, 40)).save(folder / "beside.png")
    (folder / "beside.png.xmp").write_bytes(packet(3, "cat"))
    draw(3, (60, 40)).save(folder / "plain.png")


def notes(library: Library) -> dict[str, Note]:
    """All notes of a library, by the name of the picture."""
    with Database.open(library.path, read_only=True) as database:
        pictures = database.read.pictures(database.read.ids_where().tolist())
        found = database.notes.of(pictures)
    return {Path(pictures[id_].path).name: note for id_, note in found.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("notes")
    draw_noted(place / "photos")
    with Library.open(place / "library", Model(model_folder(), "cpu")) as library:
        assert library.build([place / "photos"]).skipped == []
    return place


def test_words_of_files_and_of_files_next_to_them_are_known(made: Path) -> None:
    found = notes(Library.open(made / "library"))
    time = (made / "photos/beside.png.xmp").stat().st_mtime_ns
    assert found == {
        "exif.jpg": Note(None, "Mein Hund im Garten", ("Garten", "Hund"), 2),
        "packet.jpg": Note(None, None, ("Ärger", "dog"), 5),
        "beside.png": Note(None, None, ("cat",), 3, time),
    }


def test_they_are_searched_and_printed(made: Path) -> None:
    options = ["--library", str(made / "library"), "--model", str(model_folder()), "--json"]

    def names(*arguments: str) -> list[str]:
        return sorted(Path(row["path"]).name for row in json.loads(call("search", "dog", *arguments, *options).stdout))

    assert names("--rating", "3") == ["beside.png", "packet.jpg"]
    assert names("--keyword", "ärger") == ["packet.jpg"]
    assert names("--keyword", "DOG", "--keyword", "Ärger", "--rating", "5") == ["packet.jpg"]
    assert names("--keyword", "dog", "--keyword", "cat") == []
    rows = {Path(row["path"]).name: row for row in json.loads(call("search", "dog", *options).stdout)}
    wanted = ("title", "description", "keywords", "rating")
    assert [rows["exif.jpg"][key] for key in wanted] == [None, "Mein Hund im Garten", ["Garten", "Hund"], 2]
    assert [rows["plain.png"][key] for key in wanted] == [None, None, [], None]
    like = call("similar", str(made / "photos/plain.png"), "--rating", "4", *options).stdout
    assert [Path(row["path"]).name for row in json.loads(like)] == ["packet.jpg"]


def test_a_changed_a_new_and_a_lost_xmp_file_are_noticed_without_encoding(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "photos", tmp_path / "photos")
    photos = tmp_path / "photos"
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        library.build([photos])
        (photos / "beside.png.xmp").write_bytes(packet(4, "bird"))
        os.utime(photos / "beside.png.xmp", ns=(1, 1))
        (photos / "packet.xmp").write_bytes(packet(1, "boat"))
        (photos / "plain.png.xmp").write_text("<not xmp")
        report = library.build([photos])
        assert report.encoded == 0 and report.skipped == [(str(photos / "plain.png.xmp"), "no XML")]
        found = notes(library)
        assert [Path(hit.path).name for hit in library.search(text="bird")] == ["beside.png"]
        assert found["beside.png"] == Note(None, None, ("bird",), 4, 1)
        assert found["packet.jpg"][:4] == (None, None, ("boat", "Ärger", "dog"), 1)
        assert library.build([photos]).skipped == []  # a bad one is named once
        for name in ("beside.png.xmp", "packet.xmp", "plain.png.xmp"):
            (photos / name).unlink()
        assert library.build([photos]).encoded == 0
        found = notes(library)
        assert found["packet.jpg"] == Note(None, None, ("Ärger", "dog"), 5) and "beside.png" not in found
        assert [Path(hit.path).name for hit in library.search(text="bird")] == []
        (photos / "plain.png.xmp").write_bytes(packet(1, "bird"))
        assert library.tag([photos / "plain.png"]).changed  # which reads what else is there
        assert [Path(hit.path).name for hit in library.search(text="bird")] == ["plain.png"]
        with Database.open(library.path) as database:
            picture = database.read.picture(str(photos / "packet.jpg"))
            assert picture is not None
            database.write.set_caption(picture.id, "by hand")
        assert notes(library)["packet.jpg"].rating == 5


def test_a_library_of_an_older_format_reads_them_at_its_next_build(made: Path, tmp_path: Path) -> None:
    shutil.copy2(made / "library", tmp_path / "library")
    with Database.open(tmp_path / "library") as database:
        as_format(database, 3)
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        assert library.search("dog", rating=1) == [] and library.notes(library.search("dog")) == {}
        assert library.build([made / "photos"]).encoded == 0
        assert {Path(hit.path).name for hit in library.search("dog", rating=3)} == {"beside.png", "packet.jpg"}


def test_who_says_something_first_is_heard() -> None:
    said = [Said(None, "b", ("x",), None), Said("t", "c", ("X", "y"), 2)]
    assert merged(said, 7) == Note("t", "b", ("x", "X", "y"), 2, 7)


@pytest.mark.parametrize("text", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "default", "SAMSUNG CAMERA PICTURES", "  "])
def test_what_a_camera_says_of_itself_is_no_description(text: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = text
    draw(0, (20, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_header(tmp_path / "a.jpg").written.description == ""


def test_damaged_metadata_are_none(tmp_path: Path) -> None:
    draw(0, (20, 20)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    block = b"\xff\xed\x00\x30Photoshop 3.0\x008BIM\x04\x04" + b"\xff" * 26
    for part in (block, b"\xff\xe1\x00\x20http://ns.adobe.com/xap/1.0/\0<"):
        (tmp_path / "a.jpg").write_bytes(data[:2] + part + data[2:])
        assert read_header(tmp_path / "a.jpg").written._replace(packet=None) == Written()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_what_exiftool_writes_is_read(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    draw(0, (20, 20)).save(photo)
    asked = ["-IPTC:Keywords=grün", "-IPTC:Keywords=dog", "-IPTC:ObjectName=Rex", "-IPTC:Caption-Abstract=Im Gras"]
    for encoding in ("UTF8", "Latin"):
        arguments = ["exiftool", "-q", "-overwrite_original", "-charset", f"iptc={encoding}", *asked, str(photo)]
        subprocess.run(arguments, check=True, timeout=60)
        assert read_header(photo).written[1:4] == ("Rex", "Im Gras", ("grün", "dog"))
    subprocess.run(
        ["exiftool", "-q", "-XMP:Rating=4", "-XMP:Subject=sea", "-o", f"{photo}.xmp"], check=True, timeout=60
    )
    with Library.open(tmp_path / "library", Model(model_folder(), "cpu")) as library:
        library.build([tmp_path])
        assert notes(library)["a.jpg"][:4] == ("Rex", "Im Gras", ("sea", "grün", "dog"), 4)
