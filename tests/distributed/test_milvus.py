"""What only a real Milvus can show: equal scores on both stores, recall, a kill in mid-write, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from index.database.database import OtherModelError
from index.library import Library
from index.model import Model
from index.move import SAMPLE, move
from index.remote import RemoteLibrary
from index.search.query import Query
from index.stores import open_store
from index.stores.protocol import Row, Where
from index.stores.trouble import NoStoreError, UnreachableError
from tests.distributed.conftest import DIM, MODEL, QUICK, WEIGHT, new_url
from tests.distributed.test_stores import directions, row, rows
from tests.support.milvus import MilvusProcess, may_mount
from tests.support.pictures import FakeDescriber
from vsearch.errors import LibraryError, VsearchError
from vsearch.scores import Kind, Scores

pytestmark = pytest.mark.distributed
ROWS = 20_000
T = TypeVar("T")


class TinyModel(FakeDescriber):
    """The model that the tests' stores belong to; it embeds captions, and no picture."""

    def embed_captions(self, captions: Sequence[str]) -> Sequence[NDArray[np.float32] | None]:
        """What a fake does, as vectors (16,)."""
        made = super().embed_captions(captions)
        return [None if one is None else np.concatenate([one, np.zeros(DIM - len(one), np.float32)]) for one in made]


def model_of(identity: str = MODEL) -> Model:
    """A model whose captions count, with a curve for words."""
    model = TinyModel(identity)
    model.dim, model.scores = DIM, Scores(caption_weight=WEIGHT, words=(9.0, -2.0))
    return model  # type: ignore[return-value]  # what it lacks is not asked for


@pytest.fixture(scope="module")
def twins(milvus: MilvusProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, RemoteLibrary]]:
    """The same 400 pictures in a library and in a Milvus, five of them twice."""
    place, url = tmp_path_factory.mktemp("twins") / "photos.library", new_url(milvus)
    pictures = rows(400)
    pictures += [one._replace(path=f"/twins/{n}.jpg") for n, one in enumerate(pictures[:5])]
    for store in (open_store(place, create=True), open_store(url, create=True)):
        with closing(store):
            store.adopt(MODEL, DIM, WEIGHT)
            store.upsert(pictures)
            store.sync()
    with Library.open(place, model_of()) as near, RemoteLibrary.open(url, model_of()) as far:
        yield near, far


@pytest.mark.parametrize("kind", ["words", "picture"])
@pytest.mark.parametrize("weight", [None, 0.0])
@pytest.mark.parametrize(
    "k, within, since", [(1, None, None), (10, "/photos", None), (500, None, 200), (7, "/twins", None)]
)
def test_equal_rows_have_equal_scores_bit_for_bit(
    twins: tuple[Library, RemoteLibrary],
    kind: Kind,
    weight: float | None,
    k: int,
    within: str | None,
    since: int | None,
) -> None:
    near, far = twins
    for vector in directions(5, seed=20):
        query = Query(vector, kind, (), MODEL)
        asked = {"k": k, "within": within, "since": since, "caption_weight": weight}
        one, other = near.search(query, **asked), far.search(query, **asked)  # type: ignore[arg-type]
        assert len(one) > 0
        facts = [[(hit.path, hit.caption, hit.score.hex(), hit.cosine.hex()) for hit in hits] for hits in (one, other)]
        assert facts[0] == facts[1]


def test_recall_is_high_with_and_without_filters_and_no_answer_is_short(milvus: MilvusProcess) -> None:
    vectors = directions(ROWS, seed=30, dim=32)
    with closing(open_store(new_url(milvus), create=True)) as store:
        store.adopt(MODEL, 32, 0.0)
        for start in range(0, ROWS, 1_000):
            part = enumerate(vectors[start : start + 1_000], start)
            store.upsert([row(f"/photos/{n}.jpg", vector, changed=n) for n, vector in part])
        store.finish()
        for share, least in ((1.0, 0.99), (0.1, 0.94), (0.01, 0.94), (0.001, 0.94)):
            last = int(ROWS * share)
            right = 0
            for query in directions(20, seed=31, dim=32):
                found = store.search(query, 10, Where(until=last))
                best = sorted(found, key=lambda one: -float(one.vector @ query))[:10]
                assert len(best) == 10
                truth = np.argsort(-(vectors[:last] @ query))[:10]
                right += len({one.path for one in best} & {f"/photos/{n}.jpg" for n in truth.tolist()})
            assert right / 200 >= least, share


