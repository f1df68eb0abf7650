"""A store on Milvus: two collections, pictures in NAME and pictures with their captions mixed in, in NAME_words.

The only file that imports pymilvus. It keeps to what Milvus 2.3 has: one vector a collection, no templates of filters,
no nullable fields. A key is written by `upsert` only, for `insert` makes a second row of it. n is a number of pictures,
D the length of a vector.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from index.database.database import OtherModelError
from index.database.schema import pack, unpack
from index.stores.address import Address, parse
from index.stores.expressions import condition, decode, encode, key_of, with_keys
from index.stores.protocol import ALL, Candidate, Dates, Facts, Row, Where
from index.stores.trouble import NoStoreError, as_library_error
from vsearch.errors import LibraryError
from vsearch.scores import mix

CONNECT = 10.0  # seconds until a server counts as not there
_PATIENCE = 60.0  # seconds for one request
_LOAD = 600.0  # seconds until a collection is in the servers' memory
_ROWS = 1_000  # in one request
_MOST = 16_384  # answers that Milvus gives to one request
_SPARE = 16  # asked for beyond k, as sums in single precision may order equals otherwise
_WIDTH = 256  # how many the graph looks at, at least
_SMALL = 1_024  # rows of a segment that gets no graph
_STILL = 180.0  # seconds without a change
_TEXT = 65_535  # bytes of a VARCHAR
_FORMAT = "1"
_GRAPH = {"M": 16, "efConstruction": 200}
_DATES = ["path", "size", "mtime_ns", "captioned"]
_ALL = [*_DATES, "hash", "caption", "vector"]


class MilvusStore:
    """Two collections of a Milvus as a store."""

    def __init__(self, address: Address, client: Any) -> None:
        self._address = address
        self._client = client
        self._facts: Facts | None = None  # once known they stay as they are
        self._pictures, self._words = address.collection, f"{address.collection}_words"

    @classmethod
    def open(cls, url: str) -> MilvusStore:
        """Reach a server; whom it lets in stands in MILVUS_TOKEN, as USER:PASSWORD or a token.

        Raises VsearchError for a URL that names none, UnreachableError if it does not answer within ten seconds,
        LibraryError if it refuses who asks.
        """
        address = parse(url)
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # it prints each error that it raises
        with _translated(str(address)):
            token = os.environ.get("MILVUS_TOKEN", "")
            client = MilvusClient(uri=f"http://{address.server}", token=token, timeout=CONNECT)
        return cls(address, client)

    @property
    def url(self) -> str:
        """milvus://host:port/collection."""
        return str(self._address)

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(MilvusException, grpc.RpcError):
            self._client.close()

    # ---- whose vectors it holds

    def facts(self) -> Facts | None:
        """Return whose vectors the collections hold, None before `adopt`.

        Raises LibraryError if something else made a collection of this name.
        """
        if self._facts is None and (found := self._properties(self._pictures)) is not None:
            try:
                facts = Facts(found["vsearch.identity"], int(found["vsearch.dim"]), float(found["vsearch.weight"]))
            except (KeyError, ValueError):
                raise self._not_ours(self._pictures) from None
            if found.get("vsearch.format") != _FORMAT:
                message = f"{self.url} has format {found.get('vsearch.format')}, this vsearch reads format {_FORMAT}"
                raise LibraryError(message, "use the vsearch that made it, or name another collection")
            self._load(facts)
            self._facts = facts
        return self._facts

    def adopt(self, identity: str, dim: int, caption_weight: float) -> None:
        """Make the collections for one model; a second time, only look whether they are its.

        The one that `facts` reads is made last: a store that is half made is made by the next call.
        """
        facts = Facts(identity, dim, float(caption_weight))
        if self.facts() is None:
            if facts.caption_weight:
                self._make(self._words, facts)
            self._make(self._pictures, facts)
        self._check(facts)

    def check_identity(self, identity: str) -> None:
        """Raise OtherModelError if another model made the store, NoStoreError if there is none."""
        self._check(self._required._replace(identity=identity))

    def add_source(self, source: str) -> None:
        """Remember a folder or URL that pictures come from: a property each, so that no two writers undo each other."""
        name, text = f"vsearch.source.{key_of(source)}", encode(source)
        with self._translated():
            self._client.alter_collection_properties(self._pictures, {name: text}, timeout=_PATIENCE)

    def sources(self) -> list[str]:
        """Return the folders and URLs that pictures came from, sorted."""
        found = self._properties(self._pictures) or {}
        return sorted(decode(text) for name, text in found.items() if name.startswith("vsearch.source."))

    # ---- change

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write pictures, then their places among words; both are in Milvus' log when it returns."""
        facts = self._required
        rows = list({row.path: row for row in rows}.values())  # a key twice in one request would make two rows
        halves, mixed = self._vectors(rows, facts)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            full = [_row(row, half) for row, half in zip(rows[part], halves[part], strict=True)]
            with self._translated():
                self._client.upsert(self._pictures, full, timeout=_PATIENCE)
                if facts.caption_weight:
                    brief = [
                        {"key": row["key"], "path": row["path"], "mtime_ns": row["mtime_ns"], "vector": vector}
                        for row, vector in zip(full, mixed[part], strict=True)
                    ]
                    self._client.upsert(self._words, brief, timeout=_PATIENCE)

    def delete(self, paths: Iterable[str]) -> None:
        """Forget the pictures at these paths, first among words."""
        keys = [key_of(path) for path in dict.fromkeys(paths)]
        for start in range(0, len(keys), _ROWS):
            for name in self._names():
                with self._translated():
                    wanted = with_keys(keys[start : start + _ROWS])
                    self._client.delete(name, filter=wanted, timeout=_PATIENCE)

    def sync(self) -> None:
        """Have the servers take in what was written until now."""
        for name in self._names():
            self._count(name, "")

    def finish(self, patience: float = _LOAD) -> None:
        """Seal what was written and wait at most `patience` seconds for its graph; Milvus goes on without us."""
        end = time.monotonic() + patience
        with self._translated():
            for name in self._names():
                self._client.flush(name, timeout=patience)
            for name in self._names():
                self._wait(name, end)
        self.sync()

    def _wait(self, name: str, end: float) -> None:
        """Wait until a graph holds all rows of a collection, or nothing changed for three minutes.

        Milvus 2.3 says "Finished" before it has begun, gives small segments no graph, and after merging segments may
        count rows as pending that are gone.
        """
        done, since, wanted = -1, time.monotonic(), self._count(name, "")
        while (now := time.monotonic()) < end and now < since + _STILL:
            state = self._client.describe_index(name, "vector", timeout=_PATIENCE)
            indexed, pending = int(state.get("indexed_rows", 0)), int(state.get("pending_index_rows", 0))
            if state.get("state") == "Finished" and (pending < _SMALL or indexed > wanted - _SMALL):
                return
            if indexed != done:
                done, since = indexed, now
            time.sleep(0.5)

    # ---- ask

    def search(
        self, vector: NDArray[np.float32], k: int, where: Where = ALL, *, words: bool = False, exact: bool | None = None
    ) -> list[Candidate]:
        """Return candidates that hold the k nearest; where the graph finds fewer than there are, all are compared."""
        facts, wanted = self._required, self._condition(where)
        name = self._words if words and facts.caption_weight else self._pictures
        limit = k + _SPARE
        if exact or limit > _MOST:
            return self._exact(name, vector, k, wanted)
        with self._translated():
            (found,) = self._client.search(
                name,
                [vector],
                filter=wanted,
                limit=limit,
                output_fields=["path", "vector"],
                search_params={"params": {"ef": max(_WIDTH, 2 * limit)}},
                consistency_level="Bounded",
                timeout=_PATIENCE,
            )
        if len(found) < limit and len(found) < min(limit, self._count(name, wanted, "Bounded")):
            return self._exact(name, vector, k, wanted)
        return self._candidates(name, [hit["entity"] for hit in found])

    def _exact(self, name: str, vector: NDArray[np.float32], k: int, wanted: str) -> list[Candidate]:
        """Compare with every picture that passes, a part at a time."""
        rows: list[dict[str, Any]] = []
        for block in self._pages(name, ["path", "vector"], _ROWS, "", wanted):
            rows += block
            if len(rows) >= 2 * (k + _SPARE) + _ROWS:
                rows = _best(rows, vector, k + _SPARE)
        return self._candidates(name, _best(rows, vector, k + _SPARE))

    def _candidates(self, name: str, rows: Sequence[dict[str, Any]]) -> list[Candidate]:
        """Return candidates with their unit vectors, and captions from the collection that has them."""
        paths = [decode(row["path"]) for row in rows]
        own = np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), self._required.dim)
        if name == self._pictures:
            own = unpack([half.tobytes() for half in own.astype("<f2")], self._required.dim)
        found = self._at(paths, ["path", "captioned", "caption"], "Bounded")
        pairs = [(path, found.get(path), vector) for path, vector in zip(paths, own, strict=True)]
        return [Candidate(path, _caption(row), vector) for path, row, vector in pairs if row is not None]

    def fetch(self, paths: Sequence[str]) -> dict[str, Row]:
        """Return the pictures at these paths; the vectors of captions are kept only mixed in."""
        return {path: _as_row(row) for path, row in self._at(paths, _ALL, "Strong").items()}

    def known(self, paths: Sequence[str]) -> dict[str, Dates]:
        """Return the dates of the pictures at these paths."""
        found = self._at(paths, _DATES, "Strong")
        return {path: Dates(row["size"], row["mtime_ns"], row["captioned"]) for path, row in found.items()}

    def count(self, where: Where = ALL) -> int:
        """Return the number of pictures, by a query: the statistics of Milvus count deleted rows, too."""
        return 0 if self.facts() is None else self._count(self._pictures, self._condition(where))

    def walk(self, size: int = 1_000, after: str | None = None) -> Iterator[list[Row]]:
        """Yield all pictures by their keys."""
        self.sync()
        last = "" if after is None else key_of(after)
        for block in self._pages(self._pictures, ["key", *_ALL], min(size, _ROWS), last):
            yield [_as_row(row) for row in block]

    def faults(self, sample: int = 1_000) -> list[str]:
        """Return what is wrong: counts that differ, rows under a key that is not theirs, vectors of no unit length."""
        facts, counted = self._required, self.count()
        found = []
        if facts.caption_weight and (words := self._count(self._words, "")) != counted:
            found.append(f"{counted:,} pictures have {words:,} places among words")
        for name in self._names():
            block = next(self._pages(name, ["key", "path", "vector"], min(sample, _ROWS), ""), [])
            if any(row["key"] != key_of(decode(row["path"])) for row in block):
                found.append(f"rows of {name} have keys that are not those of their paths")
            lengths = np.linalg.norm(np.array([row["vector"] for row in block] or np.eye(1), np.float64), axis=1)
            if not (abs(lengths - 1) < 0.01).all():
                found.append(f"vectors of {name} are not of unit length")
        return found

    def state(self) -> str:
        """Return the version of Milvus, and whether the graph holds everything."""
        with self._translated():
            version = self._client.get_server_version(timeout=_PATIENCE)
            built = [self._client.describe_index(name, "vector", timeout=_PATIENCE) for name in self._names()]
        states = {str(one.get("state")) for one in built}
        return f"Milvus {version}, graph {'complete' if states <= {'Finished'} else 'being built'}"

    # ---- the parts

    @property
    def _required(self) -> Facts:
        if (facts := self.facts()) is None:
            raise NoStoreError(self.url)
        return facts

    def _names(self) -> list[str]:
        """Return the collections, in the order in which a row is deleted."""
        return [self._words, self._pictures] if self._required.caption_weight else [self._pictures]

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return _translated(self.url)

    def _not_ours(self, name: str) -> LibraryError:
        message = f"the collection {name} of {self._address.server} was not made by vsearch"
        return LibraryError(message, "name another collection")

    def _properties(self, name: str) -> dict[str, str] | None:
        with self._translated():
            if not self._client.has_collection(name, timeout=CONNECT):
                return None
            return dict(self._client.describe_collection(name, timeout=_PATIENCE).get("properties") or {})

    def _check(self, wanted: Facts) -> None:
        """Raise OtherModelError where the store's facts are not those of a model."""
        mine = self._required
        if mine.identity != wanted.identity:
            message = f"{self.url} was made by another model ({mine.identity[:12]}; this one is {wanted.identity[:12]})"
            raise OtherModelError(message, "name another collection, or the model that made this one")
        if mine.dim != wanted.dim:
            message = f"{self.url} holds vectors of {mine.dim} numbers, the model makes {wanted.dim}"
            raise OtherModelError(message, "name another collection, or the model that made this one")
        if mine.caption_weight != wanted.caption_weight:
            message = f"{self.url} mixes captions in with weight {mine.caption_weight:g}, not {wanted.caption_weight:g}"
            raise OtherModelError(message, "name another collection, or a model with that weight")

    def _make(self, name: str, facts: Facts) -> None:
        """Make one collection with its graph, unless a call before did."""
        found = self._properties(name)
        if found is not None and "vsearch.identity" not in found:
            raise self._not_ours(name)
        if found is not None and (found["vsearch.identity"], found.get("vsearch.dim")) != (facts[0], str(facts.dim)):
            with self._translated():
                self._client.drop_collection(name, timeout=_PATIENCE)  # left half made for another model
        texts = {"vsearch.format": _FORMAT, "vsearch.identity": facts.identity, "vsearch.dim": str(facts.dim)}
        properties = {**texts, "vsearch.weight": repr(facts.caption_weight)}
        with self._translated():
            schema = _schema(facts.dim, full=name == self._pictures)
            self._client.create_collection(name, schema=schema, properties=properties, timeout=_PATIENCE)
        self._index(name)

    def _index(self, name: str) -> None:
        """Have a graph built of a collection, and bring it into the servers' memory."""
        with self._translated():
            index = self._client.prepare_index_params()
            index.add_index("vector", index_name="vector", index_type="HNSW", metric_type="IP", params=_GRAPH)
            if "vector" not in self._client.list_indexes(name, timeout=_PATIENCE):
                self._client.create_index(name, index, timeout=_LOAD)
            self._client.load_collection(name, timeout=_LOAD)

    def _load(self, facts: Facts) -> None:
        """Bring collections into memory that an operator released, or whose making was cut off."""
        for name in [self._words, self._pictures] if facts.caption_weight else [self._pictures]:
            with self._translated():
                state = self._client.get_load_state(name, timeout=_PATIENCE).get("state")
            if getattr(state, "name", "") == "NotLoad":
                self._index(name)

    def _vectors(
        self, rows: Sequence[Row], facts: Facts
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | list[NDArray[np.float32]]]:
        """Return vectors (n, D) rounded to float16, and those with captions mixed in as a library does it."""
        for row in rows:
            if any(vector is not None and vector.shape != (facts.dim,) for vector in (row.vector, row.caption_vector)):
                raise ValueError(f"the vector of {row.path} is not of {facts.dim} numbers")
        none = bytes(2 * facts.dim)
        own = [pack(row.vector) for row in rows]
        captions = [none if row.caption_vector is None else pack(row.caption_vector) for row in rows]
        halves = np.frombuffer(b"".join(own), "<f2").astype(np.float32).reshape(len(rows), facts.dim)
        return halves, mix(unpack(own, facts.dim), unpack(captions, facts.dim), facts.caption_weight)

    def _condition(self, where: Where) -> str:
        return condition(where, () if where.within is None else self.sources())

    def _count(self, name: str, wanted: str, level: str = "Strong") -> int:
        with self._translated():
            found = self._client.query(
                name, filter=wanted, output_fields=["count(*)"], consistency_level=level, timeout=_PATIENCE
            )
        return int(found[0]["count(*)"])

    def _at(self, paths: Sequence[str], fields: Sequence[str], level: str) -> dict[str, dict[str, Any]]:
        """Return the rows at these paths, by path."""
        found: dict[str, dict[str, Any]] = {}
        keys = [key_of(path) for path in dict.fromkeys(paths)]
        _ = self._required
        for start in range(0, len(keys), _ROWS):
            with self._translated():
                rows = self._client.query(
                    self._pictures,
                    filter=with_keys(keys[start : start + _ROWS]),
                    output_fields=list(fields),
                    consistency_level=level,
                    timeout=_PATIENCE,
                )
            found.update((decode(row["path"]), row) for row in rows)
        return found

    def _pages(
        self, name: str, fields: Sequence[str], size: int, last: str, wanted: str = ""
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield rows by their keys, after the key `last`: a query with a limit answers the lowest keys."""
        while True:
            after = f'key > "{last}"' + (f" and {wanted}" if wanted else "")
            with self._translated():
                rows = self._client.query(
                    name,
                    filter=after,
                    output_fields=list({"key", *fields}),
                    limit=size,
                    consistency_level="Bounded",
                    timeout=_PATIENCE,
                )
            if not rows:
                return
            yield sorted(rows, key=lambda row: str(row["key"]))
            last = max(str(row["key"]) for row in rows)


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Raise errors of pymilvus and gRPC as LibraryError."""
    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        raise as_library_error(url, error) from error


def _schema(dim: int, *, full: bool) -> Any:
    """Return the fields of a collection: those of pictures, or of their places among words."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, max_length=22, is_primary=True)
    schema.add_field("path", DataType.VARCHAR, max_length=_TEXT)
    schema.add_field("mtime_ns", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    if full:
        schema.add_field("size", DataType.INT64)
        schema.add_field("hash", DataType.VARCHAR, max_length=128)
        schema.add_field("captioned", DataType.BOOL)
        schema.add_field("caption", DataType.VARCHAR, max_length=_TEXT)
    return schema


def _row(row: Row, vector: NDArray[np.float32]) -> dict[str, Any]:
    """Return a picture as the fields of its collection."""
    dates = {"mtime_ns": row.mtime_ns, "size": row.size}
    caption = {"captioned": row.caption is not None, "caption": row.caption or ""}
    return {
        "key": key_of(row.path),
        "path": encode(row.path),
        "hash": row.hash.hex(),
        **dates,
        **caption,
        "vector": vector,
    }


def _as_row(found: dict[str, Any]) -> Row:
    vector = np.array(found["vector"], np.float32).astype(np.float16)
    digest = bytes.fromhex(found["hash"])
    return Row(decode(found["path"]), found["size"], found["mtime_ns"], digest, vector, _caption(found))


def _caption(found: dict[str, Any]) -> str | None:
    return str(found["caption"]) if found["captioned"] else None


def _best(rows: list[dict[str, Any]], vector: NDArray[np.float32], k: int) -> list[dict[str, Any]]:
    """Return the k rows nearest to a vector (D,)."""
    if len(rows) <= k:
        return rows
    scores = np.array([row["vector"] for row in rows], np.float32) @ vector  # (n,)
    return [rows[at] for at in np.argpartition(-scores, k)[:k].tolist()]
