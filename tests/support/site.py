"""The pages over a small library: a tiny model, a folder of drawn pictures, and a client that holds the key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from starlette.testclient import TestClient

from index import Library
from index.web.app import make_guarded
from index.web.guard import allowed_hosts
from index.web.serve import Server
from index.web.service import Service
from index.web.thumbnails import Thumbnails
from tests.support.pictures import draw
from tests.support.tiny_model import model_folder
from vsearch.commands.terms import typed
from vsearch.model import Model

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
KEY = "a-key-for-tests"
COOKIE = f"vsearch-{PORT}"
SHAPES = ((96, 64), (64, 96), (80, 80), (150, 60))


def draw_photos(folder: Path, count: int = 12) -> list[Path]:
    """JPEG files of several shapes, every third with EXIF: taken on the first of a month of 2024."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        exif = Image.Exif()
        if number % 3 == 0:
            exif[0x010F], exif[0x0110] = "Lumina", f"L{number % 2 + 1}"
            exif.get_ifd(0x8769)[0x9003] = f"2024:{number % 12 + 1:02}:01 12:00:00"
            exif.get_ifd(0x8769)[0x829A] = IFDRational(1, 250)
        draw(number, SHAPES[number % 4]).save(path, quality=95, exif=exif)
    return paths


def make_service(place: Path, *, read_only: bool = False, kind: str = "soft") -> Service:
    """A service over the library at `place` / "library", which may not be there."""
    model = Model(model_folder(kind=kind), "cpu")
    return Service(place / "library", model, Thumbnails(place / "thumbnails"), read_only=read_only, say=typed)


def build(place: Path, count: int = 12, *, kind: str = "soft") -> list[Path]:
    """Draw pictures below `place` / "photos" and build the library of them."""
    paths = draw_photos(place / "photos", count)
    with Library.open(place / "library", Model(model_folder(kind=kind), "cpu")) as library:
        library.build([place / "photos"])
    return paths


def client_of(service: Service, *, key: str | None = KEY, host: str = HOST) -> TestClient:
    """A client of the guarded application; without `key` it has no cookie."""
    app = make_guarded(service, allowed_hosts(PORT, ["photos.example"]), KEY, COOKIE)
    client = TestClient(app, base_url=f"http://{host}", follow_redirects=False)
    if key is not None:
        client.cookies.set(COOKIE, key)
    return client


@contextmanager
def running(service: Service) -> Iterator[Server]:
    """A real server on a free port, in a thread."""
    server = Server(service, 0, key=KEY)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(200):
        if server.started:
            break
        time.sleep(0.02)
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=20)
        service.close()
