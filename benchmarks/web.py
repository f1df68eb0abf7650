"""What the page costs: seconds of each answer, many clients at once, and how soon the first page is there.

    python -m benchmarks.web --count 100000 --clients 50 --seconds 30

A library of vectors drawn from clusters, as large as asked for, with 24 real pictures; the server in a process of its
own. Prints JSON. The budgets: HTML in 50 ms, a search by words in 20 ms, a page below 60 kB, a thumbnail that is kept
in 5 ms (medians of one client); with many clients no error and no growing memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import vsearch
from benchmarks.filled import draw, fill
from benchmarks.measuring import ROOT
from index import Library

WORDS = (
    "dog",
    "boat engine",
    "snow -dog",
    "two children beach",
    "red car",
    "night sky",
    "2*horse grass",
    "mountain lake",
)
TURNS = 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="pictures in the library")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        first = make_library(place, options.count)
        facts: dict[str, Any] = {"pictures": options.count, "processors": os.cpu_count()}
        with served(place) as (server, seconds):
            facts["first page, seconds after the command"] = round(seconds, 2)
            facts["first page, seconds of processor time"] = round(server.processor(), 2)
            facts |= alone(server, first)
            facts |= crowd(server, first, options.clients, options.seconds)
    print(json.dumps(facts, indent=2))


def make_library(place: Path, count: int) -> int:
    """Make the library, and return the id of the first real picture in it."""
    model = vsearch.load()
    spread = model.dim
    fill(place / "library", draw(count, model.dim, 200, 1.0, spread), model.identity, model.dim)
    photos = place / "photos"
    photos.mkdir()
    from PIL import Image

    for number in range(24):
        Image.effect_noise((1600, 1200), 60 + number).convert("RGB").save(photos / f"{number}.jpg")
    with Library.open(place / "library", model) as library:
        library.build([photos], captions=False)
        return int(library._database.read.last_id()) - 23


class Server:
    """A server to ask: its process, port and key."""

    def __init__(self, process: subprocess.Popen[str], port: int, key: str) -> None:
        self.process, self.port, self.headers = process, port, {"Authorization": f"Bearer {key}"}

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        connection.request("GET", path, headers=self.headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def memory(self) -> int:
        """Return the bytes that are the process's own."""
        resident, shared = map(int, Path(f"/proc/{self.process.pid}/statm").read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")

    def processor(self) -> float:
        """Return the seconds of processor time that the process has taken, which others next to it hardly change."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(place: Path) -> Iterator[tuple[Server, float]]:
    """Start the server; yields it and the seconds from the command to the first page."""
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--no-open", "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache")}
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--library", str(place / "library")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[1]
        server = Server(process, int(address.split(":")[2].split("/")[0]), address.split("key=")[1])
        status, _ = server.ask(server.connection(), "/")
        assert status == 200
        yield server, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(timeout=30)


def alone(server: Server, first: int) -> dict[str, float]:
    """Return milliseconds (median, 95th percentile) of each kind of answer for one client, and the size of a page."""
    connection = server.connection()
    kinds = {
        "search by words": [f"/api/search?q={quote_plus(words)}" for words in WORDS],
        "html": [f"/?q={quote_plus(words)}" for words in WORDS],
        "html, newest": ["/"],
        "thumbnail kept": [f"/thumb/{first + number}?s=480" for number in range(24)],
    }
    facts: dict[str, float] = {}
    for kind, paths in kinds.items():
        for path in paths:
            server.ask(connection, path)
        seconds, size, before = [], 0, server.processor()
        for turn in range(TURNS):
            path = paths[turn % len(paths)]
            if kind == "search by words":  # never the same twice: a ranking is kept
                path += f"+{1 + (turn + 1) / 1000}*water"
            started = time.perf_counter()
            status, body = server.ask(connection, path)
            seconds.append(1000 * (time.perf_counter() - started))
            assert status == 200, path
            size = max(size, len(body))
        facts[f"{kind}, median ms"] = round(statistics.median(seconds), 1)
        facts[f"{kind}, processor ms"] = round(1000 * (server.processor() - before) / TURNS, 1)
        facts[f"{kind}, 95 % ms"] = round(sorted(seconds)[int(0.95 * len(seconds))], 1)
        facts[f"{kind}, bytes"] = size
    return facts


def crowd(server: Server, first: int, clients: int, seconds: float) -> dict[str, float]:
    """Return answers a second, errors and memory with many clients that ask for everything, as fast as they can."""
    end = time.monotonic() + seconds
    counts: list[int] = []
    errors: list[str] = []

    def client(number: int) -> None:
        connection, done = server.connection(), 0
        while time.monotonic() < end:
            words = quote_plus(WORDS[(number + done) % len(WORDS)])
            path = (
                f"/?q={words}",
                f"/api/search?q={words}&after=60",
                f"/thumb/{first + done % 24}?s=480",
                "/api/words?prefix=sn",
            )
            try:
                status, _ = server.ask(connection, path[done % 4])
                if status != 200:
                    errors.append(f"{status} {path[done % 4]}")
            except OSError as error:
                errors.append(repr(error))
                connection = server.connection()
            done += 1
        counts.append(done)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    half = server.memory()
    for thread in threads:
        thread.join()
    return {
        "clients": clients,
        "answers a second": round(sum(counts) / seconds, 1),
        "errors": len(errors),
        "memory at half time, MB": round(half / 1e6, 1),
        "memory at the end, MB": round(server.memory() / 1e6, 1),
    }


if __name__ == "__main__":
    main()
