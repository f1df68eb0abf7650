"""Whoever searches photos needs no torch: every command of a user, and every page of the server, with its packages
locked away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pictures import draw_folder
from tests.support.tiny_model import int8_folder, model_folder
from vsearch.commands.group import TRAINING
from vsearch.device import fast_int8

ROOT = Path(__file__).resolve().parents[2]
# Runs calls of the program, one after the other, in a process that can import nothing of the extra `train`; prints what
# each came to. A call "GET PATH" asks the server's application.
PROGRAM = """
import json, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from typer.testing import CliRunner
from cli import app
def ask(path, library, model):
    from pathlib import Path
    from starlette.testclient import TestClient
    from index.commands.options import Place
    from index.commands.serve import open_service
    from index.web.app import make_app
    service = open_service(Place(Path(library), Path(model), "cpu"), read_only=True)
    with TestClient(make_app(service)) as client:
        answer = client.get(path)
    service.close()
    return [0 if answer.status_code == 200 else answer.status_code, answer.text]
def run(call):
    if call[0] == "GET":
        return ask(*call[1:])
    result = CliRunner().invoke(app, call)
    error = "" if isinstance(result.exception, (SystemExit, type(None))) else repr(result.exception)
    return [result.exit_code, result.output + error]
print(json.dumps([run(call) for call in json.loads(sys.stdin.read())]))
"""


def locked(calls: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Return exit code and output of calls of vsearch without torch, torchvision, h5py and NLTK."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(sorted(TRAINING))], input=json.dumps(calls), cwd=folder,
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(code, text) for code, text in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, and one more."""
    place = tmp_path_factory.mktemp("light")
    draw_folder(place / "photos", 3)
    draw_folder(place / "others", 1, first=9)
    return place


def test_whatever_a_user_does(place: Path) -> None:
    """With a model that was exported, and the translator that comes along."""
    library = ["--library", "a.library"]
    both = [*library, "--model", str(int8_folder())]
    model, other = ["--model", str(int8_folder()), "--device", "cpu"], "others/009.png"
    calls: dict[str, list[str]] = {
        "build": ["build-index", "photos", *both],
        "words": ["search", "dog", "--why", *both],
        "page": ["search", "dog", "--html", "page.html", *both],
        "picture": ["search", "--image", other, *both],
        "together": ["search", "dog", "--image", other, *both],
        "french": ["search", "chien", "--from", "fr", *both],
        "similar": ["similar", "photos/000.png", *both],
        "like": ["search", "dog", "--like", other, "--unlike", "photos/001.png", *both],
        "text": ["search", "--text", "dog", *both],
        "duplicates": ["duplicates", *library],
        "check": ["check", *library],
        "export": ["export", "vectors.npy", *library],
        "caption": ["caption", other, "--beam", "4", "--json", *model],
        "heat-map": ["caption", other, "--heatmap", "map.png", *model],
        "caption by hand": ["caption", "photos/000.png", "--set", "a dog", *both],
        "label": ["label", other, *model],
        "tag": ["tag", "photos/000.png", *both],
        "translate": ["translate", "deux chiens courent dans la neige", "--from", "fr"],
        "info": ["info", *both],
        "reindex": ["reindex", *both],
        "forget": ["forget", "photos", *library],
    }
    found = dict(zip(calls, locked(list(calls.values()), place), strict=True))
    assert {name: text for name, (code, text) in found.items() if code} == {}
    assert "3 added" in found["build"][1] and "two dogs run through the snow" in found["translate"][1]
    [caption] = json.loads(found["caption"][1])
    assert len(caption["runner_ups"]) == 3 and (place / "map.png").is_file()
    assert "ONNX Runtime" in found["info"][1]


def test_every_page_of_the_server(place: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra [web] is not installed")
    library = str(place / "b.library")
    paths = [
        "/", "/?q=dog", "/p/1", "/map?left=dog&right=boat", "/time?q=dog", "/library",
        "/api/search?q=dog&why=1", "/api/similar/1", "/api/picture/1", "/api/attention/1", "/api/where/1?q=dog",
        "/api/words?prefix=d", "/api/info", "/api/map?x=dog&y=boat", "/thumb/1", "/photo/1",
    ]  # fmt: skip
    build = ["build-index", "photos", "--library", library, "--model", str(int8_folder())]
    found = locked([build, *(["GET", path, library, str(int8_folder())] for path in paths)], place)
    assert {path: text for path, (code, text) in zip(["build", *paths], found, strict=True) if code} == {}
    where = json.loads(dict(zip(paths, found[1:], strict=True))["/api/where/1?q=dog"][1])
    assert len(where["cells"]) == where["side"] ** 2 > 0


CALLS: dict[str, list[str]] = {
    "a model that was not exported": ["caption", "others/009.png", "--model", "MODEL"],
    "its device": ["build-index", "photos", "--library", "c.library", "--model", "MODEL"],
    "CUDA": ["label", "others/009.png", "--device", "cuda"],
    "training": ["train", "devise", "--data", "none.h5", "--output", "run"],
    "a learning rate": ["find-lr", "devise", "--data", "none.h5", "--output", "lr.png"],
    "evaluating": ["evaluate", "captions", "captions.h5"],
    "exporting": ["export-onnx", "MODEL", "--photos", "photos"],
}


def test_what_needs_torch_says_what_to_install(place: Path) -> None:
    calls = [[str(model_folder()) if word == "MODEL" else word for word in call] for call in CALLS.values()]
    for name, (code, text) in zip(CALLS, locked(calls, place), strict=True):
        assert code == 1, f"{name}: {text}"
        assert "not installed" in text and "pip install 'vsearch-photos[train]'" in text, f"{name}: {text}"
        assert "Traceback" not in text and len(text.splitlines()) <= 3, f"{name}: {text}"


@pytest.mark.skipif(not fast_int8(), reason="this processor embeds photos in float32")
def test_the_bundled_model_comes_exported() -> None:
    import vsearch

    assert vsearch.load(device="cpu").engine.kind == "int8"
