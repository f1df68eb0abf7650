"""Seconds, memory and new processes, as the benchmarks of search measure them."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """Seconds since it was made, by the clock and of processor time of this process."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._wall, "processor": time.process_time() - self._processor}


class Growth:
    """Bytes of its own that this process takes for what is inside: `memory` at the end, `peak` at most."""

    def __enter__(self) -> Growth:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be taken again unseen
        self._before = self.peak = own_memory()
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        self.clock = Clock()
        return self

    def __exit__(self, *_: object) -> None:
        self._times = self.clock.seconds()
        self._end.set()
        self._watcher.join()
        after = own_memory()
        self.memory, self.peak = after - self._before, max(self.peak, after) - self._before

    def facts(self) -> dict[str, float]:
        return self._times | {"memory": self.memory, "peak": self.peak}

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self.peak = max(self.peak, own_memory())


def own_memory() -> int:
    """Return bytes in memory that are no file's."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def once(command: list[str]) -> tuple[float, float]:
    """Return seconds by the clock, and seconds of processor time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