def test_what_was_acknowledged_outlives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milvus: MilvusProcess
) -> None:
    server = MilvusProcess(tmp_path, **QUICK)
    try:
        server.start()
        monkeypatch.setenv("MILVUS_TOKEN", server.set_password("for-this-test"))
        url = f"milvus://{server.address}/photos"
        with closing(open_store(url, create=True)) as store:
            store.adopt(MODEL, DIM, 0.0)
            for block in range(10):
                store.upsert(numbered(block))
            server.kill()
            with pytest.raises(UnreachableError, match="cannot be reached"):
                store.upsert(numbered(10))
        server.start()
        with closing(open_store(url, create=True)) as store:
            found = {one.path for one in patiently(lambda: [one for block in store.walk() for one in block])}
            acknowledged = {one.path for block in range(10) for one in numbered(block)}
            assert acknowledged <= found <= acknowledged | {one.path for one in numbered(10)}
            assert store.count() == len(found)
            store.upsert(numbered(10))
            assert store.count() == 1_100
    finally:
        server.kill()


def test_a_full_disk_under_milvus_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milvus: MilvusProcess
) -> None:
    if not may_mount():
        pytest.skip("no process may have a disk of its own here")
    server = MilvusProcess(tmp_path, room=300, **QUICK)
    try:
        server.start()
        monkeypatch.setenv("MILVUS_TOKEN", server.set_password("for-this-test"))
        with closing(open_store(f"milvus://{server.address}/photos", create=True)) as store:
            store.adopt(MODEL, 512, 0.0)
            vectors, written = directions(1_000, dim=512), 0
            with (server.data / "fill").open("wb") as file, contextlib.suppress(OSError):
                file.write(bytes(shutil.disk_usage(server.data).free - 30_000_000))
            with pytest.raises(LibraryError, match="has no room left") as raised:
                while written < 100_000:
                    store.upsert([row(f"/photos/{written + n}.jpg", vector) for n, vector in enumerate(vectors)])
                    written += 1_000
            assert "goes on from here" in raised.value.hint
    finally:
        server.kill()


def numbered(block: int) -> list[Row]:
    """A hundred pictures of which no other block has one."""
    return [row(f"/photos/{block}/{n}.jpg", vector) for n, vector in enumerate(directions(100, seed=100 + block))]


def patiently(ask: Callable[[], T]) -> T:
    """Ask again for a minute while a store says that it is away: Milvus reads its log after a start."""
    end = time.monotonic() + 60
    while True:
        try:
            return ask()
        except UnreachableError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


# ---- moving


def test_a_library_moves_there_and_back_bit_for_bit(milvus: MilvusProcess, tmp_path: Path) -> None:
    model, url = model_of(), new_url(milvus)
    texts = [f"picture {n}" for n in range(60)]
    spoken = zip(rows(60), texts, model.embed_captions(texts), strict=True)
    written = [one._replace(caption=text, caption_vector=vector) for one, text, vector in spoken]
    with ExitStack() as stack:
        before, far, after = (
            stack.enter_context(closing(open_store(place, create=True)))
            for place in (tmp_path / "before.library", url, tmp_path / "after.library")
        )
        before.adopt(MODEL, DIM, WEIGHT)
        before.upsert(written)
        before.add_source("/photos")
        far.adopt(MODEL, DIM, WEIGHT)
        far.upsert(written[:20])  # a move that was cut off
        far.upsert([written[20]._replace(caption="older")])
        done = move(before, far, model)
        assert (done.written, done.there, done.sampled, done.total) == (40, 20, 60, 60) and done.sampled < SAMPLE
        assert move(before, far, model).written == 0
        assert move(far, after, model).written == 60
        assert after.sources() == far.sources() == ["/photos"] and after.facts() == before.facts()
        kept = [{one.path: (*one[:4], one.vector.tobytes(), one.caption, None if one.caption_vector is None else
                            one.caption_vector.tobytes()) for block in store.walk() for one in block}
                for store in (before, after)]  # fmt: skip
        assert kept[0] == kept[1] and len(kept[0]) == 60


