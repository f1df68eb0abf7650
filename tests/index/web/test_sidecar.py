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


def test_only_our_own_files_are_written_again(tmp_path: Path) -> None:
    photos = build(tmp_path, 3)
    others = [Path(f"{photo}.xmp") for photo in photos]
    others[0].write_text("<x:xmpmeta x:xmptk='darktable'/>")
    others[1].symlink_to(tmp_path / "elsewhere")
    with client_of(make_service(tmp_path)) as client:
        for _ in range(2):
            found = client.post("/api/sidecar", json={"ids": [1, 2, 3]}).json()
            assert found["written"] == [str(others[2])]
            reasons = [row["reason"] for row in found["skipped"]]
            assert reasons == [f"{other.name} is another program's file" for other in others[:2]]
        photos[2].unlink()
        assert client.post("/api/sidecar", json={"ids": [3]}).json()["skipped"][0]["reason"] == "the file is gone"
    assert "darktable" in others[0].read_text() and not (tmp_path / "elsewhere").exists()


def test_not_with_read_only(tmp_path: Path) -> None:
    photos = build(tmp_path, 1)
    with client_of(make_service(tmp_path, read_only=True)) as client:
        assert client.post("/api/sidecar", json={"ids": [1]}).status_code == 403
        assert 'id="xmp"' not in client.get("/p/1").text
    assert not Path(f"{photos[0]}.xmp").exists()
