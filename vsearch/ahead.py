"""The next batch is made while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(source: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """The items of `source`, in order, made by a thread that runs up to `ahead` items ahead.

    What `source` raises is raised here; leaving early stops the thread.
    """
    items: queue.Queue[T | BaseException | None] = queue.Queue(ahead)
    left = threading.Event()

    def put(item: T | BaseException | None) -> bool:
        while not left.is_set():
            try:
                items.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in source:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # handed over to the reader, whatever it is
            put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        thread.join()
