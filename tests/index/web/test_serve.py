"""The command: a real server in a process of its own; ports, browsers, what is missing."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from index.web.serve import Server, open_browser
from tests.support.site import KEY, build, make_service, running
from tests.support.tiny_model import ROOT, model_folder
from vsearch.errors import VsearchError


@contextmanager
def serve(*arguments: str | Path, place: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `vsearch serve` on the library at `place`; yields the process and the address that it printed."""
    options = ["--library", place / "library", "--model", model_folder(), "--port", "0", *arguments]
    command = [sys.executable, str(ROOT / "cli.py"), "serve", *(os.fspath(option) for option in options)]
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(place / "cache"),
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
        "BROWSER": "",
    }
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_the_command(tmp_path: Path) -> None:
    build(tmp_path, 2)
    with serve(place=tmp_path) as (process, line):
        assert line.startswith("vsearch: http://127.0.0.1:") and "?key=" in line
        port, key = int(line.split(":")[3].split("/")[0]), line.strip().split("key=")[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/?q=dog", headers={"Cookie": f"vsearch-{port}={key}"})
        assert b"2 of 2 pictures" in connection.getresponse().read()
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "no browser was found: open the address above in one\n"


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(VsearchError, match=f"port {port} is used by another program") as caught:
            Server(make_service(tmp_path), port)
    assert "`port=8770`" in caught.value.hint


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    with running(make_service(tmp_path)) as server:
        assert server._socket.getsockname()[0] == "127.0.0.1"
        assert get(server.port, "/healthz") == (204, b"")


def test_many_at_once(place: Path) -> None:
    """Fifty threads ask for everything; each gets an answer, and the same one."""
    routes = ["/", "/?q=dog", "/api/search?q=boat", "/thumb/1", "/p/2?q=dog", "/api/picture/3"]
    answers: dict[str, set[int]] = {route: set() for route in routes}

    def ask(port: int, number: int) -> None:
        for turn in range(4):
            route = routes[(number + turn) % len(routes)]
            answers[route].add(get(port, route)[0])

    with running(make_service(place)) as server:
        threads = [threading.Thread(target=ask, args=(server.port, number)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {route: {200} for route in routes}


def test_the_browser_gets_a_file_that_only_the_user_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opening(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", opening)
    monkeypatch.setenv("DISPLAY", ":0")
    server = Server(make_service(tmp_path), 0)
    with open_browser(server, lambda: pytest.fail("no browser"), tmp_path / "run"):
        for _ in range(200):
            if opened:
                break
            time.sleep(0.02)
        [file] = (tmp_path / "run").iterdir()
        assert opened == [file.as_uri()] and server.key not in opened[0]
        assert server.address_with_key in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()
    server._socket.close()


def test_a_browser_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    monkeypatch.setenv("DISPLAY", ":0")
    server = Server(make_service(tmp_path), 0)
    with open_browser(server, told.set, tmp_path):
        assert told.wait(10)
    server._socket.close()


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    program = "import sys; sys.modules['fastapi'] = None; import cli; cli.main()"
    command = [sys.executable, "-c", program, "serve", "--library", str(tmp_path / "library")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: the server needs fastapi; install the extra: pip install 'vsearch-photos[web]'\n"


def test_a_file_that_is_no_library_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "library").write_bytes(b"no library" * 100)
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--no-open", "--library", str(tmp_path / "library")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "is not a library of vsearch" in done.stderr and done.stdout == ""
