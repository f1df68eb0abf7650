"""Start the server: the port, the key, the browser, and the loop that answers."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import platformdirs
import uvicorn

from index.web.app import make_guarded
from index.web.guard import allowed_hosts
from index.web.service import Service
from vsearch.errors import VsearchError
from vsearch.files import make_private_folder, replacing

HOST = "127.0.0.1"
_BACKLOG = 128


class Server:
    """A port that is ours, a key, and the application behind them; `run` answers until it is told to stop."""

    def __init__(self, service: Service, port: int, names: Iterable[str] = (), key: str | None = None) -> None:
        """Take the port; 0 takes any that is free. `names` are hosts that a proxy in front of this one answers to.

        Raises VsearchError if the port is taken or may not be used.
        """
        self._socket = _listen(port)
        self.port = int(self._socket.getsockname()[1])
        self.key = key or secrets.token_urlsafe(24)
        self.address = f"http://{HOST}:{self.port}/"
        app = make_guarded(service, allowed_hosts(self.port, names), self.key, f"vsearch-{self.port}")
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            interface="asgi3",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    @property
    def address_with_key(self) -> str:
        """The address that lets a browser in."""
        return f"{self.address}?key={self.key}"

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return bool(self._server.started)

    def run(self) -> None:
        """Answer until the process is interrupted, or `stop` is called."""
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(self._socket):
            asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Let `run` return, from another thread."""
        self._server.should_exit = True


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine only."""
    # Named as TCP: asyncio sends small answers at once (TCP_NODELAY) only where a socket says what it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = "is used by another program" if error.errno == 98 else (error.strerror or "cannot be used").lower()
        raise VsearchError(f"port {port} {reason}", "name another one, as in `port=8770`; 0 takes any") from None
    return listener


@contextlib.contextmanager
def open_browser(server: Server, failed: Callable[[], None], folder: Path | None = None) -> Iterator[None]:
    """Open the first page in the user's browser, in a thread; call `failed` if there is none.

    The browser is given a file that leads there and that only the user can read: the command line of a process, and
    the key in it, could be read by every user of the machine. The file goes when the block ends.
    """
    place = (folder or platformdirs.user_cache_path("vsearch", appauthor=False)) / f"open-{server.port}.html"

    def run() -> None:
        if not _has_screen():
            failed()
            return
        try:
            _write_private(place, server.address_with_key)
            if not webbrowser.open(place.as_uri()):
                failed()
        except (OSError, webbrowser.Error):
            failed()

    threading.Thread(target=run, name="browser", daemon=True).start()
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def _has_screen() -> bool:
    """Tell whether a browser with windows can open; one in the terminal would take it over."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"))


def _write_private(place: Path, address: str) -> None:
    make_private_folder(place.parent)
    text = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(address)}"><title>vsearch</title>'
    with replacing(place, unique=True) as fresh:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
