"""What a store of vectors owes, shown on each kind of store. D is 16, weights of captions are 0.4."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from index.database.database import OtherModelError
from index.stores.protocol import ALL, Dates, Row, Store, Vector, Where
from tests.distributed.conftest import DIM, MODEL, WEIGHT, MakeStore
from vsearch.errors import LibraryError

Vectors = NDArray[np.float32]


def directions(count: int, seed: int = 0, dim: int = DIM) -> Vectors:
    """Unit vectors (n, D)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def row(path: str, vector: Vector, caption: str | None = None, spoken: Vector | None = None, changed: int = 1) -> Row:
    """A picture of 10 bytes at a path."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
    return Row(path, 10, changed, digest, vector, caption, spoken)


def rows(count: int, folder: str = "/photos") -> list[Row]:
    """Pictures 000.jpg, 001.jpg, ..., changed at nanosecond 0, 1, ...; each third has no caption."""
    pairs = zip(directions(count), directions(count, 1), strict=True)
    return [
        row(f"{folder}/{n:03d}.jpg", own, f"picture {n}" if n % 3 else None, spoken if n % 3 else None, changed=n)
        for n, (own, spoken) in enumerate(pairs)
    ]


def paths(found: Sequence[object]) -> set[str]:
    return {str(getattr(one, "path", one)) for one in found}


@pytest.fixture
def filled(adopted: Store) -> Store:
    """A store with 40 pictures."""
    adopted.upsert(rows(40))
    adopted.sync()
    return adopted


# ---- whose vectors it holds


def test_is_nobodys_at_first(store: Store) -> None:
    assert store.facts() is None and store.sources() == []
    with pytest.raises(LibraryError):
        store.check_identity(MODEL)


def test_adopted_it_says_whose_it_is_to_everybody(store: Store, again: MakeStore) -> None:
    store.adopt(MODEL, DIM, WEIGHT)
    assert again().facts() == store.facts() == (MODEL, DIM, WEIGHT)
    store.check_identity(MODEL)
    assert store.count() == 0 and store.search(directions(1)[0], 3) == []


def test_is_adopted_twice_by_its_own_model_only(filled: Store, again: MakeStore) -> None:
    again().adopt(MODEL, DIM, WEIGHT)
    assert filled.count() == 40
    with pytest.raises(OtherModelError, match=r"made by another model \(model-1; this one is model-2\)"):
        filled.adopt("model-2", DIM, WEIGHT)
    with pytest.raises(OtherModelError, match="made by another model"):
        again().check_identity("model-2")
    with pytest.raises(OtherModelError, match="holds vectors of 16 numbers, the model makes 17"):
        filled.adopt(MODEL, 17, WEIGHT)
    assert filled.count() == 40


def test_sources_are_remembered_once(filled: Store, again: MakeStore) -> None:
    for source in ("s3://photos/a/", "/photos", "/photos"):
        filled.add_source(source)
    assert again().sources() == ["/photos", "s3://photos/a/"]


# ---- writing


def test_a_row_comes_back_as_it_was(filled: Store) -> None:
    written = {one.path: one for one in rows(40)}
    found = filled.fetch([*written, "/photos/none.jpg"])
    assert found.keys() == written.keys()
    for path, one in found.items():
        before = written[path]
        assert one[:4] == before[:4] and one.caption == before.caption
        assert one.vector.dtype == np.float16
        assert np.array_equal(one.vector, before.vector.astype(np.float16))


def test_float16_vectors_are_kept_bit_for_bit(filled: Store) -> None:
    odd = np.full(DIM, 0.3, np.float16)
    odd[0] = 6e-8  # subnormal
    filled.upsert([row("/photos/odd.jpg", odd)])
    kept = filled.fetch(["/photos/odd.jpg"])["/photos/odd.jpg"].vector
    assert np.array_equal(kept, odd)


def test_upsert_twice_is_upsert_once(filled: Store, again: MakeStore) -> None:
    again().upsert(rows(40))
    filled.upsert([*rows(3), *rows(3)])
    filled.sync()
    assert filled.count() == 40
    assert sorted(one.path for block in filled.walk() for one in block) == sorted(paths(rows(40)))
    assert len(paths(filled.search(directions(1)[0], 100))) == len(filled.search(directions(1)[0], 100)) == 40


def test_upsert_replaces_what_was_there(filled: Store) -> None:
    fresh = row("/photos/000.jpg", directions(1, 9)[0], "new", directions(1, 10)[0], changed=99)
    filled.upsert([fresh])
    filled.sync()
    assert filled.known([fresh.path]) == {fresh.path: Dates(10, 99, True)}
    nearest = max(filled.search(directions(1, 9)[0], 1), key=lambda one: float(one.vector @ directions(1, 9)[0]))
    assert (nearest.path, nearest.caption) == (fresh.path, "new")


def test_a_row_written_twice_at_once_counts_with_its_last_state(filled: Store) -> None:
    first, last = row("/photos/x.jpg", directions(1, 3)[0], "first"), row("/photos/x.jpg", directions(1, 4)[0], "last")
    filled.upsert([first, last])
    assert filled.fetch(["/photos/x.jpg"])["/photos/x.jpg"].caption == "last"


@pytest.mark.parametrize("bad", [np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM + 1)])
def test_a_vector_that_is_none_is_refused_and_nothing_is_written(filled: Store, bad: Vectors) -> None:
    with pytest.raises(ValueError, match="vector"):
        filled.upsert([row("/photos/new.jpg", directions(1)[0]), row("/photos/bad.jpg", bad.astype(np.float32))])
    assert filled.count() == 40


def test_deleted_is_gone_and_unknown_paths_are_no_error(filled: Store) -> None:
    filled.delete(["/photos/000.jpg", "/photos/none.jpg"])
    filled.sync()
    assert filled.count() == 39 and filled.fetch(["/photos/000.jpg"]) == {}
    for words in (False, True):
        assert "/photos/000.jpg" not in paths(filled.search(directions(1)[0], 40, words=words))
    filled.delete([])
    filled.upsert([])
    assert filled.count() == 39


def test_what_another_wrote_is_counted_at_once_and_found_after_sync(filled: Store, again: MakeStore) -> None:
    other = again()
    other.upsert([row("/photos/new.jpg", directions(1, 5)[0])])
    assert filled.count() == 41 and filled.known(["/photos/new.jpg"])
    filled.sync()
    assert "/photos/new.jpg" in paths(filled.search(directions(1, 5)[0], 1))


# ---- captions


def test_captions_may_be_absent_empty_or_odd(filled: Store) -> None:
    texts = [None, "", 'a "quoted" \\ one', "größer \N{SMILING FACE WITH OPEN MOUTH}", "two\nlines"]
    names = [f"/photos/caption-{n}.jpg" for n in range(len(texts))]
    filled.upsert([row(name, directions(1)[0], text) for name, text in zip(names, texts, strict=True)])
    found = filled.fetch(names)
    assert [found[name].caption for name in names] == texts
    assert [filled.known(names)[name].captioned for name in names] == [text is not None for text in texts]


def test_words_count_captions_and_pictures_do_not(filled: Store) -> None:
    written = {one.path: one for one in rows(40)}
    vector = directions(1, 6)[0]
    alone, mixed = filled.search(vector, 40), filled.search(vector, 40, words=True)
    assert len(alone) == len(mixed) == 40
    for one in alone:
        assert np.allclose(one.vector, written[one.path].vector, atol=1e-3)
    for one in mixed:
        before = written[one.path]
        wanted = before.vector
        if before.caption_vector is not None:
            wanted = (1 - WEIGHT) * before.vector + WEIGHT * before.caption_vector
            wanted = wanted / np.linalg.norm(wanted)
        assert np.allclose(one.vector, wanted, atol=1e-3)


def test_a_caption_may_come_later(filled: Store) -> None:
    spoken = directions(1, 7)[0]
    filled.upsert([rows(1)[0]._replace(caption="later", caption_vector=spoken)])
    filled.sync()
    (found,) = [one for one in filled.search(spoken, 40, words=True) if one.path == "/photos/000.jpg"]
    assert found.caption == "later"
    assert not np.allclose(found.vector, rows(1)[0].vector, atol=1e-2)


def test_a_weight_of_zero_lets_words_search_pictures(store: Store) -> None:
    store.adopt(MODEL, DIM, 0.0)
    store.upsert(rows(5))
    store.sync()
    vector = directions(1)[0]
    alone, mixed = store.search(vector, 5), store.search(vector, 5, words=True)
    assert {one.path: one.vector.tobytes() for one in alone} == {one.path: one.vector.tobytes() for one in mixed}


# ---- searching


@pytest.mark.parametrize("k", [1, 7, 40, 1_000])
@pytest.mark.parametrize("exact", [None, True])
def test_the_nearest_are_among_the_candidates(filled: Store, k: int, exact: bool | None) -> None:
    stored = {path: one.vector.astype(np.float64) for path, one in filled.fetch(sorted(paths(rows(40)))).items()}
    for vector in directions(5, 11):
        order = sorted(stored, key=lambda path: -float(stored[path] @ vector))
        assert paths(filled.search(vector, k, exact=exact)) >= set(order[:k])


def test_candidates_are_unit_vectors(filled: Store) -> None:
    for words in (False, True):
        found = np.stack([one.vector for one in filled.search(directions(1)[0], 40, words=words)])
        assert found.dtype == np.float32
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize(
    "where, numbers",
    [
        (Where(since=10), range(10, 40)),
        (Where(until=10), range(10)),
        (Where(since=10, until=12), range(10, 12)),
        (Where(within="/photos"), range(40)),
        (Where(within="/photos/"), range(40)),
        (Where("/photos", 39, 41), [39]),
        (Where(within="/photo"), []),
        (Where(since=40), []),
    ],
)
def test_filters(filled: Store, where: Where, numbers: Sequence[int]) -> None:
    wanted = {f"/photos/{n:03d}.jpg" for n in numbers}
    assert filled.count(where) == len(wanted)
    for words in (False, True):
        assert paths(filled.search(directions(1)[0], 40, where, words=words)) == wanted


ODD = [
    "/a_b/1.jpg", "/a_b/c/1.jpg", "/a%b/1.jpg", "/aXb/1.jpg", "/a_b0/1.jpg", '/a"b/1.jpg', "/a\\b/1.jpg", "/a b'/1.jpg",
    "/größe/1.jpg", "/a\nb/1.jpg", "/%5C/1.jpg", "/\udcff\udc80/1.jpg", "/{x}/1.jpg", "/" + "l" * 4_000 + "/1.jpg",
    "s3://photos/00017.tar#a/1.jpg", "s3://photos/00017.tar#2.jpg", "s3://photos/00018.tar#2.jpg",
    "s3://photos/a b/1.jpg",
]  # fmt: skip


@pytest.fixture
def odd(adopted: Store) -> Store:
    """A store of paths that files may have, and URLs."""
    adopted.upsert([row(path, vector) for path, vector in zip(ODD, directions(len(ODD)), strict=True)])
    adopted.sync()
    return adopted


def test_any_path_comes_back_as_it_was(odd: Store) -> None:
    assert odd.fetch(ODD).keys() == set(ODD) == odd.known(ODD).keys()
    assert paths(odd.search(directions(1)[0], 100)) == set(ODD)
    assert {one.path for block in odd.walk(5) for one in block} == set(ODD)
    odd.delete(ODD[1:])
    assert odd.count() == 1 and odd.fetch(ODD).keys() == set(ODD[:1])


@pytest.mark.parametrize("folder", sorted({path.rsplit("/", 1)[0] for path in ODD if path.startswith("/")}))
def test_a_folder_holds_what_is_below_it_and_nothing_else(odd: Store, folder: str) -> None:
    wanted = {path for path in ODD if path.startswith(folder + "/")}
    assert paths(odd.search(directions(1)[0], 100, Where(folder))) == wanted
    assert odd.count(Where(folder)) == len(wanted) > 0


@pytest.mark.parametrize("folder, count", [("s3://photos/00017.tar", 2), ("s3://photos", 4), ("s3://photos/a b/", 1)])
def test_a_tar_or_a_prefix_is_a_place(odd: Store, folder: str, count: int) -> None:
    found = paths(odd.search(directions(1)[0], 100, Where(folder)))
    assert len(found) == odd.count(Where(folder)) == count and all(path.startswith(folder) for path in found)


def test_walk_gives_everything_once_and_goes_on_after_a_path(filled: Store) -> None:
    blocks = [[one.path for one in block] for block in filled.walk(7)]
    seen = [path for block in blocks for path in block]
    assert max(map(len, blocks)) <= 7 and sorted(seen) == sorted(paths(rows(40)))
    assert [one.path for block in filled.walk(7, after=seen[12]) for one in block] == seen[13:]
    assert list(filled.walk(7, after=seen[-1])) == []


def test_all_is_no_filter(filled: Store) -> None:
    assert ALL == Where() and filled.count() == filled.count(Where(within="/")) == 40
