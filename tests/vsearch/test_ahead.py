"""Work done ahead: in order, never far ahead, errors in their turn, and an end when it is left early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from vsearch.ahead import ahead, prefetch


def test_results_come_in_order_whatever_ends_first() -> None:
    def slow(n: int) -> int:
        time.sleep(0.01 * (n % 3 == 0))
        return 2 * n

    assert list(ahead(slow, range(30), 4, 8)) == [2 * n for n in range(30)]
    assert list(ahead(slow, [], 4, 8)) == []


def test_it_never_takes_more_than_the_window() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    for n, found in enumerate(ahead(lambda item: item, items(), 2, 5)):
        assert found == n
        assert len(taken) <= n + 5
    assert len(taken) == 100


def test_an_error_comes_in_its_turn() -> None:
    def half(n: int) -> int:
        if n == 3:
            raise KeyError("lost")
        return n

    results = ahead(half, range(10), 2, 6)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(results)


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun, go = [], threading.Event()

    def wait(n: int) -> int:
        begun.append(n)
        if n:
            go.wait(5)
        return n

    results = ahead(wait, range(100), 1, 50)
    assert next(results) == 0
    threading.Timer(0.05, go.set).start()
    results.close()
    assert len(begun) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_prefetch_keeps_order_and_hands_over_errors() -> None:
    assert list(prefetch(iter(range(20)))) == list(range(20))

    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(KeyError, match="lost"):
        next(items)


def test_prefetch_stops_its_source_when_left_early() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    items = prefetch(source(), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 5
