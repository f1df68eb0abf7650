"""Groups of near-identical pictures, against a naive double loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import duplicates as module
from index.caches.refresh import refresh
from index.database.database import Database
from index.database.write import NewPicture
from index.duplicates import Group, duplicates


def fill(library: Database, vectors: NDArray[np.float64], *, contents: list[int] | None = None, first: int = 0) -> None:
    """A picture /p/0000, /p/0001, ... for each vector (n, D); equal numbers in `contents` are equal files."""
    library.adopt("model", vectors.shape[1])
    with library.writing():
        library.write.start_run()
        for n, vector in enumerate(vectors):
            content = n + first if contents is None else contents[n]
            size = 1000 + content % 7
            row = NewPicture(
                f"/p/{n + first:04d}", size, 5, content.to_bytes(16, "big"), vector.astype(np.float32), None
            )
            library.write.put(row)


def crowd(n: int, dim: int = 8, spread: float = 0.25, seed: int = 0) -> NDArray[np.float64]:
    """Unit vectors (n, D) around n / 3 centres, so that some pairs are near and some chains are long."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((max(1, n // 3), dim))[rng.integers(0, max(1, n // 3), n)]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) + spread * rng.standard_normal((n, dim)) / dim**0.5
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def naive(library: Database, threshold: float, within: str = "/") -> set[frozenset[str]]:
    """Every pair compared in a double loop, groups merged as sets."""
    ids, vectors = library.read.vectors(library.read.ids_under(within).tolist())
    rows = [library.read.pictures([id_])[id_] for id_ in ids.tolist()]
    groups = [{row.path} for row in rows]
    for a in range(len(rows)):
        for b in range(a):
            if rows[a].hash == rows[b].hash or float(vectors[a] @ vectors[b]) >= threshold:
                one = next(group for group in groups if rows[a].path in group)
                two = next(group for group in groups if rows[b].path in group)
                if one is not two:
                    groups.remove(two)
                    one |= two
    return {frozenset(group) for group in groups if len(group) > 1}


def sets(groups: list[Group]) -> set[frozenset[str]]:
    return {frozenset(picture.path for picture in group.pictures) for group in groups}


@pytest.mark.parametrize("threshold", [0.8, 0.95, 0.99, 2.0])
@pytest.mark.parametrize(("outer", "inner"), [(32_768, 2_048), (50, 7), (5, 3)])
@pytest.mark.parametrize(("whole", "short"), [(0, 40), (300_000, 40), (300_000, 3), (300_000, 1)])
def test_blocks_find_what_a_double_loop_finds(
    library: Database, monkeypatch: pytest.MonkeyPatch, threshold: float, outer: int, inner: int, whole: int, short: int
) -> None:
    """Held as a whole and shortened, or a part at a time."""
    for name, value in {"_OUTER": outer, "_INNER": inner, "_WHOLE": whole, "_SHORT": short, "_SIDE": inner}.items():
        monkeypatch.setattr(module, name, value)
    fill(library, crowd(83), contents=[n if n % 10 else n % 20 for n in range(83)])  # equal: 0, 20, 40 ..; 10, 30 ..
    expected = naive(library, threshold)
    assert sets(duplicates(library, threshold)) == expected
    assert len(expected) >= 2


@pytest.mark.parametrize("threshold", [0.9, 0.99])
def test_the_graph_with_newer_and_removed_pictures_finds_the_same(library: Database, threshold: float) -> None:
    fill(library, crowd(300))
    refresh(library, graph_from=1)
    with library.writing():
        library.write.start_run()
        library.write.remove([f"/p/{n:04d}" for n in range(0, 300, 9)])
    newer = crowd(300)[100:160] + 0.02 * np.random.default_rng(2).standard_normal((60, 8))  # cosines of about 0.998
    fill(library, newer, first=300)
    found = duplicates(library, threshold, graph_from=1)
    assert sets(found) == naive(library, threshold)
    assert sets(found) == sets(duplicates(library, threshold))
    assert sum(len({picture.path >= "/p/0300" for picture in group.pictures}) == 2 for group in found) > 30


def test_the_graph_is_asked_until_it_has_no_more(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NEIGHBOURS", 2)
    rng = np.random.default_rng(1)
    centre = np.eye(8)[0]
    fill(library, np.concatenate([centre + 0.01 * rng.standard_normal((40, 8)), crowd(40, seed=3)]))
    refresh(library, graph_from=1)
    assert sets(duplicates(library, 0.99, graph_from=1)) == naive(library, 0.99)


def test_pictures_in_a_folder_alone(library: Database) -> None:
    fill(library, np.eye(4)[[0, 0, 0, 1]])
    library.write.touch(1, "/q/0000", 1000, 5)
    assert sets(duplicates(library, 0.9, within="/p")) == {frozenset({"/p/0001", "/p/0002"})}
    assert duplicates(library, 0.9, within="/q") == []


def test_chains_are_one_group(library: Database) -> None:
    # Unit vectors at 0, 10, 20 and 60 degrees: neighbours 10 degrees apart have the cosine 0.985, those 20 apart 0.940.
    angles = np.radians([0, 10, 20, 60])
    fill(library, np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert sets(duplicates(library, 0.98)) == {frozenset({"/p/0000", "/p/0001", "/p/0002"})}
    assert sets(duplicates(library, 0.99)) == set()


def test_the_largest_file_is_first_and_the_others_are_counted(library: Database) -> None:
    fill(library, np.eye(4)[[0, 0, 0, 1, 1]], contents=[3, 6, 6, 1, 1])  # sizes 1003, 1006, 1006; 1001, 1001
    near, exact = duplicates(library, 0.99)
    assert [picture.path for picture in near.pictures] == ["/p/0001", "/p/0002", "/p/0000"]
    assert (near.freed, near.exact) == (1006 + 1003, False)
    assert [picture.path for picture in exact.pictures] == ["/p/0003", "/p/0004"]
    assert (exact.freed, exact.exact) == (1001, True)


def test_an_empty_library(library: Database, tmp_path: Path) -> None:
    assert duplicates(library, within=tmp_path) == []
