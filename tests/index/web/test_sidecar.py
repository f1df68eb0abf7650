"""XMP files next to pictures: what is in them, and what is never touched."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from index.database.database import Database
from tests.support.site import build, client_of, make_service

DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def test_captions_are_written_next_to_the_pictures(tmp_path: Path) -> None:
    photos = build(tmp_path, 3)
    with Database.open(tmp_path / "library") as library:
        library.write.set_caption(1, 'a <b> & "c"')
    with client_of(make_service(tmp_path)) as client:
        found = client.post("/api/sidecar", json={"ids": [4, 2, 999, 4]}).json()
    assert found["written"] == [f"{photos[0]}.xmp", f"{photos[1]}.xmp"]
    assert [row["id"] for row in found["skipped"]] == [999]
    first = ElementTree.parse(f"{photos[0]}.xmp").find(DESCRIPTION)
    assert first is not None and first.text == 'a <b> & "c"'
    assert not Path(f"{photos[2]}.xmp").exists()


def test_a_strangers_file_gets_the_caption_too_and_what_is_none_is_left_alone(tmp_path: Path) -> None:
    photos = build(tmp_path, 4)
    others = [Path(f"{photo}.xmp") for photo in photos]
    others[0].write_text("<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='darktable'/>")
    others[1].symlink_to(tmp_path / "elsewhere")
    theirs = "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><r:Description mine='1'/></r:RDF>"
    others[3].write_text(theirs)
    with client_of(make_service(tmp_path)) as client:
        for _ in range(2):
            found = client.post("/api/sidecar", json={"ids": [1, 2, 3, 4]}).json()
            assert found["written"] == [str(others[2]), str(others[3])]
            reasons = [row["reason"] for row in found["skipped"]]
            assert reasons == [f"{others[0].name}: no XMP", f"{others[1].name} is a link"]
        assert "<r:Description mine='1'/>" in others[3].read_text() and "dc:description" in others[3].read_text()
        photos[2].unlink()
        assert client.post("/api/sidecar", json={"ids": [3]}).json()["skipped"][0]["reason"] == "the file is gone"
    assert "darktable" in others[0].read_text() and not (tmp_path / "elsewhere").exists()


def test_not_with_read_only(tmp_path: Path) -> None:
    photos = build(tmp_path, 1)
    with client_of(make_service(tmp_path, read_only=True)) as client:
        assert client.post("/api/sidecar", json={"ids": [1]}).status_code == 403
        assert 'id="xmp"' not in client.get("/p/1").text
    assert not Path(f"{photos[0]}.xmp").exists()
