"""Shared by all tests: no network, a library and a model that costs nothing."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index.database.database import Database
from tests.support.pictures import FakeDescriber


def _local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = str(address[0])
    try:
        return host in ("", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Any connection to an address outside this machine, and any look-up of its name, raises."""

    def guard(function: Callable[..., Any], at: int) -> Callable[..., Any]:
        def guarded(*args: Any, **named: Any) -> Any:
            address = args[at]
            if not _local((address, 0) if isinstance(address, str) else address):
                raise RuntimeError(f"a test reached for the network: {address}")
            return function(*args, **named)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guard(socket.socket.connect, 1))
        patch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex, 1))
        patch.setattr(socket, "getaddrinfo", guard(socket.getaddrinfo, 0))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_settings() -> Iterator[None]:
    """What the user of this machine has set changes no test; an empty VSEARCH_CONFIG means no file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSEARCH_CONFIG", "")
        patch.delenv("VSEARCH_LIBRARY", raising=False)
        patch.delenv("VSEARCH_MODEL", raising=False)
        yield


@pytest.fixture
def describer() -> FakeDescriber:
    return FakeDescriber()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Database]:
    """An empty library in the test's own folder."""
    with Database.open(tmp_path / "library.sqlite3", create=True) as opened:
        yield opened
