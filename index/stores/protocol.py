"""What a store of vectors owes whoever builds and searches it: SQLite on one machine, Milvus on many.

Everything is named by its path: an absolute one, or a URL such as `s3://bucket/00017.tar#KEY.jpg`. D is the length of
a vector, n a number of pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32] | NDArray[np.float16]


class Row(NamedTuple):
    """A picture as it is written and read.

    `vector` (D,) and that of the caption may have any length above zero; float16 ones are kept bit for bit, and those
    that come out of a store are float16. A store that keeps captions only mixed into pictures has no `caption_vector`.
    """

    path: str
    size: int
    mtime_ns: int
    hash: bytes  # BLAKE2b-128 of the content
    vector: Vector
    caption: str | None
    caption_vector: Vector | None = None


class Dates(NamedTuple):
    """What tells whether a file changed since it was embedded, and whether its picture has a caption."""

    size: int
    mtime_ns: int
    captioned: bool


class Where(NamedTuple):
    """Which pictures may be found: below a folder or in a tar, changed in [since, until), nanoseconds since 1970."""

    within: str | None = None
    since: int | None = None
    until: int | None = None


class Candidate(NamedTuple):
    """A picture that may be among the nearest, and the stored unit vector float32 (D,) that it is scored from."""

    path: str
    caption: str | None
    vector: NDArray[np.float32]


class Facts(NamedTuple):
    """Whose vectors a store holds: the identity of the model, D, and how much captions count in searches by words."""

    identity: str
    dim: int
    caption_weight: float


ALL = Where()


class Store(Protocol):
    """Pictures and their vectors, by path. Not for several threads at once: each opens its own.

    Every method raises LibraryError if the store cannot be reached, or refuses.
    """

    @property
    def url(self) -> str:
        """What `open_store` opens it by."""

    def close(self) -> None:
        """Let go of files and connections."""

    # ---- whose vectors it holds

    def facts(self) -> Facts | None:
        """Return whose vectors it holds, None before `adopt`."""

    def adopt(self, identity: str, dim: int, caption_weight: float) -> None:
        """Make the store, if it is not there, for the vectors of one model.

        Raises OtherModelError if it holds those of another, or of another D; LibraryError if something else made it.
        """

    def check_identity(self, identity: str) -> None:
        """Raise OtherModelError if the vectors were made by another model; LibraryError if there is no store."""

    def add_source(self, source: str) -> None:
        """Remember a folder or URL that pictures come from."""

    def sources(self) -> list[str]:
        """Return the folders and URLs that pictures came from, sorted."""

    # ---- change

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write pictures in place of whatever is known at their paths; durable when it returns, the same when repeated.

        Raises ValueError for a vector that is not finite, is zero, or is not of D numbers.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Forget the pictures at these paths; those that are not there are no error."""

    def sync(self) -> None:
        """Let searches from now on see everything that was written before, by whomever."""

    def finish(self) -> None:
        """Bring what was written into the form that is searched fastest: a graph, where the engine builds one."""

    # ---- ask

    def search(
        self, vector: NDArray[np.float32], k: int, where: Where = ALL, *, words: bool = False, exact: bool | None = None
    ) -> list[Candidate]:
        """Return candidates that hold the `k` nearest to a unit vector (D,), fewer than `k` only if fewer are there.

        With `words` captions count as `facts` says. `exact` compares with every picture.
        """

    def fetch(self, paths: Sequence[str]) -> dict[str, Row]:
        """Return the pictures at these paths, by path; sees everything that was written before."""

    def known(self, paths: Sequence[str]) -> dict[str, Dates]:
        """Return the dates of the pictures at these paths, by path; sees everything that was written before."""

    def count(self, where: Where = ALL) -> int:
        """Return the number of pictures; counts everything that was written before."""

    def walk(self, size: int = 1_000, after: str | None = None) -> Iterator[list[Row]]:
        """Yield all pictures, at most `size` at a time, in an order that stays the same; `after` the one at a path."""

    def state(self) -> str:
        """Return what stands behind the store, and how far its graph is, in a few words."""

    def faults(self) -> list[str]:
        """Return what is wrong with the store, a line each; none if it is whole."""
