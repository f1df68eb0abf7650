"""Weights of torchvision from a server on this machine: checked, whole or absent, and never when offline."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vsearch.errors import ModelError, VsearchError
from vsearch.storage import pretrained
from vsearch.torchvision import torchvision


def saved() -> bytes:
    """A state dict as torchvision publishes them."""
    file = io.BytesIO()
    torch.save({"conv1.weight": torch.arange(6000.0)}, file)
    return file.getvalue()


DATA = saved()
SHA = hashlib.sha256(DATA).hexdigest()
NAME = f"net-{SHA[:8]}.pth"


class Server(ThreadingHTTPServer):
    """Answers names with DATA, below /short with half of it, /none with 404; counts the questions."""

    daemon_threads = True
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked += 1
        if self.path.startswith("/none"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[: len(DATA) // 2] if self.path.startswith("/short") else DATA)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", pretrained.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets torchvision say that the weights of all networks are at a URL."""

    def publish(url: str) -> None:
        vision = torchvision().models._api  # with its own download
        told = vision.WeightsEnum("Told", {"DEFAULT": vision.Weights(url=url, transforms=None, meta={})})
        monkeypatch.setattr(torchvision().models, "get_model_weights", lambda name: told)

    return publish


def holds(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights that the server has."""
    return list(state) == ["conv1.weight"] and torch.equal(state["conv1.weight"], torch.arange(6000.0))


def test_download_is_kept_and_found_again(
    server: Server, publish: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(f"{server.url}/{NAME}")
    for _ in range(2):
        assert holds(pretrained.backbone_weights("resnet18", tmp_path / "cache"))
    assert server.asked == 1
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [NAME]
    assert capsys.readouterr().out == ""


def test_weights_may_lie_on_this_machine(publish: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    publish((tmp_path / NAME).as_uri())
    assert holds(pretrained.backbone_weights("resnet18", tmp_path / "cache"))


@pytest.mark.parametrize("path", ["net-00000000.pth", f"short/{NAME}"])
def test_wrong_or_broken_off_download_leaves_nothing(
    server: Server, publish: Callable[[str], None], tmp_path: Path, path: str
) -> None:
    publish(f"{server.url}/{path}")
    with pytest.raises(ModelError, match="came broken: invalid hash") as caught:
        pretrained.backbone_weights("resnet18", tmp_path)
    assert "try again" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_checksum_is_refused(server: Server, publish: Callable[[str], None], tmp_path: Path) -> None:
    publish(f"{server.url}/net.pth")
    with pytest.raises(ModelError, match="holds no checksum"):
        pretrained.backbone_weights("resnet18", tmp_path)
    assert server.asked == 0


def test_server_that_says_no_or_is_not_there(server: Server, publish: Callable[[str], None], tmp_path: Path) -> None:
    publish(f"{server.url}/none/{NAME}")
    with pytest.raises(VsearchError, match="Not Found") as caught:
        pretrained.backbone_weights("resnet18", tmp_path)
    assert "local path" in caught.value.hint
    publish(f"http://127.0.0.1:9/{NAME}")
    with pytest.raises(VsearchError, match="cannot download"):
        pretrained.backbone_weights("resnet18", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_ever(publish: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        publish(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}")
        with pytest.raises(VsearchError, match="timed out"):
            pretrained.backbone_weights("resnet18", tmp_path)
    assert socket.getdefaulttimeout() is None


def test_damaged_cache_is_named(server: Server, publish: Callable[[str], None], tmp_path: Path) -> None:
    publish(f"{server.url}/{NAME}")
    pretrained.backbone_weights("resnet18", tmp_path)
    (tmp_path / NAME).write_bytes(DATA[:-1])
    with pytest.raises(ModelError, match=NAME) as caught:
        pretrained.backbone_weights("resnet18", tmp_path)
    assert "delete" in caught.value.hint


def test_offline_asks_nobody_but_uses_what_is_there(
    server: Server, publish: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(f"{server.url}/{NAME}")
    monkeypatch.setenv(pretrained.OFFLINE, "1")
    with pytest.raises(VsearchError, match=pretrained.OFFLINE) as caught:
        pretrained.backbone_weights("resnet18", tmp_path)
    assert "unset" in caught.value.hint and server.asked == 0
    monkeypatch.setenv(pretrained.OFFLINE, "0")
    pretrained.backbone_weights("resnet18", tmp_path)
    monkeypatch.setenv(pretrained.OFFLINE, "1")
    assert holds(pretrained.backbone_weights("resnet18", tmp_path)) and server.asked == 1


def test_torchvisions_sources_carry_their_checksum() -> None:
    url = pretrained.best_weights("resnet18").url
    assert url.startswith("https://download.pytorch.org/models/resnet18-")
    assert re.search(r"-[0-9a-f]{8,}\.pth$", url)
    with pytest.raises(ModelError, match="resnet19"):
        pretrained.best_weights("resnet19")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")

    target = Path()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_published_pickle_runs_no_code(publish: Callable[[str], None], tmp_path: Path, zipped: bool) -> None:
    Evil.target = tmp_path / "owned"
    file = io.BytesIO()
    if zipped:
        torch.save({"conv1.weight": Evil()}, file)
    else:
        file.write(pickle.dumps(Evil(), protocol=2))
    path = tmp_path / f"net-{hashlib.sha256(file.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(file.getvalue())
    publish(path.as_uri())
    with pytest.raises(ModelError, match="cannot read the weights"):
        pretrained.backbone_weights("resnet18", tmp_path / "cache")
    assert not Evil.target.exists()