def test_a_difference_is_told_at_the_end_of_a_move(
    milvus: MilvusProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        near, far = (
            stack.enter_context(closing(open_store(place, create=True)))
            for place in (tmp_path / "photos.library", new_url(milvus))
        )
        with pytest.raises(LibraryError, match="holds no picture"):
            move(near, far, model_of())
        near.adopt(MODEL, DIM, 0.0)
        near.upsert(rows(5))
        monkeypatch.setattr(far, "upsert", lambda some: type(far).upsert(far, some[1:]))
        with pytest.raises(LibraryError, match="holds 4 pictures, .* 5"):
            move(near, far, model_of())
        other = model_of("model-2")
        with pytest.raises(OtherModelError, match="made by another model"):
            move(near, far, other)


# ---- what is refused


def test_a_server_that_is_not_there_is_told_within_ten_seconds() -> None:
    pytest.importorskip("pymilvus")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="cannot be reached"):
            open_store(f"milvus://127.0.0.1:{unused.getsockname()[1]}/photos")
        assert time.monotonic() - start < 12


def test_a_server_that_never_answers_is_told_within_ten_seconds() -> None:
    pytest.importorskip("pymilvus")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="cannot be reached"):
            open_store(f"milvus://127.0.0.1:{mute.getsockname()[1]}/photos")
        assert time.monotonic() - start < 15


def test_a_wrong_password_is_told_and_stands_nowhere(milvus: MilvusProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:hunter2")
    with pytest.raises(LibraryError, match="refuses who asks") as raised:
        open_store(new_url(milvus))
    assert "hunter2" not in f"{raised.value}{raised.value.hint}" and "MILVUS_TOKEN" in raised.value.hint


def test_what_something_else_made_is_left_alone(milvus: MilvusProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(uri=f"http://{milvus.address}", token=os.environ["MILVUS_TOKEN"])
    client.create_collection("other_words", dimension=4)
    for name in ("other_words", "other"):  # the name itself, and where the second collection would be
        refused = pytest.raises(LibraryError, match="the collection other_words of .* was not made by vsearch")
        with closing(open_store(f"milvus://{milvus.address}/{name}", create=True)) as store, refused:
            store.adopt(MODEL, DIM, WEIGHT)
    assert client.describe_collection("other_words")["fields"][-1]["params"] == {"dim": 4}
    assert not client.has_collection("other")
    client.close()


def test_a_store_that_is_not_there_says_so(milvus: MilvusProcess) -> None:
    url = new_url(milvus)
    with RemoteLibrary.open(url, model_of()) as library:
        assert library.identity is None and library.count() == 0
        with pytest.raises(LibraryError, match=f"there is no store at {url}"):
            library.search(Query(directions(1)[0], "words", (), MODEL))
    with closing(open_store(url)) as store, pytest.raises(NoStoreError):
        store.upsert(rows(1))


def test_another_weight_of_captions_is_refused(twins: tuple[Library, RemoteLibrary]) -> None:
    far = twins[1]
    with pytest.raises(VsearchError, match=r"mixes captions in with weight 0.4, not 0.9") as raised:
        far.search(Query(directions(1)[0], "words", (), MODEL), caption_weight=0.9)
    assert raised.value.hint == "search with `caption_weight=0.4` or `caption_weight=0`"
    with pytest.raises(OtherModelError, match="mixes captions in with weight 0.4, not 0.5"):
        far.store.adopt(MODEL, DIM, 0.5)


def test_what_a_store_does_not_offer_it_says(twins: tuple[Library, RemoteLibrary], tmp_path: Path) -> None:
    far = twins[1]
    query = Query(directions(1)[0], "words", (), MODEL)
    for ask in (
        far.duplicates,
        far.build,
        lambda: far.forget(["/photos"]),
        lambda: far.search(query, camera="Canon"),
        lambda: far.search(query, sort="taken"),
        lambda: far.search(query, text="dog"),
        lambda: far.tag(["/photos"]),
    ):
        with pytest.raises(LibraryError, match="does not offer"):
            ask()


def test_another_models_query_is_refused(twins: tuple[Library, RemoteLibrary]) -> None:
    with pytest.raises(OtherModelError):
        twins[1].search(Query(directions(1)[0], "words", (), "model-2"))
    model = model_of("model-2")
    with pytest.raises(OtherModelError):
        RemoteLibrary.open(twins[1].store.url, model)
