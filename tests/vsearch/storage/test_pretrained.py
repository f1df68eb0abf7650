"""Weights from paths, file:// and a server on this machine: checked, whole or absent, and never when offline."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from vsearch.errors import ModelError, VsearchError
from vsearch.storage import pretrained

DATA = bytes(range(256)) * 10_000
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers /weights.bin with DATA, /short with half of it, all else with 404; counts the questions."""

    daemon_threads = True
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked += 1
        if self.path not in ("/weights.bin", "/short"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path == "/weights.bin" else DATA[: len(DATA) // 2])

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


def test_local_files_are_used_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "my weights.bin"
    path.write_bytes(DATA)
    assert pretrained.fetch(str(path), SHA) == path
    assert pretrained.fetch(path.as_uri(), SHA[:8]) == path
    with pytest.raises(ModelError, match=f"has the sha256 {SHA[:16]}"):
        pretrained.fetch(path.as_uri(), "0" * 64)
    with pytest.raises(VsearchError, match="no file at"):
        pretrained.fetch(str(tmp_path / "none"), SHA)


@pytest.mark.parametrize("sha256", ["", "abc", SHA.upper(), SHA + "0", "../../etc"])
def test_a_checksum_is_not_optional(sha256: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        pretrained.fetch("http://127.0.0.1/x", sha256)


def test_download_is_kept_and_found_again(server: Server, tmp_path: Path) -> None:
    path = pretrained.fetch(f"{server.url}/weights.bin", SHA, tmp_path / "cache")
    assert path.read_bytes() == DATA
    assert pretrained.fetch(f"{server.url}/weights.bin", SHA, tmp_path / "cache") == path
    assert server.asked == 1
    assert list((tmp_path / "cache").iterdir()) == [path]


def test_wrong_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="sha256"):
        pretrained.fetch(f"{server.url}/weights.bin", "0" * 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_broken_off_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match=f"broke off after {len(DATA) // 2} of {len(DATA)}"):
        pretrained.fetch(f"{server.url}/short", SHA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_server_that_says_no_or_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(VsearchError, match="Not Found") as caught:
        pretrained.fetch(f"{server.url}/nothing", SHA, tmp_path)
    assert caught.value.hint
    with pytest.raises(VsearchError, match="cannot download"):
        pretrained.fetch("http://127.0.0.1:9/x", SHA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_cache_is_named(server: Server, tmp_path: Path) -> None:
    path = pretrained.fetch(f"{server.url}/weights.bin", SHA, tmp_path)
    path.write_bytes(DATA[:-1])
    with pytest.raises(ModelError, match=path.name) as caught:
        pretrained.fetch(f"{server.url}/weights.bin", SHA, tmp_path)
    assert "delete" in caught.value.hint


def test_offline_asks_nobody_but_uses_what_is_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/weights.bin"
    monkeypatch.setenv(pretrained.OFFLINE, "1")
    with pytest.raises(VsearchError, match=pretrained.OFFLINE) as caught:
        pretrained.fetch(url, SHA, tmp_path)
    assert "unset" in caught.value.hint and server.asked == 0
    monkeypatch.setenv(pretrained.OFFLINE, "0")
    path = pretrained.fetch(url, SHA, tmp_path)
    monkeypatch.setenv(pretrained.OFFLINE, "1")
    assert pretrained.fetch(url, SHA, tmp_path) == path and server.asked == 1


def test_torchvisions_sources_carry_their_checksum() -> None:
    url, sha256 = pretrained.backbone_source("resnet18")
    assert url.startswith("https://download.pytorch.org/models/resnet18-") and sha256 in url and len(sha256) >= 8
    with pytest.raises(ModelError, match="resnet19"):
        pretrained.backbone_source("resnet19")


def serve_state(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `path` stand for torchvision's file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "backbone_source", lambda name: (path.as_uri(), sha256))


def test_backbone_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"conv1.weight": torch.arange(6.0)}, tmp_path / "weights.pth")
    serve_state(tmp_path / "weights.pth", monkeypatch)
    assert pretrained.backbone_weights("resnet18")["conv1.weight"].tolist() == [0, 1, 2, 3, 4, 5]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")

    target = Path()


def test_backbone_pickle_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Evil.target = tmp_path / "owned"
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    serve_state(tmp_path / "weights.pth", monkeypatch)
    with pytest.raises(ModelError, match="cannot read"):
        pretrained.backbone_weights("resnet18")
    assert not Evil.target.exists()
