"""Work done by threads a few items ahead of whoever consumes it, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T], threads: int, window: int) -> Generator[R, None, None]:
    """Yield `function` of every item, in order, from a pool of `threads`.

    At most `window` items are taken and not yet consumed, so memory does not grow with their number. What `function`
    raises is raised here, in its turn. Leaving early waits for the calls that run and drops the others.
    """
    rest = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting: deque[Future[R]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(rest, window))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(source: Iterator[T], count: int = 2) -> Iterator[T]:
    """Yield the items of `source`, in order; a thread makes up to `count` of them ahead of the one consumed."""
    end = object()
    for item in ahead(lambda _: next(source, end), repeat(None), 1, count + 1):
        if item is end:
            return
        yield item  # type: ignore[misc]
